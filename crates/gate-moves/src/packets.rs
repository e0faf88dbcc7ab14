//! Numbered packets: a program exchanges them with services while it is suspended again and again, and nothing of them may be lost or
//! doubled.

use crate::alarm::Alarm;
use crate::run::Way;
use anyhow::{Context, ensure};
use gate_compiler::{GateImports, OptLevel, Options, Value};
use gate_image::{Instance, InstanceOptions, Program, Restored, SnapshotLimits};
use gate_runtime::{
    Config, Executor, HostFunctions, NoHostFunctions, Outcome, PacketHost, ProcessPolicy, TrapId,
};
use gate_service::builtin::{Connection, Origin, Reattach};
use gate_service::{CallService, Registry, ServiceError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Each journey makes so many calls, and sends and receives so many bytes.
const CALLS: u32 = 400;
const BYTES: usize = 120_000;

/// Longest time between two suspensions, in microseconds.
const LONGEST: f64 = 3000.0;

/// What has been exchanged.
#[derive(Clone, Debug, Default)]
pub struct Exchanged {
    /// Number of programs that came to their end.
    pub programs: u64,
    /// Calls with their replies.
    pub calls: u64,
    /// Bytes of streams, in both directions together.
    pub bytes: u64,
    /// Number of suspensions after which programs went on, by the way in which they did.
    pub ways: BTreeMap<Way, u64>,
    /// Suspensions at which there was a part of a packet that the program had sent, or a packet that no service had taken.
    pub unfinished: u64,
    /// Suspensions at which there were packets, or parts of them, that the program had not received.
    pub undelivered: u64,
    /// Suspensions at which there were calls that were not answered.
    pub unanswered: u64,
}

impl Exchanged {
    /// Number of all suspensions.
    pub fn suspensions(&self) -> u64 {
        self.ways.values().sum()
    }
}

impl fmt::Display for Exchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} programs, {} calls, {} bytes, {} suspensions",
            self.programs,
            self.calls,
            self.bytes,
            self.suspensions()
        )?;
        for (way, count) in &self.ways {
            writeln!(f, "  {:10} {count:8}", format!("{way:?}").to_lowercase())?;
        }
        write!(
            f,
            "of these with unfinished packets from the program {}, with undelivered ones for it {}, with unanswered calls {}",
            self.unfinished, self.undelivered, self.unanswered
        )
    }
}

/// Has programs exchange packets until there have been so many suspensions. An error tells what was lost or doubled.
pub async fn exchange_packets(
    suspensions: u64,
    seed: u64,
    mut progress: impl FnMut(&Exchanged),
) -> anyhow::Result<Exchanged> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut exchanged = Exchanged::default();
    let traveller = Traveller::new().await?;
    while exchanged.suspensions() < suspensions {
        let most = suspensions - exchanged.suspensions();
        traveller.journey(&mut rng, most, &mut exchanged).await?;
        progress(&exchanged);
    }
    traveller.executor.close().await;
    Ok(exchanged)
}

type Host = PacketHost<Registry, NoHostFunctions>;

struct Traveller {
    executor: Executor,
    alarm: Alarm,
    wasm: Vec<u8>,
    texts: Vec<(Options, Program)>,
}

impl Traveller {
    async fn new() -> anyhow::Result<Self> {
        let wasm = wat::parse_str(include_str!("../programs/packets.wat"))?;
        let slow = Options { opt_level: OptLevel::None, ..Options::default() };
        let mut texts = Vec::new();
        for options in [Options::default(), slow] {
            let module = gate_compiler::compile(&wasm, &options, &GateImports)?;
            texts.push((options, Program::new(module)?));
        }
        let executor = Executor::new(Config::default()).await?;
        Ok(Self { executor, alarm: Alarm::new()?, wasm, texts })
    }

    /// Runs one program to its end.
    async fn journey(
        &self,
        rng: &mut StdRng,
        suspensions: u64,
        exchanged: &mut Exchanged,
    ) -> anyhow::Result<()> {
        let world = World::default();
        let mut host = world.host().await?;
        let mut text = 0;
        let mut instance = Instance::new(&self.texts[text].1, &InstanceOptions::default())?;
        let args = [rng.random_range(1..i32::MAX), CALLS as i32, BYTES as i32].map(Value::I32);
        instance.set_entry("exchange", &args)?;
        let mut left = suspensions;
        let outcome = loop {
            let delay = Duration::from_micros(LONGEST.powf(rng.random_range(0.0..1.0)) as u64);
            let outcome = self.leg(&mut instance, &mut host, (left > 0).then_some(delay)).await?;
            if outcome.trap != TrapId::Suspended {
                break outcome;
            }
            left -= 1;
            exchanged.look(&host)?;
            let way = Way::ALL[rng.random_range(0..Way::ALL.len())];
            *exchanged.ways.entry(way).or_default() += 1;
            match way {
                Way::Thaw => {}
                Way::Fork => instance = instance.fork()?,
                Way::Resume | Way::Recompile => {
                    self.executor.export(&mut instance).await?;
                    text ^= usize::from(way == Way::Recompile);
                    let (options, program) = &self.texts[text];
                    instance.rebase(program)?;
                    instance.prepare_resume(&self.wasm, options, &GateImports)?;
                }
                Way::Snapshot => {
                    let mut snapshot = Vec::new();
                    self.executor.snapshot(&mut instance, &self.wasm, &mut host, &mut snapshot).await?;
                    let restored = Restored::read(&snapshot[..], &SnapshotLimits::default())?;
                    // Nothing of the old one is needed.
                    drop(std::mem::replace(&mut host, world.host().await?));
                    host.restore(restored.services())?;
                    let (options, program) = &self.texts[text];
                    let sizes = restored.options();
                    instance = restored.instance(program, &sizes)?;
                    instance.prepare_resume(&self.wasm, options, &GateImports)?;
                }
            }
        };
        ensure!(outcome.trap == TrapId::Exit, "{outcome}: {:?}", host.violation());
        ensure!(
            instance.results()? == [Value::I32(BYTES as i32)],
            "the program has received {:?}",
            instance.results()
        );
        host.finish().await;
        world.check()?;
        exchanged.programs += 1;
        exchanged.calls += u64::from(CALLS);
        exchanged.bytes += 2 * BYTES as u64;
        Ok(())
    }

