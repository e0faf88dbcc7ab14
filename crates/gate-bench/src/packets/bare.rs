//! Two processes and two pipes, with nothing between them.

use anyhow::Context;
use clap::ValueEnum;
use rustix::io::{Errno, read, write};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Size of what is written at once when there is much of it, in bytes: a pipe has room for so much.
const CHUNK: usize = 64 << 10;

/// What the other process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Writes what it has read.
    Echo,
    /// Writes as fast as it can.
    Source,
    /// Reads as fast as it can.
    Sink,
}

/// Plays the other process until nobody is interested.
pub(crate) fn play(role: Role) -> anyhow::Result<()> {
    match transfer(role, io::stdin().as_fd(), io::stdout().as_fd()) {
        Ok(()) | Err(Errno::PIPE) => Ok(()),
        Err(errno) => Err(errno).context("transfer"),
    }
}

fn transfer(role: Role, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mut buf = vec![0; CHUNK];
    loop {
        match role {
            Role::Echo => match read(from, &mut buf)? {
                0 => return Ok(()),
                size => write_all(to, &buf[..size])?,
            },
            Role::Source => write_all(to, &buf)?,
            Role::Sink => {
                if read(from, &mut buf)? == 0 {
                    return Ok(());
                }
            }
        }
    }
}

/// The other process, and what connects it with this one.
pub(super) struct Bare {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Bare {
    pub(super) fn new(role: Role) -> anyhow::Result<Self> {
        let role = role.to_possible_value().context("a role without a name")?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bare-peer", role.get_name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("run the other process")?;
        let (to, from) = child.stdin.take().zip(child.stdout.take()).context("pipes")?;
        Ok(Self { child, to, from })
    }

    /// Sends eight bytes to and fro. Returns how often that was possible in a second.
    pub(super) fn ping_pong(&self, time: Duration) -> anyhow::Result<f64> {
        let (start, mut count) = (Instant::now(), 0u64);
        let mut buf = [0; 8];
        while start.elapsed() < time {
            for _ in 0..64 {
                write_all(self.to.as_fd(), &buf)?;
                read_exact(self.from.as_fd(), &mut buf)?;
            }
            count += 64;
        }
        Ok(count as f64 / start.elapsed().as_secs_f64())
    }

    /// Reads what the other process writes, as a source. Returns the number of bytes in a second.
    pub(super) fn drain(&self, time: Duration) -> anyhow::Result<f64> {
        let mut buf = vec![0; CHUNK];
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < time {
            count += read(&self.from, &mut buf)?;
        }
        Ok(count as f64 / start.elapsed().as_secs_f64())
    }

    /// Writes what the other process reads, as a sink. Returns the number of bytes in a second.
    pub(super) fn fill(&self, time: Duration) -> anyhow::Result<f64> {
        let buf = vec![0; CHUNK];
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < time {
            count += write(&self.to, &buf)?;
        }
        Ok(count as f64 / start.elapsed().as_secs_f64())
    }

    /// Sends many bytes to and fro. Returns how many came back in a second.
    pub(super) fn echo(&self, time: Duration) -> anyhow::Result<f64> {
        let mut buf = vec![0; CHUNK];
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < time {
            write_all(self.to.as_fd(), &buf)?;
            read_exact(self.from.as_fd(), &mut buf)?;
            count += buf.len();
        }
        Ok(count as f64 / start.elapsed().as_secs_f64())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let size = write(fd, bytes)?;
        bytes = &bytes[size..];
    }
    Ok(())
}

fn read_exact(fd: BorrowedFd<'_>, mut buf: &mut [u8]) -> rustix::io::Result<()> {
    while !buf.is_empty() {
        match read(fd, &mut *buf)? {
            0 => return Err(Errno::PIPE),
            size => buf = &mut buf[size..],
        }
    }
    Ok(())
}
