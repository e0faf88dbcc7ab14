//! Programs that exchange packets with services.

use super::traffic::{Count, Empty, connection};
use anyhow::{Context, bail};
use gate_compiler::{GateImports, Options};
use gate_image::{Instance, InstanceOptions, Program};
use gate_runtime::{Config, Executor, Killer, NoHostFunctions, Outcome, PacketHost, ProcessPolicy};
use gate_service::Registry;
use gate_service::builtin::{Connector, Origin, Reattach};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const PROGRAM: &str = include_str!("../../programs/packets.wat");

/// What programs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Make empty calls.
    Call,
    /// Send back what they receive. It is sent to them when so much is on its way at most.
    Echo { ahead: u64 },
    /// Send as fast as they can.
    Source,
    /// Receive as fast as they can.
    Sink,
}

impl Role {
    /// How many bytes are sent before any have come back. `None` if there is no connection.
    fn ahead(self) -> Option<u64> {
        match self {
            Self::Call => None,
            Self::Echo { ahead } => Some(ahead),
            Self::Source => Some(0),
            Self::Sink => Some(u64::MAX),
        }
    }
}

pub(super) struct Programs {
    executor: Executor,
    program: Program,
}

struct Running {
    killer: Killer,
    connector: Connector,
    end: JoinHandle<anyhow::Result<Outcome>>,
}

impl Programs {
    pub(super) async fn new() -> anyhow::Result<Self> {
        let wasm = wat::parse_str(PROGRAM)?;
        let module = gate_compiler::compile(&wasm, &Options::default(), &GateImports)?;
        Ok(Self { executor: Executor::new(Config::default()).await?, program: Program::new(module)? })
    }

    /// Runs programs. Returns how much they exchange in a second, all together: calls, or bytes.
    pub(super) async fn measure(&self, role: Role, count: usize, time: Duration) -> anyhow::Result<f64> {
        let (sent, received) = (Count::default(), Count::default());
        let mut running = Vec::with_capacity(count);
        for _ in 0..count {
            running.push(self.start(role, &received).await?);
            // The kernel limits the descriptors that are on their way.
            tokio::task::yield_now().await;
        }
        // Not before: who is busy with many bytes would keep others from being started.
        if let Some(ahead) = role.ahead() {
            for program in &running {
                let connected = program.connector.connect(connection(ahead, &sent, &received)).await;
                connected.ok().context("connect")?;
            }
        }
        let counted = if role == Role::Sink { &sent } else { &received };
        // All have begun by then.
        tokio::time::sleep(Duration::from_millis(20) + Duration::from_micros(200) * count as u32).await;
        let (start, before) = (Instant::now(), counted.get());
        tokio::time::sleep(time).await;
        let (elapsed, exchanged) = (start.elapsed(), counted.get() - before);
        running.iter().for_each(|program| program.killer.kill());
        for program in running {
            let outcome = program.end.await??;
            if outcome.trap != gate_runtime::TrapId::Killed {
                bail!("{outcome}");
            }
        }
        Ok(exchanged as f64 / elapsed.as_secs_f64())
    }

    async fn start(&self, role: Role, calls: &Count) -> anyhow::Result<Running> {
        let mut registry = Registry::default();
        registry.register_calls(Empty(calls.clone()))?;
        let (origin, connector) = Origin::new(Reattach::End);
        registry.register(origin)?;
        let function = match role {
            Role::Call => "call",
            Role::Echo { .. } => "echo",
            Role::Source => "source",
            Role::Sink => "sink",
        };
        let mut host = PacketHost::new(registry, NoHostFunctions)?;
        let mut instance = Instance::new(&self.program, &InstanceOptions::default())?;
        instance.set_entry(function, &[])?;
        let mut process = self.executor.new_process().await?;
        process.start(&self.program, &mut instance, ProcessPolicy::default())?;
        let killer = process.killer();
        let end = tokio::spawn(async move {
            let outcome = process.serve(&mut host).await?;
            process.close().await;
            if let Some(violation) = host.violation() {
                bail!(violation);
            }
            drop(instance);
            Ok(outcome)
        });
        Ok(Running { killer, connector, end })
    }
}
