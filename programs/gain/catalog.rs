//! Tells which services there are.

use gain::stream::{Close, Write};
use gain::task::block_on;
use gain::{catalog, origin};

fn main() {
    block_on(async {
        let json = catalog::json().await;
        let mut stream = origin::accept().await.expect("a connection");
        stream.write_all(json.as_bytes()).await.expect("output");
        stream.close().await;
    })
}
