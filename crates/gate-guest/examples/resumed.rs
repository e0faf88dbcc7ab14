//! Waits until it has been resumed.
//!
//!     gate run --suspend-after 1s --snapshot resumed.snapshot resumed.wasm
//!     gate resume resumed.snapshot

fn main() {
    gate_guest::run(|gate| async move {
        // Who has services is told which there are then, and so does not wait any longer.
        drop(gate.service("clock").await);
        gate.resumed().await;
        println!("resumed {} times", gate.resumptions());
    })
}
