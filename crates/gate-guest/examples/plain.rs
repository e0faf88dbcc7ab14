//! Without WASI's entry: a function that is called by its name, for the target `wasm32-unknown-unknown`.
//!
//!     gate run --invoke greet plain.wasm

use gate_guest::{origin::Origin, Error};

/// Greets who is attached. Returns 0, or 1 if it has not worked.
#[no_mangle]
pub extern "C" fn greet() -> i32 {
    let result: Result<(), Error> = gate_guest::run(|gate| async move {
        let mut stream = Origin::discover(&gate).await?.accept().await?.ok_or(Error::Closed)?;
        stream.write_all(b"hello from a function\n").await
    });
    i32::from(result.is_err())
}

#[allow(dead_code)]
fn main() {}
