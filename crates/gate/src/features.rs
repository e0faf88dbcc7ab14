//! `gate features`: what of WebAssembly programs can use.

use crate::exit::{Problem, Status};
use crate::output;
use gate_compiler::{Feature, Features};
use std::fmt::Write;

/// Prints names, whether they are on, and whether a program that uses them can be written down.
pub(crate) fn run() -> Result<Status, Problem> {
    output::print(table(Features::default()).as_bytes())
}

fn table(on: Features) -> String {
    let width =
        Feature::ALL.iter().map(|feature| feature.name().len()).max().unwrap_or(0).max("FEATURE".len());
    let mut table = format!("{:width$}  ON   SNAPSHOTS  DESCRIPTION\n", "FEATURE");
    let yes = |yes| if yes { "yes" } else { "no" };
    for &feature in Feature::ALL {
        let (name, on, snapshots) = (feature.name(), yes(on.has(feature)), yes(feature.is_portable()));
        let description = feature.description().trim_end_matches('.');
        // Writing to a string does not fail.
        let _ = writeln!(table, "{name:width$}  {on:<3}  {snapshots:<9}  {description}");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_has_a_line() {
        let mut on = Features::ALL;
        on.memory64 = false;
        let table = table(on);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 1 + Feature::ALL.len());
        for (line, feature) in lines[1..].iter().zip(Feature::ALL) {
            let columns: Vec<_> = line.split_whitespace().take(3).collect();
            let is_on = if *feature == Feature::Memory64 { "no" } else { "yes" };
            assert_eq!(columns, [feature.name(), is_on, "yes"]);
        }
    }
}
