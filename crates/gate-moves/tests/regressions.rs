//! Modules in which something went wrong once end as they do in other engines, with and without suspensions.
//!
//! Each file in `regressions` is a module with a function `the driver` of the type `() -> i64`, as the command saves them when it
//! finds a difference.

use gate_moves::{Journeys, Subject};
use std::fs;
use std::path::Path;

#[tokio::test]
async fn what_went_wrong_once_does_not_again() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    let journeys = Journeys::new().await.unwrap();
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if !path.extension().is_some_and(|extension| extension == "wat" || extension == "wasm") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let subject = Subject::saved(&name, wat::parse_file(&path).unwrap());
        let report = journeys.examine(&subject, 10, 1).await.unwrap();
        assert!(report.differences.is_empty(), "{report}");
        assert_eq!(report.compared, 1);
        count += 1;
    }
    assert!(count > 0);
}
