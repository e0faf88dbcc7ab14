//! Sends back each line in reverse that comes over connections to the listener which is descriptor 3, one after the other,
//! until one is "quit".

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
#[cfg(unix)]
use std::os::fd::FromRawFd;
#[cfg(target_os = "wasi")]
use std::os::wasi::io::FromRawFd;

fn main() {
    // SAFETY: nothing else in this program has the descriptor.
    let listener = unsafe { TcpListener::from_raw_fd(3) };
    loop {
        let (connection, _) = listener.accept().expect("a connection");
        for line in BufReader::new(&connection).lines() {
            let line = line.expect("a line");
            if line == "quit" {
                return;
            }
            let reversed: String = line.chars().rev().collect();
            writeln!(&connection, "{reversed}").expect("somebody who reads");
        }
    }
}
