//! Every promise in `docs/specification.md` is held by something that exists.

use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What a promise is held by: the texts in backticks of a row's last cell.
fn references(row: &str) -> Vec<&str> {
    let cell = row.trim_end_matches('|').rsplit_once('|').expect("a row has cells").1;
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_promise_is_held_by_something_that_exists() {
    let page = fs::read_to_string(repository().join("docs/specification.md")).unwrap();
    let is_promise =
        |line: &&str| line.starts_with("| ") && !line.starts_with("| promise ") && !line.starts_with("|---");
    let promises: Vec<_> = page.lines().filter(is_promise).collect();
    assert!(promises.len() > 30, "{} promises", promises.len());
    let mut wrong = Vec::new();
    for promise in promises {
        let references = references(promise);
        if references.is_empty() {
            wrong.push(format!("held by nothing: {promise}"));
        }
        for reference in references {
            let exists = match reference.split_once(": ") {
                Some((file, test)) => is_test(file, test),
                None => is_measurement(reference),
            };
            if !exists {
                wrong.push(format!("there is no {reference}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether a file below `crates` has a test of that name, which is not left out.
fn is_test(file: &str, test: &str) -> bool {
    let Ok(source) = fs::read_to_string(repository().join("crates").join(file)) else { return false };
    let Some(at) = source.find(&format!("fn {test}(")) else { return false };
    let attributes = source[..at].rsplit("\n\n").next().unwrap_or_default();
    let is_test = attributes.contains("#[test]") || attributes.contains("#[tokio::test");
    is_test && !attributes.contains("#[ignore")
}

/// Whether a command is one of a crate's, with a subcommand or an option that it has.
fn is_measurement(command: &str) -> bool {
    let Some(rest) = command.strip_prefix("cargo run --release -p ") else { return false };
    let Some((package, arguments)) = rest.split_once(" -- ") else { return false };
    let package = package.split(' ').next().unwrap_or_default();
    let Ok(source) = fs::read_to_string(repository().join("crates").join(package).join("src/main.rs")) else {
        return false;
    };
    let argument = arguments.split(' ').next().unwrap_or_default();
    match argument.strip_prefix("--") {
        Some(option) => source.contains(&format!("long = \"{option}\"")),
        None => {
            let (first, rest) = argument.split_at(1);
            source.contains(&format!("Action::{}{rest}", first.to_uppercase()))
        }
    }
}

#[test]
fn what_does_not_exist_is_noticed() {
    assert!(is_test("gate/tests/specification.rs", "what_does_not_exist_is_noticed"));
    assert!(!is_test("gate/tests/specification.rs", "no_such_test"));
    assert!(!is_test("gate/tests/specification.rs", "is_test"));
    assert!(!is_test("gate/tests/no_such_file.rs", "what_does_not_exist_is_noticed"));
    assert!(is_measurement("cargo run --release -p gate-bench -- suspend"));
    assert!(!is_measurement("cargo run --release -p gate-bench -- nothing"));
    assert!(!is_measurement("cargo run --release -p no-such-crate -- suspend"));
    assert_eq!(references("| a | `b`, `c` |"), ["b", "c"]);
}
