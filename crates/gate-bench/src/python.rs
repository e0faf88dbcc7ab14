//! Starting a large program, Python, as whole commands.

use crate::Selection;
use crate::peer_process::{PeerProcess, Request, fetched};
use crate::stats::{Samples, milliseconds, ratio};
use anyhow::{Context, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What Python does.
const SCRIPT: &str = "print(1)";

/// How many copies are made at once, to tell the time of each further one.
const COPIES: u32 = 50;

/// How long files have to be left alone until it is certain that they do not change.
const SETTLING: Duration = Duration::from_millis(100);

/// The commands, and what they need.
struct Commands {
    gate: PathBuf,
    dir: tempfile::TempDir,
    python: PathBuf,
}

/// How long something took, and the processor time of all processes that took part.
#[derive(Clone, Copy)]
struct Times {
    wall: Duration,
    cpu: Duration,
}

/// Alternates between the ways of starting.
pub(crate) fn measure(selection: &Selection) -> anyhow::Result<()> {
    let rounds = selection.rounds(5, 21);
    let commands = Commands::new()?;
    let mut peer = PeerProcess::new()?;
    let (noop, large, snapshot) = commands.prepare()?;
    let python = commands.python.clone();
    let mut walls: [Samples; 7] = Default::default();
    let mut cpus = [Duration::ZERO; 7];
    for round in 0..=rounds {
        let fork = |copies: u32| -> anyhow::Result<Times> {
            commands.time(&[
                "fork",
                "-n",
                &copies.to_string(),
                "--input",
                &commands.path("script.py"),
                &snapshot,
            ])
        };
        let (one, many) = (fork(1)?, fork(1 + COPIES)?);
        let request = Request {
            file: &python,
            args: &["python.wasm", "-c", SCRIPT],
            dirs: &[],
            stdout: Path::new("/dev/null"),
        };
        let times = [
            commands.time(&["run", &noop])?,
            commands.time(&["run", &large])?,
            commands.time(&["run", &python.to_string_lossy(), "-c", SCRIPT])?,
            peer.run(&request).map(|times| Times { wall: times.total, cpu: times.cpu })?,
            commands.time(&["resume", &snapshot])?,
            one,
            Times {
                wall: many.wall.saturating_sub(one.wall) / COPIES,
                cpu: many.cpu.saturating_sub(one.cpu) / COPIES,
            },
        ];
        // The first round warms all up.
        if round > 0 {
            for ((walls, cpu), times) in walls.iter_mut().zip(&mut cpus).zip(times) {
                walls.push(times.wall);
                *cpu += times.cpu;
            }
        }
    }
    println!("Whole commands with compiled modules in the cache, {rounds} alternating rounds; milliseconds");
    println!("{:<60} {:>8} {:>8} {:>12}", "", "p50", "p90", "cpu, mean");
    let names = [
        "gate run: a module that does nothing",
        "gate run: one of 10 MB that does nothing",
        "gate run: Python, print(1)",
        "Wasmtime: the same, from the compiled module, in a process",
        "gate resume: Python from a snapshot, print(1)",
        "gate fork: one copy of it",
        "gate fork: each further copy",
    ];
    for ((what, walls), cpu) in names.iter().zip(&walls).zip(cpus) {
        let [median, high] = [walls.median(), walls.percentile(90)].map(milliseconds);
        let cpu = milliseconds(cpu) / rounds as f64;
        println!("{what:<60} {median:>8.1} {high:>8.1} {cpu:>12.1}");
    }
    let [noop, large, python, peer, ..] = &walls;
    println!("10 MB to nothing: {:.2}", ratio(large.median(), noop.median()));
    println!(
        "Python to Wasmtime: {:.2}; by processor time {:.2}",
        ratio(python.median(), peer.median()),
        ratio(cpus[2], cpus[3])
    );
    Ok(())
}

impl Commands {
    fn new() -> anyhow::Result<Self> {
        let gate = std::env::current_exe()?.with_file_name("gate");
        ensure!(gate.exists(), "{} is missing: build the crate gate with the same profile", gate.display());
        Ok(Self { gate, dir: tempfile::tempdir_in("target")?, python: fetched("python.wasm")? })
    }

    /// Makes a module that does nothing, a large one, and a snapshot of Python when it wants its script.
    fn prepare(&self) -> anyhow::Result<(String, String, String)> {
        let (noop, large, snapshot) =
            (self.path("noop.wasm"), self.path("large.wasm"), self.path("boot.snapshot"));
        fs::write(&noop, wat::parse_str(crate::start::PROGRAM)?)?;
        fs::write(&large, large_module()?)?;
        fs::write(self.path("script.py"), SCRIPT)?;
        let status = self
            .command(&["run", "--suspend-at-input", "--snapshot", &snapshot])
            .arg(&self.python)
            .args(["-c", "import sys; exec(sys.stdin.read())"])
            .stderr(Stdio::null())
            .status()
            .context("make a snapshot of Python")?;
        ensure!(status.code() == Some(75), "Python was not suspended: {status}");
        std::thread::sleep(SETTLING);
        // Compiled, and seen again when it is certain that files have not changed meanwhile.
        for _ in 0..2 {
            self.time(&["run", &noop])?;
            self.time(&["run", &large])?;
            self.time(&["run", &self.python.to_string_lossy(), "-c", SCRIPT])?;
            self.time(&["resume", &snapshot])?;
            std::thread::sleep(SETTLING);
        }
        Ok((noop, large, snapshot))
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.gate);
        command.args(args).env("XDG_CACHE_HOME", self.dir.path().join("cache"));
        command
    }

    /// From the command's start to its end. Its input is the script.
    fn time(&self, args: &[&str]) -> anyhow::Result<Times> {
        let script = File::open(self.path("script.py"))?;
        let mut command = self.command(args);
        command.stdin(script).stdout(Stdio::null()).stderr(Stdio::null());
        let (start, before) = (Instant::now(), children_cpu()?);
        let status = command.status().with_context(|| format!("run gate {args:?}"))?;
        let wall = start.elapsed();
        ensure!(status.success(), "gate {args:?}: {status}");
        Ok(Times { wall, cpu: children_cpu()?.saturating_sub(before) })
    }
}

