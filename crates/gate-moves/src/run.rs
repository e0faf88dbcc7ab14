//! One run of a program, with or without suspensions.

use crate::account::Account;
use crate::alarm::Alarm;
use crate::coverage::Coverage;
use crate::ending::Ending;
use crate::subject::{Entry, Subject};
use anyhow::{Context, bail, ensure};
use gate_compiler::{Limits, OptLevel, Options, Target, WasiImports};
use gate_image::{Instance, InstanceOptions, Program, Restored, SnapshotLimits};
use gate_runtime::{Executor, HostFunctions, Outcome, ProcessPolicy, TrapId};
use gate_wasi::WasiCtx;
use rand::RngExt;
use rand::rngs::StdRng;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How a suspended program goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// As it was frozen, in the same state.
    Thaw,
    /// By its frames, in the same text.
    Resume,
    /// By its frames, in a text that was compiled otherwise.
    Recompile,
    /// As a copy of what was frozen.
    Fork,
    /// From a snapshot, in a text that may have been compiled otherwise.
    Snapshot,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Thaw, Self::Resume, Self::Recompile, Self::Fork, Self::Snapshot];
}

/// How large a program's memory may become, in bytes.
pub(crate) const MAX_MEMORY: u64 = 64 << 20;

/// How large its tables may become, in elements. All of them are looked at.
pub(crate) const MAX_TABLE: u32 = 100_000;

/// How large instances may be when they make journeys.
///
/// How deep a program can recurse depends on its text. So uninterrupted runs have a quarter of this stack, and programs
/// which exhaust that are not compared.
const JOURNEY: InstanceOptions = InstanceOptions { stack_size: 4 << 20, max_memory: Some(MAX_MEMORY) };
const STRAIGHT: InstanceOptions = InstanceOptions { stack_size: JOURNEY.stack_size / 4, ..JOURNEY };

/// A program, compiled in several ways.
pub(crate) struct Compiled<'a> {
    pub(crate) subject: &'a Subject,
    /// With which it ends before anything is executed: a segment does not fit.
    pub(crate) initial_trap: Option<TrapId>,
    texts: Vec<(Options, Program)>,
}

impl<'a> Compiled<'a> {
    pub(crate) fn new(subject: &'a Subject) -> anyhow::Result<Self> {
        let limits = Limits { table_elements: MAX_TABLE, ..Limits::default() };
        let host = Options { limits, ..Options::default() };
        let slow = Options { opt_level: OptLevel::None, ..host.clone() };
        let plain = Options { target: Target::X86_64, ..host.clone() };
        let mut initial_trap = None;
        let compile = |options: Options| {
            let module = gate_compiler::compile(&subject.wasm, &options, &WasiImports)
                .with_context(|| format!("compile {}", subject.name))?;
            let trap = module.info.initial.trap.as_ref();
            initial_trap = trap.and_then(|trap| TrapId::from_number(trap.trap.into()));
            Ok((options, Program::new(module)?))
        };
        let texts = [host, slow, plain].map(compile).into_iter().collect::<anyhow::Result<_>>()?;
        Ok(Self { subject, initial_trap, texts })
    }
}

/// What a run needs.
pub(crate) struct Runner<'a> {
    pub(crate) executor: &'a Executor,
    pub(crate) alarm: &'a Alarm,
}

/// A run without suspensions.
pub(crate) struct Straight {
    pub(crate) ending: Ending,
    pub(crate) account: Account,
    pub(crate) duration: Duration,
}

/// A run with suspensions.
pub(crate) struct Journey<'a> {
    pub(crate) rng: &'a mut StdRng,
    pub(crate) coverage: &'a mut Coverage,
    /// In which ways the program has gone on.
    pub(crate) ways: &'a mut Vec<Way>,
    /// How long the program takes without suspensions.
    pub(crate) duration: Duration,
    /// Greatest number of suspensions.
    pub(crate) suspensions: usize,
}

impl Runner<'_> {
    /// Runs a program to its end without suspensions.
    pub(crate) async fn straight(&self, compiled: &Compiled<'_>) -> anyhow::Result<Straight> {
        let mut run = Run::new(compiled, &STRAIGHT)?;
        let start = Instant::now();
        let outcome = run.leg(self, None).await?;
        let duration = start.elapsed();
        let ending = run.ending(&outcome)?;
        let command = matches!(compiled.subject.entry, Entry::Command { .. });
        let account = Account::new(&outcome, &run.instance, &ending, command)?;
        Ok(Straight { ending, account, duration })
    }

    /// Runs a program to its end with suspensions.
    pub(crate) async fn journey(
        &self,
        compiled: &Compiled<'_>,
        journey: &mut Journey<'_>,
    ) -> anyhow::Result<Ending> {
        let mut run = Run::new(compiled, &JOURNEY)?;
        loop {
            let suspend = journey.ways.len() < journey.suspensions;
            let outcome = run.leg(self, suspend.then(|| delay(journey.rng, journey.duration))).await?;
            if outcome.trap != TrapId::Suspended {
                return run.ending(&outcome);
            }
            let way = Way::ALL[journey.rng.random_range(0..Way::ALL.len())];
            journey.ways.push(way);
            run.go_on(self, way, journey).await.with_context(|| format!("{way:?}"))?;
        }
    }
}

/// From less than what a process takes to start up to nearly the whole run, short ones more often.
fn delay(rng: &mut StdRng, duration: Duration) -> Duration {
    let longest = duration.as_nanos().max(1) as f64;
    Duration::from_nanos(longest.powf(rng.random_range(0.5..1.0)) as u64)
}

