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

/// As a fuzzer makes them.
#[tokio::test]
async fn modules_of_bytes_end_alike() {
    let journeys = Journeys::new().await.unwrap();
    let mut count = 0;
    for seed in 0..40_u32 {
        // Anything that varies will do.
        let bytes: Vec<_> = (0..3000_u32)
            .map(|index| (blake3::hash(&[seed.to_le_bytes(), index.to_le_bytes()].concat()).as_bytes())[0])
            .collect();
        let Some(subject) = Subject::from_bytes(&bytes) else { continue };
        let report = journeys.examine(&subject, 2, seed.into()).await.unwrap();
        assert!(report.differences.is_empty(), "{seed}: {report}");
        count += 1;
        if count == 5 {
            break;
        }
    }
    assert_eq!(count, 5);
}
