//! Runs programs while programs, their loaders and their executors are killed at random moments, and counts.

use gate_compiler::{Options, WasiImports};
use gate_image::{Instance, InstanceOptions, Program};
use gate_runtime::{
    Config, ExecutorError, LimitAction, NoHostFunctions, ProcessError, ProcessPolicy, RestartPolicy,
    Supervisor, TrapId,
};
use rand::random_range;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// How many programs run at once.
const AT_ONCE: usize = 12;

/// Whoever has not ended by then never will.
const PATIENCE: Duration = Duration::from_secs(30);

/// What happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// How programs ended, and how many times.
    pub(crate) ends: BTreeMap<String, u64>,
    /// What should not have happened.
    pub(crate) wrongs: Vec<String>,
    pub(crate) programs_killed: u64,
    pub(crate) executors_killed: u64,
    pub(crate) executors_replaced: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.ends.values().sum();
        writeln!(f, "{total} programs:")?;
        for (end, count) in &self.ends {
            writeln!(f, "  {count:>9} {end}")?;
        }
        writeln!(f, "{} programs and loaders were killed from outside", self.programs_killed)?;
        writeln!(f, "{} executors were killed, {} replaced", self.executors_killed, self.executors_replaced)?;
        for wrong in &self.wrongs {
            writeln!(f, "WRONG: {wrong}")?;
        }
        write!(f, "{} lost or leaked", self.wrongs.len())
    }
}

/// Must be the only thing that the process does.
pub(crate) async fn stress(time: Duration) -> Report {
    // Descriptors of tokio's own exist from the first use on.
    let warm_up = supervisor().await;
    warm_up.close().await;
    let program = program();
    let before = settled(0).await;

    let report = Arc::new(Mutex::new(Report::default()));
    let supervisor = Arc::new(supervisor().await);
    let deadline = Instant::now() + time;
    let workers: Vec<_> = (0..AT_ONCE)
        .map(|_| tokio::spawn(work(Arc::clone(&supervisor), program.clone(), Arc::clone(&report), deadline)))
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let assassin = {
        let (stop, report) = (Arc::clone(&stop), Arc::clone(&report));
        thread::spawn(move || murder(&stop, &report))
    };
    for worker in workers {
        if let Err(error) = worker.await {
            report.lock().unwrap().wrongs.push(error.to_string());
        }
    }
    stop.store(true, Ordering::SeqCst);
    if assassin.join().is_err() {
        report.lock().unwrap().wrongs.push("the assassin died".into());
    }
    let replaced = supervisor.restarts();
    match Arc::try_unwrap(supervisor) {
        Ok(supervisor) => supervisor.close().await,
        Err(_) => report.lock().unwrap().wrongs.push("a worker is left".into()),
    }
    let after = settled(before.1).await;
    let mut report = report.lock().unwrap().clone();
    report.executors_replaced = replaced;
    if after.0 > before.0 {
        let all = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let all: Vec<_> = all.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
        report.wrongs.push(format!("{} descriptors are left among {all:?}", after.0 - before.0));
    }
    if after.1 > before.1 {
        report.wrongs.push(format!("{} processes are left", after.1 - before.1));
    }
    report
}

async fn supervisor() -> Supervisor {
    let min_pause = Duration::from_millis(1);
    let policy = RestartPolicy { min_pause, max_pause: Duration::from_millis(20), long_life: Duration::ZERO };
    let config = Config { max_procs: 64, ..Config::default() };
    Supervisor::new(config, policy).await.expect("executor")
}

fn program() -> Program {
    let wasm = wat::parse_str(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_sync" (func $call (param i32) (result i32)))
            (memory 1 4)
            (func (export "nothing"))
            (func (export "trap") unreachable)
            (func (export "call") (drop (call $call (i32.const 0))))
            (func (export "grow") (drop (memory.grow (i32.const 2))) (memory.fill (i32.const 0) (i32.const 7) (i32.const 150000)))
            (func (export "spin") (loop $l (br $l))))"#,
    )
    .expect("text format");
    let options = Options { threads: Some(1), ..Options::default() };
    Program::new(gate_compiler::compile(&wasm, &options, &WasiImports).expect("module")).expect("program")
}