struct Run<'a> {
    compiled: &'a Compiled<'a>,
    /// Index of the text in which the program is.
    text: usize,
    instance: Instance,
    wasi: WasiCtx,
    stdin: Shared,
    stdout: Shared,
}

impl<'a> Run<'a> {
    fn new(compiled: &'a Compiled<'a>, options: &InstanceOptions) -> anyhow::Result<Self> {
        let mut instance = Instance::new(&compiled.texts[0].1, options)?;
        let stdin = match &compiled.subject.entry {
            Entry::Function(name) => {
                instance.set_entry(name, &[])?;
                Shared::default()
            }
            Entry::Command { stdin, .. } => {
                instance.set_program_entry("_start")?;
                Shared::new(stdin)
            }
        };
        let stdout = Shared::default();
        let wasi = wasi(compiled.subject, &stdin, &stdout)?;
        Ok(Self { compiled, text: 0, instance, wasi, stdin, stdout })
    }

    /// Runs the program in a process until it ends, or is suspended.
    async fn leg(&mut self, runner: &Runner<'_>, delay: Option<Duration>) -> anyhow::Result<Outcome> {
        let mut process = runner.executor.new_process().await?;
        let program = self.instance.program().clone();
        process.start(&program, &mut self.instance, ProcessPolicy::default())?;
        if let Some(delay) = delay {
            runner.alarm.set(process.killer(), delay);
        }
        let outcome = process.serve(&mut self.wasi).await?;
        process.close().await;
        Ok(outcome)
    }

    async fn go_on(
        &mut self,
        runner: &Runner<'_>,
        way: Way,
        journey: &mut Journey<'_>,
    ) -> anyhow::Result<()> {
        match way {
            Way::Thaw => {}
            Way::Fork => {
                let copy = self.instance.fork()?;
                if journey.rng.random() {
                    self.instance = copy;
                }
            }
            Way::Resume | Way::Recompile => {
                self.export(runner, journey).await?;
                if way == Way::Recompile {
                    self.text = self.another_text(journey.rng);
                }
                let (options, program) = &self.compiled.texts[self.text];
                self.instance.rebase(program)?;
                self.instance.prepare_resume(&self.compiled.subject.wasm, options, &WasiImports)?;
            }
            Way::Snapshot => {
                self.export(runner, journey).await?;
                let snapshot = self.snapshot(runner).await?;
                if journey.rng.random() {
                    self.text = self.another_text(journey.rng);
                }
                self.restore(&snapshot)?;
                ensure!(snapshot == self.snapshot(runner).await?, "another snapshot of what was restored");
            }
        }
        Ok(())
    }

    /// Writes everything down, and checks that it is a module.
    async fn snapshot(&mut self, runner: &Runner<'_>) -> anyhow::Result<Vec<u8>> {
        let mut snapshot = Vec::new();
        let wasm = &self.compiled.subject.wasm;
        runner.executor.snapshot(&mut self.instance, wasm, &mut self.wasi, &mut snapshot).await?;
        wasmparser::Validator::new().validate_all(&snapshot).context("validate the snapshot")?;
        Ok(snapshot)
    }

    /// Takes over what was written down.
    fn restore(&mut self, snapshot: &[u8]) -> anyhow::Result<()> {
        let restored = Restored::read(snapshot, &SnapshotLimits::default())?;
        ensure!(restored.module() == self.compiled.subject.wasm, "the module is another one");
        self.wasi = wasi(self.compiled.subject, &self.stdin, &self.stdout)?;
        HostFunctions::restore(&mut self.wasi, restored.services())?;
        let (options, program) = &self.compiled.texts[self.text];
        let sizes = restored.options();
        self.instance = restored.instance(program, &sizes)?;
        self.instance.prepare_resume(&self.compiled.subject.wasm, options, &WasiImports)?;
        Ok(())
    }

    async fn export(&mut self, runner: &Runner<'_>, journey: &mut Journey<'_>) -> anyhow::Result<()> {
        let frames = runner.executor.export(&mut self.instance).await?;
        journey.coverage.add(&frames)
    }

    fn another_text(&self, rng: &mut StdRng) -> usize {
        let count = self.compiled.texts.len();
        (self.text + rng.random_range(1..count)) % count
    }

    fn ending(&self, outcome: &Outcome) -> anyhow::Result<Ending> {
        if matches!(outcome.trap, TrapId::Killed | TrapId::InternalError) {
            bail!("{outcome}");
        }
        Ending::new(outcome, &self.instance, self.compiled.subject, self.stdout.contents())
    }
}

fn wasi(subject: &Subject, stdin: &Shared, stdout: &Shared) -> anyhow::Result<WasiCtx> {
    let args: &[&str] = match &subject.entry {
        Entry::Function(_) => &[],
        Entry::Command { args, .. } => args,
    };
    Ok(WasiCtx::builder().args(args.iter().copied()).stdin(stdin.clone()).stdout(stdout.clone()).build()?)
}

/// A stream that stays when a program moves.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<io::Cursor<Vec<u8>>>>);

impl Shared {
    fn new(contents: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(io::Cursor::new(contents.to_vec()))))
    }

    fn contents(&self) -> Vec<u8> {
        self.cursor().get_ref().clone()
    }

    fn cursor(&self) -> std::sync::MutexGuard<'_, io::Cursor<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Shared {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut cursor = self.cursor();
        let size = io::Read::read(&mut *cursor, buf.initialize_unfilled())?;
        buf.advance(size);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, _: &mut task::Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(io::Write::write(&mut *self.cursor(), bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
