//! Requests a path of an origin, and sends the answer on to who is attached. With further arguments, sends these.
//!
//!     gate run --service localhost=web=http://127.0.0.1:8000 fetch.wasm web /index.html

use gate_guest::localhost::{Localhost, Request};
use gate_guest::{copy, origin::Origin, Error};

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (origin, path, words) = match &args[..] {
        [origin, path, words @ ..] => (&**origin, &**path, words),
        _ => panic!("an origin and a path are missing"),
    };
    gate_guest::run(|gate| async move {
        let mut output = Origin::discover(&gate).await?.accept().await?.ok_or(Error::Closed)?;
        let localhost = Localhost::discover(&gate).await?;
        if words.is_empty() {
            // All in one.
            let response = localhost.fetch(&Request::get(origin, path)).await?;
            output.write_all(format!("status {}\n", response.status).as_bytes()).await?;
            return output.write_all(&response.body).await;
        }
        // Of any size, in both directions.
        let (mut reader, mut writer) = localhost.open().await?.split();
        let body = words.join(" ");
        drop(gate.spawn(async move { writer.write_all(body.as_bytes()).await }));
        let fields: [(&str, &[u8]); 1] = [("content-type", b"text/plain")];
        let request = Request { method: "POST", fields: &fields, ..Request::get(origin, path) };
        let response = localhost.fetch_on(&request, &reader).await?;
        output.write_all(format!("status {}\n", response.status).as_bytes()).await?;
        copy(&mut reader, output.writer()).await?;
        if reader.end_note() != 0 {
            output.write_all(b"\nsomething is missing\n").await?;
        }
        Ok(())
    })
}
