//! Deaths at bad moments.

use crate::machine::{children, executor, kill, program, rerun, start, works};
use gate_runtime::{
    Config, Executor, ExecutorError, NoHostFunctions, ProcessError, ProcessPolicy, RestartPolicy, Supervisor,
    TrapId,
};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// In a process of its own, because it looks for executors among the children.
#[test]
fn a_supervisor_replaces_dead_executors() {
    rerun("faults::supervised", &[], |_| {});
}

#[tokio::test]
#[ignore = "run by another test"]
async fn supervised() {
    let supervisor = Supervisor::new(Config::default(), RestartPolicy::default()).await.unwrap();
    let program = program();
    for round in 1..=5 {
        let mut process = supervisor.new_process().await.unwrap();
        let _instance = start(&mut process, &program, "spin", ProcessPolicy::default());
        let executors = children(std::process::id(), "gate-executor");
        assert_eq!(executors.len(), 1);
        let mut none = NoHostFunctions;
        let (outcome, ()) = tokio::join!(process.serve(&mut none), async { kill(executors[0]) });
        assert!(matches!(outcome, Err(ProcessError::ExecutorDied)), "{outcome:?}");
        works(supervisor.new_process().await.unwrap(), &program).await;
        assert_eq!(supervisor.restarts(), round);
    }
    supervisor.close().await;
    assert_eq!(children(std::process::id(), "gate-executor"), [0; 0]);
}

#[tokio::test]
async fn a_connection_is_not_for_a_supervisor() {
    let conn_file = Some(fs::File::open("/dev/null").unwrap().into());
    let config = Config { conn_file, ..Config::default() };
    let error = Supervisor::new(config, RestartPolicy::default()).await.err().unwrap();
    assert!(matches!(error, ExecutorError::Supervised), "{error}");
}

/// In a process of its own, because it looks for executors among the children.
#[test]
fn a_runtime_that_goes_at_once_takes_its_executor_along() {
    rerun("faults::unpolled", &[], |_| {});
}

#[test]
#[ignore = "run by another test"]
fn unpolled() {
    for _ in 0..10 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // The executor's task is spawned by the last thing that the runtime does.
        let executor = runtime.block_on(executor());
        let dead = executor.dead();
        drop(runtime);
        assert_eq!(children(std::process::id(), "gate-executor"), [0; 0]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(5), dead).await.unwrap();
            assert!(matches!(executor.new_process().await.err(), Some(ExecutorError::Dead)));
        });
    }
}

/// Processes, of all that there are, which have a variable in their environment, or are executors.
fn left_behind(mark: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
        .filter(|entry| {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            environment.split(|&b| b == 0).any(|variable| variable == mark.as_bytes())
        })
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_host_that_is_killed_while_it_starts_executors_leaves_nothing() {
    let mark = format!("GATE_TEST_MARK={}", std::process::id());
    let (name, value) = mark.split_once('=').unwrap();
    for round in 0..15u64 {
        let mut host = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "faults::starting", "--ignored", "--nocapture"])
            .env(name, value)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(5 + round * 2));
        host.kill().unwrap();
        host.wait().unwrap();
        // A copy of the host that has not executed the executor yet has the host's environment.
        let gone = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            left_behind(&mark).is_empty()
        });
        assert!(gone, "{:?}", left_behind(&mark));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by another test"]
async fn starting() {
    loop {
        let executors: Vec<_> = (0..8).map(|_| tokio::spawn(Executor::new(Config::default()))).collect();
        for executor in executors {
            executor.await.unwrap().unwrap();
        }
    }
}

/// As an ordinary user with few descriptors, who may not have many on the way.
#[test]
fn hundreds_are_started_at_once_with_few_descriptors_on_the_way() {
    use std::os::unix::process::CommandExt;
    rerun("faults::congested", &["sh", "-c", "ulimit -S -n 700; exec \"$0\" \"$@\""], |command| {
        if crate::machine::is_root() {
            command.uid(54321).gid(54321).current_dir("/");
        }
    });
}

#[tokio::test]
#[ignore = "run by another test"]
async fn congested() {
    let executor = Executor::new(Config::default()).await.unwrap();
    let mut processes = Vec::new();
    for _ in 0..330 {
        processes.push(executor.new_process().await.unwrap());
    }
    let program = program();
    for process in processes {
        works(process, &program).await;
    }
    executor.close().await;
}

/// In a process of its own, because it looks for programs among the executor's children.
#[test]
fn programs_that_are_killed_at_any_moment_are_told() {
    rerun("faults::killed_programs", &[], |_| {});
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by another test"]
async fn killed_programs() {
    let executor = Arc::new(executor().await);
    let program = program();
    let pid = children(std::process::id(), "gate-executor")[0] as u32;
    let (mut ended, mut killed) = (0, 0);
    for round in 0..200u64 {
        let assassin = tokio::task::spawn_blocking(move || {
            std::thread::sleep(Duration::from_micros(round * 7 % 900));
            for name in ["gate-executor", "gate-loader", "gate-program"] {
                for victim in children(pid, name) {
                    let victim = rustix::process::Pid::from_raw(victim).unwrap();
                    let _ = rustix::process::kill_process(victim, rustix::process::Signal::KILL);
                }
            }
        });
        let mut process = executor.new_process().await.unwrap();
        let _instance = start(&mut process, &program, "six", ProcessPolicy::default());
        match process.serve(&mut NoHostFunctions).await.unwrap().trap {
            TrapId::Exit => ended += 1,
            TrapId::Killed => killed += 1,
            trap => panic!("{trap}"),
        }
        assassin.await.unwrap();
    }
    println!("{ended} ended, {killed} killed");
    assert!(ended > 0);
    works(executor.new_process().await.unwrap(), &program).await;
    for _ in 0..100 {
        if executor.processes() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(executor.processes(), 0);
}