/// Processor time of all children that have ended, and of theirs. It is counted in ticks of 10 ms.
fn children_cpu() -> anyhow::Result<Duration> {
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The second field, the name, may contain anything.
    let (_, fields) = stat.rsplit_once(") ").context("understand /proc/self/stat")?;
    let ticks = fields.split(' ').skip(13).take(2).map(|field| Ok(field.parse::<u32>()?));
    Ok(TICK * ticks.sum::<anyhow::Result<u32>>()?)
}

/// A module of more than 10 MB that does nothing: most of it is functions which are never called, the rest is data.
fn large_module() -> anyhow::Result<Vec<u8>> {
    const FUNCTIONS: u32 = 30_000;
    const STATEMENTS: u32 = 20;
    const DATA: usize = 2 << 20;
    let mut text = String::from("(module (memory 64) (func (export \"_start\"))");
    for function in 0..FUNCTIONS {
        text.push_str("(func (param i32) (result i32)");
        for statement in 0..STATEMENTS {
            let number = u64::from(function) * 7919 + u64::from(statement) * 104_729 + 0x0100_0000;
            text.push_str(&format!(
                "(local.set 0 (i32.xor (i32.mul (local.get 0) (i32.const {})) (i32.load (local.get 0))))",
                number as u32 as i32
            ));
        }
        text.push_str("(local.get 0))");
    }
    text.push_str("(data (i32.const 1024) \"");
    text.push_str(&"gate and ".repeat(DATA / 9));
    text.push_str("\"))");
    let wasm = wat::parse_str(text)?;
    ensure!(wasm.len() >= 10_000_000, "the module has only {} bytes", wasm.len());
    Ok(wasm)
}
