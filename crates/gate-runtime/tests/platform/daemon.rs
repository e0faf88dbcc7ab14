//! Containers that a daemon makes.

use crate::machine::{children, executor, is_root, kill, program, rerun, start, works};
use gate_runtime::{
    Access, Config, Daemon, DaemonConfig, DaemonError, DaemonStatus, Executor, ExecutorError,
    NoHostFunctions, ProcessError, ProcessPolicy,
};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType, connect, send, socket};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Fixture {
    path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    _dir: TempDir,
}

impl Fixture {
    fn new(config: &DaemonConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let daemon = Daemon::bind(&path, 0o666, config).unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(daemon.serve(async {
            let _ = stopped.await;
        }));
        Self { path, stop: Some(stop), task, _dir: dir }
    }

    fn config(&self) -> Config {
        Config { daemon_socket: Some(self.path.clone()), ..Config::default() }
    }

    async fn status(&self) -> DaemonStatus {
        DaemonStatus::query(&self.path).await.unwrap()
    }

    async fn containers(&self, expected: u64) {
        for _ in 0..1000 {
            if self.status().await.containers == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{:?}", self.status().await);
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.await.unwrap();
        assert!(!self.path.exists());
    }
}

fn connection(path: &Path) -> OwnedFd {
    let socket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    socket
}

#[tokio::test]
async fn a_daemon_makes_containers() {
    let daemon = Fixture::new(&DaemonConfig::default());
    let program = program();
    let executor = Executor::new(daemon.config()).await.unwrap();
    for _ in 0..20 {
        works(executor.new_process().await.unwrap(), &program).await;
    }
    let other = Config { conn_file: Some(connection(&daemon.path)), ..Config::default() };
    let other = Executor::new(other).await.unwrap();
    works(other.new_process().await.unwrap(), &program).await;
    let status = daemon.status().await;
    assert_eq!((status.containers, status.made, status.failed), (2, 2, 0));
    assert_eq!(status.pid, std::process::id());

    executor.close().await;
    daemon.containers(1).await;
    works(other.new_process().await.unwrap(), &program).await;
    drop(other);
    daemon.containers(0).await;
    daemon.stop().await;
}

#[tokio::test]
async fn its_end_is_the_end_of_its_containers() {
    let daemon = Fixture::new(&DaemonConfig::default());
    let executor = Executor::new(daemon.config()).await.unwrap();
    let mut process = executor.new_process().await.unwrap();
    let _instance = start(&mut process, &program(), "spin", ProcessPolicy::default());
    let mut none = NoHostFunctions;
    let (outcome, ()) = tokio::join!(process.serve(&mut none), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        daemon.stop().await;
    });
    assert!(matches!(outcome, Err(ProcessError::ExecutorDied)), "{outcome:?}");
    executor.dead().await;
    assert!(matches!(executor.new_process().await.err(), Some(ExecutorError::Dead)));
}

#[tokio::test]
async fn bad_clients_do_not_disturb_good_ones() {
    let daemon = Fixture::new(&DaemonConfig::default());
    let executor = Executor::new(daemon.config()).await.unwrap();
    // Silent ones stay connected all the time.
    let silent: Vec<_> = (0..20).map(|_| connection(&daemon.path)).collect();
    for round in 0..60u8 {
        let client = connection(&daemon.path);
        match round % 4 {
            0 => drop(client),
            1 => drop(send(&client, &[round; 3], SendFlags::NOSIGNAL)),
            2 => drop(send(&client, &[0xff; 30_000], SendFlags::NOSIGNAL)),
            // It asks for a container, and leaves at once.
            _ => drop(send(&client, b"gDm1\x01\0\0\0", SendFlags::NOSIGNAL)),
        }
    }
    works(executor.new_process().await.unwrap(), &program()).await;
    daemon.containers(1).await;
    let another = Executor::new(daemon.config()).await.unwrap();
    works(another.new_process().await.unwrap(), &program()).await;
    // A word too many is the end of that container only.
    let status = daemon.status().await;
    assert!(status.refused >= 30, "{status:?}");
    drop(silent);
    another.close().await;
    executor.close().await;
    daemon.stop().await;
}

