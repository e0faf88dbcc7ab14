//! What an ordinary user can do.

use crate::machine::{call, compile, instantiate};
use gate_compiler::Value::I32;
use gate_runtime::{Config, Executor, ExecutorError};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Runs a test of this binary, which is otherwise ignored, in a process of its own. It must pass.
pub(crate) fn rerun(test: &str, prepare: impl FnOnce(&mut Command)) {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", test, "--ignored", "--nocapture"]);
    prepare(&mut command);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
fn an_ordinary_user_runs_programs() {
    rerun("unprivileged::ordinary_user", |command| {
        if rustix::process::geteuid().is_root() {
            command.uid(54321).gid(54321).current_dir("/");
        }
    });
}

#[tokio::test]
#[ignore = "run by another test"]
async fn ordinary_user() {
    assert!(!rustix::process::geteuid().is_root());
    let executor = match Executor::new(Config::default()).await {
        Ok(executor) => executor,
        Err(error @ ExecutorError::Container { .. }) => {
            // Where the kernel does not allow it, the message must say which setting that is.
            assert!(error.to_string().contains('('), "{error}");
            return println!("not allowed here: {error}");
        }
        Err(error) => panic!("{error}"),
    };
    let program = compile(r#"(module (func (export "six") (result i32) (i32.const 6)))"#);
    assert_eq!(call(&executor, &mut instantiate(&program), "six", &[]).await, [I32(6)]);
    executor.close().await;
}

/// In a process of its own, because it takes away a limit for good.
#[test]
fn the_missing_setting_is_named() {
    rerun("unprivileged::no_namespaces", |_| {});
}

#[tokio::test]
#[ignore = "run by another test"]
async fn no_namespaces() {
    // With its soft limit at almost nothing, descriptors cannot be made.
    let limit = rustix::process::Rlimit { current: Some(12), maximum: Some(12) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let error = Executor::new(Config::default()).await.err().unwrap();
    assert!(error.to_string().contains("Too many open files"), "{error}");
}
