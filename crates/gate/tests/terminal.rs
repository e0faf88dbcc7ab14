//! Programs on a terminal, which is left as it was found.

mod command;

use command::program;
use rustix::fs::{Mode, OFlags, fcntl_getfl, open};
use rustix::io::{read, write};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr,
    tcsetwinsize,
};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};

struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
}

impl Terminal {
    /// One with an unusual mode and size.
    fn new() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut mode = tcgetattr(&slave).unwrap();
        mode.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
        mode.special_codes[SpecialCodeIndex::VMIN] = 1;
        tcsetattr(&slave, OptionalActions::Now, &mode).unwrap();
        let size = Winsize { ws_row: 7, ws_col: 61, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, size).unwrap();
        Self { master, slave }
    }

    /// Runs the command with this as its controlling terminal.
    fn run(&self, options: &[&str], name: &str) -> Session {
        // When the leader of a session ends, the terminal hangs up; so that is not the command itself.
        const SCRIPT: &str = "trap : INT; \"$0\" run \"$@\"; echo \"<$?>\"; exec sleep 1000";
        let stream = || self.slave.try_clone().unwrap();
        let mut command = Command::new("setsid");
        command
            .args(["--ctty", "sh", "-c", SCRIPT, env!("CARGO_BIN_EXE_gate")])
            .args(options)
            .arg(program(name));
        command.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR")).env_remove("GATE_LOG");
        Session(command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap())
    }

    /// Mode, size, and whether reading from it waits.
    fn look(&self) -> (String, (u16, u16), bool) {
        let Termios { input_modes, output_modes, control_modes, local_modes, special_codes, .. } =
            tcgetattr(&self.slave).unwrap();
        let size = tcgetwinsize(&self.slave).unwrap();
        let mode =
            format!("{input_modes:?} {output_modes:?} {control_modes:?} {local_modes:?} {special_codes:?}");
        let waits = !fcntl_getfl(&self.slave).unwrap().contains(OFlags::NONBLOCK);
        (mode, (size.ws_row, size.ws_col), waits)
    }

    /// Reads until this has been seen.
    fn expect(&self, text: &str) {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(text) {
            let mut buf = [0; 256];
            let n = read(&self.master, &mut buf).unwrap();
            seen.extend_from_slice(&buf[..n]);
        }
    }
}

struct Session(Child);

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn terminals_are_left_as_they_were() {
    for (options, program, code) in [
        (&[][..], "cat.wat", 130),
        (&[], "exit.wat", 41),
        (&["--timeout", "100ms"], "spin.wat", 124),
        (&["--invoke", "fail"], "crash.wat", 134),
        (&["--invoke", "missing"], "cat.wat", 126),
    ] {
        let terminal = Terminal::new();
        let before = terminal.look();
        assert_eq!((before.1, before.2), ((7, 61), true));
        let session = terminal.run(options, program);
        if program == "cat.wat" && options.is_empty() {
            write(&terminal.master, b"ping").unwrap();
            terminal.expect("ping");
            assert_eq!(terminal.look(), before, "while it runs");
            // Ctrl-C
            write(&terminal.master, b"\x03").unwrap();
        }
        terminal.expect(&format!("<{code}>"));
        assert_eq!(terminal.look(), before, "{program} {options:?}");
        drop(session);
    }
}