#[tokio::test]
async fn there_are_no_more_containers_than_allowed() {
    let daemon = Fixture::new(&DaemonConfig { max_containers_per_user: 1, ..DaemonConfig::default() });
    let executor = Executor::new(daemon.config()).await.unwrap();
    let error = Executor::new(daemon.config()).await.unwrap_err();
    assert_eq!(error.to_string(), "the daemon refuses: there are too many containers");
    executor.close().await;
    daemon.containers(0).await;
    Executor::new(daemon.config()).await.unwrap().close().await;
    daemon.stop().await;
}

#[tokio::test]
async fn other_users_are_refused_unless_they_are_allowed() {
    if !is_root() {
        return;
    }
    let allowed = Access { users: [54321].into(), ..Access::default() };
    for (access, test) in [(Access::default(), "daemon::refused"), (allowed, "daemon::allowed")] {
        let daemon = Fixture::new(&DaemonConfig { access, ..DaemonConfig::default() });
        let path = daemon.path.clone();
        std::fs::set_permissions(path.parent().unwrap(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let run = move || {
            rerun(test, &[], |command| {
                command.uid(54321).gid(54321).current_dir("/").env("GATE_TEST_SOCKET", path);
            });
        };
        tokio::task::spawn_blocking(run).await.unwrap();
        daemon.stop().await;
    }
}

fn given() -> Config {
    Config { daemon_socket: Some(std::env::var_os("GATE_TEST_SOCKET").unwrap().into()), ..Config::default() }
}

#[tokio::test]
#[ignore = "run by another test"]
async fn refused() {
    let error = Executor::new(given()).await.unwrap_err();
    assert_eq!(error.to_string(), "the daemon refuses: user 54321 may not have containers");
}

#[tokio::test]
#[ignore = "run by another test"]
async fn allowed() {
    let executor = Executor::new(given()).await.unwrap();
    // Its programs have ids which this user could not have given them.
    assert_eq!(executor.ids(), (65533, 65533));
    let program = program();
    for _ in 0..10 {
        works(executor.new_process().await.unwrap(), &program).await;
    }
    executor.close().await;
}

/// In a process of its own, because it looks for the executor among the children.
#[test]
fn a_killed_executor_of_a_daemon_is_noticed() {
    rerun("daemon::killed_executor", &[], |_| {});
}

#[tokio::test]
#[ignore = "run by another test"]
async fn killed_executor() {
    let daemon = Fixture::new(&DaemonConfig::default());
    let executor = Executor::new(daemon.config()).await.unwrap();
    kill(children(std::process::id(), "gate-executor")[0]);
    executor.dead().await;
    daemon.containers(0).await;
    assert_eq!(children(std::process::id(), "gate-executor"), [0; 0]);
    daemon.stop().await;
}

#[test]
fn a_daemon_works_with_few_privileges() {
    if is_root() {
        rerun("daemon::few_privileges", &[], |_| {});
    }
}

#[test]
#[ignore = "run by another test"]
fn few_privileges() {
    let config = DaemonConfig::default();
    config.drop_privileges().unwrap();
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    // To map ids, and nothing else.
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert!(status.contains(&format!("{set}:\t00000000000000c0")), "{status}");
    }
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let daemon = Fixture::new(&config);
        let executor = Executor::new(daemon.config()).await.unwrap();
        works(executor.new_process().await.unwrap(), &program()).await;
        executor.close().await;
        daemon.stop().await;
    });
}

#[tokio::test]
async fn where_there_is_no_daemon_it_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none");
    let error = DaemonStatus::query(&path).await.unwrap_err();
    assert!(matches!(error, DaemonError::Connect { .. }), "{error}");
    assert!(error.to_string().contains("none\": No such file"), "{error}");

    // What is left of a dead one does not keep the next from starting, but a living one does.
    drop(Daemon::bind(&path, 0o600, &DaemonConfig::default()).unwrap());
    let listener = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    drop(listener);
    assert!(path.exists());
    let daemon = Daemon::bind(&path, 0o600, &DaemonConfig::default()).unwrap();
    let error = Daemon::bind(&path, 0o600, &DaemonConfig::default()).unwrap_err();
    assert!(error.to_string().contains("Address already in use"), "{error}");
    drop(daemon);
    drop(executor().await);
}