async fn work(supervisor: Arc<Supervisor>, program: Program, report: Arc<Mutex<Report>>, deadline: Instant) {
    while Instant::now() < deadline {
        let end = match timeout(PATIENCE, run(&supervisor, &program)).await {
            Ok(Ok(end)) => end,
            Ok(Err(wrong)) => {
                report.lock().unwrap().wrongs.push(wrong);
                continue;
            }
            Err(_) => {
                report.lock().unwrap().wrongs.push("a program was lost".into());
                continue;
            }
        };
        *report.lock().unwrap().ends.entry(end).or_default() += 1;
    }
}

/// Runs one program, in one of many ways. Gives how it ended, or what is wrong about that.
async fn run(supervisor: &Supervisor, program: &Program) -> Result<String, String> {
    let mut process = match supervisor.new_process().await {
        Ok(process) => process,
        Err(ExecutorError::Dead) => return Ok("no process: its executor died".into()),
        Err(error) => return Err(error.to_string()),
    };
    pause(1000).await;
    if random_range(0..10) == 0 {
        return Ok("not started".into());
    }
    let name = ["nothing", "nothing", "trap", "call", "grow", "spin", "spin"][random_range(0..7)];
    let mut instance = Instance::new(program, &InstanceOptions::default()).map_err(|e| e.to_string())?;
    instance.set_entry(name, &[]).map_err(|e| e.to_string())?;
    let limit_action = if random_range(0..2) == 0 { LimitAction::Kill } else { LimitAction::Suspend };
    let time_limit = Some(Duration::from_micros(random_range(0..5000)));
    let policy = ProcessPolicy { time_limit, limit_action, ..ProcessPolicy::default() };
    process.start(program, &mut instance, policy).map_err(|e| e.to_string())?;
    if random_range(0..10) == 0 {
        return Ok("not served".into());
    }
    let killer = process.killer();
    let how = random_range(0..6);
    let disturb = async {
        pause(3000).await;
        match how {
            0 => killer.kill(),
            1 => killer.suspend(),
            _ => {}
        }
    };
    let mut host = NoHostFunctions;
    let (outcome, ()) = tokio::join!(process.serve(&mut host), disturb);
    match outcome {
        Ok(outcome) => match (outcome.trap, name) {
            (TrapId::Exit, "nothing" | "grow")
            | (TrapId::Unreachable, "trap")
            | (TrapId::AbiViolation, "call")
            | (TrapId::Killed | TrapId::Suspended, _) => Ok(outcome.to_string()),
            (trap, _) => Err(format!("{name} ended with {trap}")),
        },
        Err(ProcessError::ExecutorDied) => Ok("its executor died".into()),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

async fn pause(most: u64) {
    match random_range(0..most) {
        short if short < most / 4 => tokio::task::yield_now().await,
        long => sleep(Duration::from_micros(long)).await,
    }
}

/// Kills descendants of this process.
fn murder(stop: &AtomicBool, report: &Mutex<Report>) {
    let host = std::process::id();
    while !stop.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_micros(random_range(0..4000)));
        let executors = children(host);
        let programs: Vec<_> = executors.iter().flat_map(|&pid| children(pid)).collect();
        if random_range(0..100) == 0 {
            let killed = executors.iter().filter(|&&pid| kill(pid)).count() as u64;
            report.lock().unwrap().executors_killed += killed;
        } else if !programs.is_empty() && kill(programs[random_range(0..programs.len())]) {
            report.lock().unwrap().programs_killed += 1;
        }
    }
}

fn kill(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok())
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

fn descendants(pid: u32) -> usize {
    children(pid).into_iter().map(|child| 1 + descendants(child)).sum()
}

/// Open descriptors and descendants, once there are no more of the latter than expected.
async fn settled(expected: usize) -> (usize, usize) {
    let count = || descendants(std::process::id());
    for _ in 0..500 {
        if count() <= expected {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    let descriptors = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    (descriptors, count())
}
