//! Numbered packets over some hundred suspensions. `gate-moves --packets` does the same for longer.

use gate_moves::exchange_packets;

#[tokio::test]
async fn packets_are_neither_lost_nor_doubled() {
    const SUSPENSIONS: u64 = 400;
    let seed = rand::random();
    println!("seed {seed}");
    let exchanged = exchange_packets(SUSPENSIONS, seed, |_| {}).await.unwrap();
    println!("{exchanged}");
    assert!(exchanged.suspensions() >= SUSPENSIONS && exchanged.ways.len() == 5);
    assert!(exchanged.unfinished > 0 && exchanged.undelivered > 0 && exchanged.unanswered > 0);
}
