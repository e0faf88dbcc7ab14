//! A server that does as it is told, and a program that is played.

use futures_util::{Stream, StreamExt, stream};
use gate_runtime::{InstanceServer, SavedService, ServiceConfig, ServiceRegistry, Start};
use gate_service::{Context, Domain, Packet, Registry, Server};
use gate_service_grpc::proto::host_message::Kind;
use gate_service_grpc::proto::service_message::Kind as ServiceKind;
use gate_service_grpc::proto::service_server::{Service, ServiceServer};
use gate_service_grpc::proto::{
    DescribeReply, DescribeRequest, Flow, HostMessage, Ready, Reply, ServiceMessage, State, Suspended,
};
use gate_service_grpc::{GrpcOptions, GrpcService};
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Waker};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tonic::{Request, Response, Status, Streaming};

const LIMIT: Duration = Duration::from_secs(30);

/// The message of a server that serves an instance.
pub(crate) const READY: ServiceKind = ServiceKind::Ready(Ready {});

/// Stands for a status instead of a message.
pub(crate) const REFUSE: ServiceKind = ServiceKind::Flow(Flow { stream: i32::MIN, more: 0 });

pub(crate) fn reply(number: u64, content: &[u8]) -> ServiceKind {
    ServiceKind::Reply(Reply { number, content: content.to_vec().into(), opens: vec![] })
}

pub(crate) fn flow(stream: i32, more: u32) -> ServiceKind {
    ServiceKind::Flow(Flow { stream, more })
}

pub(crate) fn suspended(state: &[u8]) -> Vec<ServiceKind> {
    vec![
        ServiceKind::Suspended(Suspended { state_size: state.len() as u64 }),
        ServiceKind::State(State { bytes: state.to_vec().into() }),
    ]
}

/// What a server says to each message of a session.
pub(crate) struct Behaviour(Box<dyn FnMut(Kind) -> Vec<ServiceKind> + Send>);

impl Behaviour {
    pub(crate) fn new(behave: impl FnMut(Kind) -> Vec<ServiceKind> + Send + 'static) -> Self {
        Self(Box::new(behave))
    }
}

struct Puppet(Arc<dyn Fn() -> Behaviour + Send + Sync>);

#[tonic::async_trait]
impl Service for Puppet {
    type ServeStream = Pin<Box<dyn Stream<Item = Result<ServiceMessage, Status>> + Send>>;

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeReply>, Status> {
        Ok(Response::new(DescribeReply { revision: "7".into() }))
    }

    async fn serve(
        &self,
        request: Request<Streaming<HostMessage>>,
    ) -> Result<Response<Self::ServeStream>, Status> {
        let session = (request.into_inner(), (self.0)());
        let replies = stream::unfold(session, |(mut incoming, mut behaviour)| async {
            let message = incoming.message().await.ok()??;
            let kinds = message.kind.map(|kind| (behaviour.0)(kind)).unwrap_or_default();
            let replies = kinds.into_iter().map(|kind| match kind == REFUSE {
                true => Err(Status::invalid_argument("no")),
                false => Ok(ServiceMessage { kind: Some(kind) }),
            });
            Some((stream::iter(replies.collect::<Vec<_>>()), (incoming, behaviour)))
        });
        Ok(Response::new(Box::pin(replies.flatten())))
    }
}

/// Where a server is, or is not.
pub(crate) struct Machine {
    dir: TempDir,
    /// Of its own, so that connections end with the server.
    server: Option<tokio::runtime::Runtime>,
}

