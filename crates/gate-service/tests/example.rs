//! The example of a host does what it says, and is the one in the documentation.

#[path = "../examples/host.rs"]
#[allow(dead_code)]
mod host;

use std::sync::{Arc, Mutex};

#[tokio::test]
async fn the_program_uses_the_hosts_service() {
    let log = Arc::new(Mutex::new(Vec::<u8>::new()));
    let sink = Arc::clone(&log);
    let wasm = wat::parse_str(host::PROGRAM).unwrap();
    let outcome = host::run(&wasm, Box::new(move |message| sink.lock().unwrap().extend(message))).await;
    assert_eq!(outcome.unwrap().result.value(), 0);
    assert_eq!(*log.lock().unwrap(), b"WHISPER!");
}

#[test]
fn the_documentation_shows_it() {
    let example = include_str!("../examples/host.rs");
    let begin = example.find("/// Answers calls").unwrap();
    let end = example.find("/// Discovers `shout`").unwrap();
    let docs = include_str!("../../../docs/services.md");
    assert!(docs.contains(example[begin..end].trim_end()), "docs/services.md has another example");
}
