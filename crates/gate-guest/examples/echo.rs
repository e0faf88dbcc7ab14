//! Sends back what it receives on each connection.
//!
//!     echo hello | gate run echo.wasm
//!     gate run --origin listen=127.0.0.1:7000 echo.wasm

use gate_guest::{copy, origin::Origin, Error};

fn main() -> Result<(), Error> {
    gate_guest::run(|gate| async move {
        let origin = Origin::discover(&gate).await?;
        let mut tasks = Vec::new();
        while let Some(stream) = origin.accept().await? {
            tasks.push(gate.spawn(async move {
                let (mut reader, mut writer) = stream.split();
                copy(&mut reader, &mut writer).await
            }));
        }
        for task in tasks {
            task.join().await?;
        }
        Ok(())
    })
}
