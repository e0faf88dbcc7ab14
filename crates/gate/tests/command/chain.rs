//! Programs that are suspended and go on, over and over.

use super::{Ended, finish, gate};
use std::path::Path;
use std::process::{Command, Stdio};

/// Exit code of a program that was suspended.
pub(crate) const SUSPENDED: i32 = 75;

/// Exit code when Gate itself failed.
const FAILED: i32 = 125;

/// What came out of a chain.
pub(crate) struct Chain {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    /// How often the program was suspended.
    pub(crate) hops: usize,
}

/// Runs a command that suspends its program, and lets it go on with the options of each hop in turn, until it ends. Each hop has
/// the standard input.
pub(crate) fn chain(
    mut first: Command,
    snapshot: &Path,
    hops: &[&[&str]],
    stdin: impl Fn() -> Stdio,
) -> Chain {
    let mut stdout = Vec::new();
    let mut count = 0;
    let mut ended: Ended = first.stdin(stdin()).output().expect("run gate").into();
    loop {
        stdout.extend_from_slice(&ended.stdout);
        match ended.code {
            Some(SUSPENDED) => {}
            Some(FAILED) => panic!("after {count} hops: {ended:?}"),
            Some(code) => return Chain { code, stdout, hops: count },
            None => panic!("{ended:?}"),
        }
        assert!(ended.stderr.ends_with(&format!("its state is in {}\n", snapshot.display())), "{ended:?}");
        let mut command = gate(&["resume"]);
        command.args(hops[count % hops.len()]).arg("--snapshot").arg(snapshot).arg(snapshot);
        ended = command.stdin(stdin()).output().expect("run gate").into();
        count += 1;
        assert!(count < 2000, "it does not come to its end");
    }
}

/// `gate inspect` with options.
pub(crate) fn inspect(options: &[&str], snapshot: &Path) -> Ended {
    finish(gate(&["inspect"]).args(options).arg(snapshot), b"")
}
