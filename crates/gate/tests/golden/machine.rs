//! Running programs, with a host that can be told what to do.

use gate_compiler::{Features, Options};
use gate_image::{GuestMemory, Instance, ServiceState};
use gate_runtime::{
    Config, Executor, HostFault, HostFunctions, Killer, Outcome, ProcessPolicy, RestoreError, Start, TrapId,
};
use gate_wasi::{Access, TarImage, WasiCtx};
use gate_wire::call::{CallReply, CallRequest};
use gate_wire::wasi::WasiFunction;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncWrite;

/// What all programs are compiled with.
pub(crate) fn options() -> Options {
    let features = Features { multi_memory: true, ..Features::default() };
    Options { threads: Some(1), features, ..Options::default() }
}

/// Arguments of `fd_seek` in `host.wat`.
const SEEK: [u64; 4] = [3, 0x12_3456_789a, 2, 64];

/// WASI, but for `fd_seek`.
pub(crate) struct Host {
    wasi: WasiCtx,
    /// What `fd_seek` does. Without, it never comes back.
    reply: Option<CallReply>,
    /// Stops the program in `fd_seek`, and answers then.
    pub(crate) suspends: bool,
    killer: Option<Killer>,
    /// Number of calls of `fd_seek`.
    pub(crate) calls: usize,
    _dir: Option<TempDir>,
    _client: Option<TcpStream>,
}

/// What of the host a program can reach; each includes those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    Nothing,
    /// A directory of the host.
    Files,
    /// A directory in memory.
    Memory,
    /// An image and a listener.
    Sockets,
}

impl Host {
    /// What goes along with a program, it has to be given only at `first`.
    pub(crate) fn new(
        reply: Option<CallReply>,
        output: &Output,
        args: &[&str],
        name: &str,
        reach: Reach,
        first: bool,
    ) -> Self {
        let builder = WasiCtx::builder().args(args.iter().copied()).env("NAME", name);
        let mut builder = builder.stdout(output.clone());
        let (mut dir, mut client) = (None, None);
        if reach >= Reach::Files {
            let temp = tempfile::tempdir().unwrap();
            std::fs::write(temp.path().join("file"), "a file of the host").unwrap();
            builder = builder.preopen(temp.path(), "/host", Access::ReadOnly);
            dir = Some(temp);
        }
        if reach >= Reach::Memory && first {
            builder = builder.memory_directory("/memory", 1 << 16);
        }
        if reach >= Reach::Sockets {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/programs/image.tar");
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            client = Some(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            builder = builder.image(&TarImage::open(path).unwrap(), "/image").listener(listener);
        }
        let wasi = builder.build().unwrap();
        Self { wasi, reply, suspends: false, killer: None, calls: 0, _dir: dir, _client: client }
    }
}

impl HostFunctions for Host {
    async fn call(&mut self, request: &CallRequest, memory: &GuestMemory) -> Result<CallReply, HostFault> {
        if request.func != WasiFunction::FdSeek as u32 {
            return HostFunctions::call(&mut self.wasi, request, memory).await;
        }
        assert_eq!(request.args[..SEEK.len()], SEEK);
        self.calls += 1;
        if let Some(killer) = &self.killer {
            killer.suspend();
            // It has stopped by then, and is answered after that.
            std::thread::sleep(Duration::from_millis(20));
        }
        match self.reply {
            Some(reply) => Ok(reply),
            None => std::future::pending().await,
        }
    }

    fn begin(&mut self, start: &Start) {
        self.wasi.begin(start);
    }

    fn save(&self) -> Vec<ServiceState> {
        HostFunctions::save(&self.wasi)
    }

    fn restore(&mut self, services: &[ServiceState]) -> Result<(), RestoreError> {
        HostFunctions::restore(&mut self.wasi, services)
    }
}

/// Where programs run.
pub(crate) struct Machine {
    pub(crate) executor: Executor,
}

impl Machine {
    pub(crate) async fn new() -> Self {
        Self { executor: Executor::new(Config::default()).await.unwrap() }
    }

    /// Runs a program until it ends, or is suspended after the delay.
    pub(crate) async fn run(
        &self,
        instance: &mut Instance,
        host: &mut Host,
        delay: Option<Duration>,
    ) -> Outcome {
        let mut process = self.executor.new_process().await.unwrap();
        process.start(&instance.program().clone(), instance, ProcessPolicy::default()).unwrap();
        host.killer = host.suspends.then(|| process.killer());
        let outcome = match delay {
            Some(delay) => process.serve_until(host, tokio::time::sleep(delay)).await,
            None => process.serve(host).await,
        };
        process.close().await;
        outcome.unwrap()
    }

    pub(crate) async fn run_to_end(&self, instance: &mut Instance, host: &mut Host) {
        let outcome = self.run(instance, host, None).await;
        // It goes on from the breakpoint at which it was stopped, and may come there again.
        assert!(!matches!(outcome.trap, TrapId::Suspended | TrapId::Killed), "{outcome}");
        if outcome.trap == TrapId::Breakpoint {
            Box::pin(self.run_to_end(instance, host)).await;
        }
    }

    pub(crate) async fn close(self) {
        self.executor.close().await;
    }
}

/// What a program writes.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    pub(crate) fn contents(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
