//! Nothing is lost and nothing is left behind, whatever dies. Alone in its process, because it counts, and kills.
//! `gate-bench stress` does the same for as long as one likes.

mod engine;

use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_dies_is_accounted_for() {
    let report = engine::stress(Duration::from_secs(5)).await;
    println!("{report}");
    assert!(report.wrongs.is_empty(), "{report}");
    assert!(report.ends.values().sum::<u64>() > 100, "{report}");
    assert!(report.programs_killed > 10 && report.executors_killed > 0, "{report}");
}
