//! Programs that were suspended and moved two thousand times end as if they had not been.

use gate_moves::{Journeys, Plan, hand_written};

#[tokio::test]
async fn programs_that_are_moved_end_as_if_they_were_not() {
    let subjects = hand_written().unwrap();
    let plan = Plan { suspensions: 2000, per_journey: 40, seed: rand::random(), generated: 4, until: None };
    println!("seed {}", plan.seed);
    let report = Journeys::new().await.unwrap().make(&subjects, &plan, |_| {}).await.unwrap();
    println!("{report}");
    assert!(report.differences.is_empty(), "seed {}: {report}", plan.seed);
    assert!(report.suspensions() >= 2000);
    assert_eq!(report.coverage.missing(), Vec::<String>::new());
}
