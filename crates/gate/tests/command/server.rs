//! Programs that listen.

use super::wait_within;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

/// Lets the program listen at a port that is free.
pub(crate) const LISTEN: [&str; 2] = ["--tcplisten", "127.0.0.1:0"];

const SOON: Duration = Duration::from_secs(60);

/// A command, and where its program listens.
pub(crate) struct Server {
    child: Child,
    addr: SocketAddr,
    stderr: BufReader<ChildStderr>,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let addr = line.trim_end().strip_prefix("gate: the program listens on ");
        let addr = addr.unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
        Self { child, addr, stderr }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.addr).unwrap();
        client.set_read_timeout(Some(SOON)).unwrap();
        client
    }

    /// Fails unless it ends with this code, and says this.
    #[track_caller]
    pub(crate) fn ends(mut self, code: i32, text: &str) {
        assert_eq!(wait_within(&mut self.child, SOON), Some(code));
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        assert!(rest.contains(text) && rest.lines().count() == usize::from(!text.is_empty()), "{rest:?}");
    }

    pub(crate) fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }
}