    /// Runs the program in a process until it ends, or is suspended.
    async fn leg(
        &self,
        instance: &mut Instance,
        host: &mut Host,
        delay: Option<Duration>,
    ) -> anyhow::Result<Outcome> {
        let mut process = self.executor.new_process().await?;
        let program = instance.program().clone();
        process.start(&program, instance, ProcessPolicy::default())?;
        if let Some(delay) = delay {
            self.alarm.set(process.killer(), delay);
        }
        let outcome = process.serve(host).await?;
        process.close().await;
        Ok(outcome)
    }
}

impl Exchanged {
    /// Looks at what is under way: see the layout of the state of `gate.packets`.
    fn look(&mut self, host: &Host) -> anyhow::Result<()> {
        let saved = host.save();
        let state = |name: &str| saved.iter().find(|state| state.name == name).map(|state| &state.state);
        if let Some(state) = state("gate.packets") {
            let mut fields = gate_wire::fields::Fields::new(state);
            let read = |error| anyhow::anyhow!("the state of packets: {error}");
            fields.u32().map_err(read)?;
            self.unfinished += u64::from(!fields.bytes().map_err(read)?.is_empty());
            self.undelivered += u64::from(!fields.bytes().map_err(read)?.is_empty());
        }
        self.unanswered += u64::from(state("gate.service:count").is_some());
        Ok(())
    }
}

/// What is outside of the program, and does not move.
#[derive(Clone, Default)]
struct World(Arc<Mutex<Record>>);

#[derive(Default)]
struct Record {
    /// Calls, in the order in which they were made.
    calls: Vec<u32>,
    /// Number of bytes that were received from the program, of which each was right.
    received: usize,
    /// Where one was wrong.
    wrong: Option<usize>,
    /// Number of bytes that were sent.
    sent: usize,
}

/// The byte at a place of a stream.
fn byte(at: usize) -> u8 {
    (at.wrapping_mul(7) ^ at >> 8) as u8
}

impl World {
    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The services, as they are at any place.
    async fn host(&self) -> anyhow::Result<Host> {
        let mut registry = Registry::default();
        registry.register_calls(Count(self.clone()))?;
        let (origin, connector) = Origin::new(Reattach::Next);
        registry.register(origin)?;
        let connection = Connection::new(self.clone(), self.clone());
        connector.connect(connection).await.ok().context("connect")?;
        Ok(PacketHost::new(registry, NoHostFunctions)?)
    }

    fn check(&self) -> anyhow::Result<()> {
        let record = self.lock();
        ensure!(record.calls.iter().copied().eq(0..CALLS), "calls were made: {:?}", record.calls);
        ensure!(record.wrong.is_none(), "the byte at {:?} is wrong", record.wrong);
        ensure!(record.received == BYTES, "{} bytes were received", record.received);
        ensure!(record.sent == BYTES, "{} bytes were sent", record.sent);
        Ok(())
    }
}

/// Notes numbers, sooner or later.
struct Count(World);

impl CallService for Count {
    fn name(&self) -> &str {
        "count"
    }

    async fn call(&self, _: &gate_service::Context, content: &[u8]) -> Result<Vec<u8>, ServiceError> {
        match rand::random_range(0..8) {
            0 => tokio::time::sleep(Duration::from_micros(rand::random_range(0..500))).await,
            1 | 2 => tokio::task::yield_now().await,
            _ => {}
        }
        let number = content.try_into().map(u32::from_le_bytes).map_err(ServiceError::fault)?;
        self.0.lock().calls.push(number);
        Ok((number * 3).to_le_bytes().to_vec())
    }
}

impl AsyncRead for World {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if rand::random_ratio(1, 4) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut record = self.lock();
        let size = rand::random_range(1..3000).min(buf.remaining()).min(BYTES - record.sent);
        (0..size).for_each(|at| buf.put_slice(&[byte(record.sent + at)]));
        record.sent += size;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for World {
    fn poll_write(self: Pin<&mut Self>, cx: &mut task::Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if rand::random_ratio(1, 4) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut record = self.lock();
        let size = rand::random_range(1..3000).min(bytes.len());
        for &value in &bytes[..size] {
            if value != byte(record.received) && record.wrong.is_none() {
                record.wrong = Some(record.received);
            }
            record.received += 1;
        }
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
