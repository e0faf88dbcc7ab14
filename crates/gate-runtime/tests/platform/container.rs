//! Ways of making a container.

use crate::machine::{executor, is_root, program, rerun, works};
use gate_runtime::{
    Binaries, Config, ContainerConfig, ContainerIds, Executor, ExecutorError, install_binaries,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

fn config(container: ContainerConfig) -> Config {
    Config { container, ..Config::default() }
}

#[tokio::test]
async fn the_programs_have_an_id_of_their_own() {
    let executor = executor().await;
    if is_root() {
        assert_eq!(executor.ids(), (65533, 65533));
    }
    works(executor.new_process().await.unwrap(), &program()).await;
    executor.close().await;
}

#[tokio::test]
async fn explicit_credentials_are_used() {
    if !is_root() {
        return;
    }
    let ids = ContainerIds::Two { setup: (70001, 70002), programs: (70003, 70004) };
    let executor = Executor::new(config(ContainerConfig { ids, ..Default::default() })).await.unwrap();
    assert_eq!(executor.ids(), (70003, 70004));
    works(executor.new_process().await.unwrap(), &program()).await;
    executor.close().await;
}

/// In a process of its own, because it looks for the executor among the children.
#[test]
fn without_namespaces_programs_run_all_the_same() {
    rerun("container::no_namespaces", &[], |_| {});
    if is_root() {
        rerun("container::no_namespaces", &[], |command| {
            command.uid(54321).gid(54321).current_dir("/");
        });
    }
}

#[tokio::test]
#[ignore = "run by another test"]
async fn no_namespaces() {
    let container = ContainerConfig { namespaces: false, ..Default::default() };
    let executor = Executor::new(config(container)).await.unwrap();
    let pids = crate::machine::children(std::process::id(), "gate-executor");
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid"));
    // Another user's, it cannot be looked at.
    if is_root() {
        assert_eq!(namespace(&pids[0].to_string()).unwrap(), namespace("self").unwrap());
        let status = fs::read_to_string(format!("/proc/{}/status", pids[0])).unwrap();
        assert!(status.contains("Uid:\t65533\t65533\t65533\t65533"), "{status}");
        assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }
    works(executor.new_process().await.unwrap(), &program()).await;
    executor.close().await;
}

#[tokio::test]
async fn the_binaries_can_be_files() {
    let dir = tempfile::tempdir().unwrap();
    install_binaries(dir.path()).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let container =
        ContainerConfig { binaries: Binaries::Directory(dir.path().into()), ..Default::default() };
    let executor = Executor::new(config(container.clone())).await.unwrap();
    works(executor.new_process().await.unwrap(), &program()).await;
    executor.close().await;

    let loader = dir.path().join("gate-loader");
    let mut bytes = fs::read(&loader).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&loader, bytes).unwrap();
    let error = Executor::new(config(container.clone())).await.unwrap_err();
    assert!(matches!(&error, ExecutorError::Binary { path, .. } if *path == loader), "{error}");
    assert!(error.to_string().contains("not of this version"), "{error}");
    fs::remove_file(&loader).unwrap();
    let error = Executor::new(config(container)).await.unwrap_err();
    assert!(error.to_string().contains("gate-loader\": No such file"), "{error}");
}

/// As an ordinary user, who has ids to hand out as far as the files say, which are others in a mount namespace.
fn with_subordinate_ids(test: &str, ranges: &str) {
    if !is_root() {
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), ranges).unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let script = format!(
        "passwd=$(mktemp); cat /etc/passwd >$passwd; echo gate-test:x:54321:54321::/:/bin/sh >>$passwd
         chmod 644 $passwd; mount --bind $passwd /etc/passwd; rm $passwd
         for f in /etc/subuid /etc/subgid; do touch $f; mount --bind {} $f; done
         cd /; exec setpriv --reuid 54321 --regid 54321 --clear-groups \"$@\"",
        file.path().display()
    );
    rerun(test, &["unshare", "--mount", "sh", "-euc", &script, "sh"], |_| {});
}

#[test]
fn subordinate_ids_are_mapped_by_helpers() {
    with_subordinate_ids("container::subordinate", "1:5:9\ngate-test:400000:65536\n");
}

#[tokio::test]
#[ignore = "run by another test"]
async fn subordinate() {
    for ids in [ContainerIds::Auto, ContainerIds::Subordinate] {
        let executor = Executor::new(config(ContainerConfig { ids, ..Default::default() })).await.unwrap();
        assert_eq!(executor.ids(), (400_001, 400_001));
        works(executor.new_process().await.unwrap(), &program()).await;
        executor.close().await;
    }
    // What is not in the files cannot be had.
    let ids = ContainerIds::Two { setup: (5, 5), programs: (6, 6) };
    let error = Executor::new(config(ContainerConfig { ids, ..Default::default() })).await.unwrap_err();
    assert!(matches!(error, ExecutorError::Credentials(_)), "{error}");
    assert!(error.to_string().contains("newuidmap"), "{error}");
}

#[test]
fn who_has_no_subordinate_ids_is_told() {
    with_subordinate_ids("container::no_subordinate", "54321:300000:1\nsomebody:1:9\n");
}

#[tokio::test]
#[ignore = "run by another test"]
async fn no_subordinate() {
    let ids = ContainerIds::Subordinate;
    let error = Executor::new(config(ContainerConfig { ids, ..Default::default() })).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "make a container: /etc/subuid gives user gate-test (54321) fewer than two ids"
    );
    let executor = executor().await;
    assert_eq!(executor.ids(), (54321, 54321));
    works(executor.new_process().await.unwrap(), &program()).await;
    executor.close().await;
}

#[test]
fn limits_that_are_too_low_are_named() {
    rerun("container::no_files", &["sh", "-c", "ulimit -f 0; exec \"$0\" \"$@\""], |_| {});
    rerun("container::few_descriptors", &["sh", "-c", "ulimit -n 20; exec \"$0\" \"$@\""], |_| {});
}

#[tokio::test]
#[ignore = "run by another test"]
async fn no_files() {
    let error = Executor::new(Config::default()).await.unwrap_err();
    assert!(matches!(error, ExecutorError::FileSizeLimit(0)), "{error}");
    assert!(error.to_string().contains("ulimit -f"), "{error}");
}

#[tokio::test]
#[ignore = "run by another test"]
async fn few_descriptors() {
    let error = Executor::new(Config::default()).await.unwrap_err();
    assert!(error.to_string().contains("ulimit -n, is 20"), "{error}");
}