impl Machine {
    pub(crate) fn nowhere() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), server: None }
    }

    pub(crate) fn start(behaviour: impl Fn() -> Behaviour + Send + Sync + 'static) -> Self {
        let mut machine = Self::nowhere();
        machine.listen(behaviour);
        machine
    }

    pub(crate) fn listen(&mut self, behaviour: impl Fn() -> Behaviour + Send + Sync + 'static) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let path = self.path();
        runtime.spawn(async move {
            let listener = UnixListener::bind(path).unwrap();
            let incoming = stream::unfold(listener, |listener| async {
                Some((listener.accept().await.map(|(stream, _)| stream), listener))
            });
            let service = ServiceServer::new(Puppet(Arc::new(behaviour)));
            tonic::transport::Server::builder().serve_with_incoming(service, incoming).await.unwrap();
        });
        self.server = Some(runtime);
    }

    pub(crate) fn kill(&mut self) {
        self.server.take().unwrap().shutdown_background();
        std::fs::remove_file(self.path()).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    pub(crate) fn registry(&self) -> (Registry, GrpcService) {
        let options = GrpcOptions {
            connect_timeout: LIMIT,
            open_timeout: Duration::from_millis(500),
            suspend_timeout: Duration::from_millis(500),
            health_interval: Duration::from_millis(50),
            min_backoff: Duration::from_millis(10),
            max_backoff: Duration::from_millis(50),
            ..GrpcOptions::default()
        };
        let address = format!("unix:{}", self.path().display()).parse().unwrap();
        let service = GrpcService::new("echo", address, options);
        let mut registry = Registry::new(Context::default());
        registry.register(service.clone()).unwrap();
        (registry, service)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
    }
}

/// A program that uses the service.
pub(crate) struct Program {
    pub(crate) server: Server,
    available: bool,
    /// How often that has become another.
    pub(crate) changes: usize,
}

impl Program {
    pub(crate) async fn new(machine: &Machine) -> Self {
        let mut program = Self::with(machine, &[]).await;
        program.server.discover(&["echo"]).unwrap();
        program.available = program.is_available();
        program
    }

    pub(crate) async fn restored(machine: &Machine, saved: &[SavedService]) -> Self {
        let mut program = Self::with(machine, saved).await;
        program.server.begin(&Start { resumed: true, monotonic_time: 0 });
        program.available = program.is_available();
        program
    }

    /// Waits until it is known whether the server is there, or will be: it may be about to listen.
    async fn with(machine: &Machine, saved: &[SavedService]) -> Self {
        while machine.server.is_some() && !machine.path().exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (registry, service) = machine.registry();
        let settled = service.settle().await;
        assert!(settled.is_ok() || machine.server.is_none(), "{settled:?}");
        let server = registry.create_server(ServiceConfig::default(), saved).unwrap();
        Self { server, available: false, changes: 0 }
    }

    pub(crate) fn is_available(&self) -> bool {
        self.server.services()[0].available
    }

    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Packet> {
        let poll = self.server.poll_packet(cx);
        if self.server.take_change() {
            self.available = self.is_available();
            self.changes += 1;
        }
        poll.map(|packet| packet.unwrap().1)
    }

    pub(crate) async fn wait_available(&mut self, wanted: bool) {
        let wait = poll_fn(|cx| {
            while self.available != wanted && self.poll(cx).is_ready() {}
            if self.available == wanted { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::time::timeout(LIMIT, wait).await.expect("a change");
    }

    pub(crate) fn poll_ready(&mut self) -> bool {
        self.server.poll_ready(0, &mut task::Context::from_waker(Waker::noop())).is_ready()
    }

    pub(crate) fn send_call(&mut self, content: &[u8]) {
        self.server.handle(0, Packet::new(Domain::Call, content.to_vec())).unwrap();
    }

    pub(crate) fn send_data(&mut self, id: i32, bytes: &[u8]) {
        let content = [&id.to_le_bytes()[..], &[0; 4], bytes].concat();
        self.server.handle(0, Packet::new(Domain::Data, content)).unwrap();
    }

    pub(crate) async fn receive(&mut self, domain: Domain) -> Vec<u8> {
        let reply = poll_fn(|cx| {
            loop {
                match self.poll(cx) {
                    Poll::Ready(packet) if packet.domain == domain => return Poll::Ready(packet.content),
                    Poll::Ready(_) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        tokio::time::timeout(LIMIT, reply).await.expect("a packet")
    }

    /// Whether no reply comes for a while.
    pub(crate) async fn waits(&mut self) -> bool {
        let reply = self.receive(Domain::Call);
        tokio::time::timeout(Duration::from_millis(50), reply).await.is_err()
    }

    pub(crate) async fn call(&mut self, content: &[u8]) -> Vec<u8> {
        self.send_call(content);
        self.receive(Domain::Call).await
    }

    pub(crate) async fn suspend(&mut self) -> Vec<SavedService> {
        let suspend = poll_fn(|cx| self.server.poll_suspend(cx));
        tokio::time::timeout(LIMIT, suspend).await.expect("in time").unwrap();
        self.server.save()
    }
}
