//! Tells whose it is, and which instance.

use gain::stream::{Close, Write};
use gain::task::block_on;
use gain::{identity, origin};

fn main() {
    block_on(async {
        let principal = identity::principal_id().await;
        let instance = identity::instance_id().await;
        let text = format!("principal {:?}, instance {:?}\n", principal, instance);
        let mut stream = origin::accept().await.expect("a connection");
        stream.write_all(text.as_bytes()).await.expect("output");
        stream.close().await;
    })
}
