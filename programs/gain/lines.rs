//! Greets each line that it receives, through a buffered stream.

use gain::origin;
use gain::stream::buf::{Buf, Read, ReadWriteStream};
use gain::stream::Write;
use gain::task::block_on;

fn main() {
    block_on(async {
        let mut stream = ReadWriteStream::new(origin::accept().await.expect("a connection"));
        let mut line = Vec::new();
        loop {
            let data = stream
                .buf_read(1, |buf: &mut Buf| {
                    let data = buf.as_slice().to_vec();
                    buf.consume(data.len());
                    data
                })
                .await
                .expect("input");
            if data.is_empty() {
                break;
            }
            for byte in data {
                line.push(byte);
                if byte == b'\n' {
                    stream.write_all(b"hello, ").await.expect("output");
                    stream.write_all(&line).await.expect("output");
                    line.clear();
                }
            }
        }
        // Dropped, it is closed. Its own `close` does not expect that the input is at its end already.
    })
}
