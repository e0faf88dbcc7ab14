//! Several timers at once.
//!
//!     gate run timers.wasm

use gate_guest::{clock::Clock, Error};
use std::time::Duration;

fn main() -> Result<(), Error> {
    gate_guest::run(|gate| async move {
        let clock = Clock::discover(&gate).await?;
        let begin = clock.now().await?;
        let tasks: Vec<_> = [30, 10, 20]
            .iter()
            .map(|&milliseconds| {
                let sleeper = gate.clone();
                gate.spawn(async move {
                    sleeper.sleep(Duration::from_millis(milliseconds)).await;
                    println!("after {milliseconds} ms");
                })
            })
            .collect();
        for task in tasks {
            task.join().await;
        }
        // The host waits as well as the program.
        let end = clock.after(Duration::from_millis(5)).await?;
        assert!(end - begin >= Duration::from_millis(35), "{:?}", end - begin);
        Ok(())
    })
}
