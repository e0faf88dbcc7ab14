//! Gets random bytes, twice. The crate has no module for that: it calls the service by its name.

use gain::origin;
use gain::service::Service;
use gain::stream::{Close, Write};
use gain::task::block_on;

fn main() {
    block_on(async {
        let service = Service::register("random");
        let first = service.call(&[4], |reply: &[u8]| reply.to_vec()).await;
        let second = service.call(&[2], |reply: &[u8]| reply.to_vec()).await;
        let text = format!("{} and {} bytes\n", first.len(), second.len());
        let mut stream = origin::accept().await.expect("a connection");
        stream.write_all(text.as_bytes()).await.expect("output");
        stream.close().await;
    })
}
