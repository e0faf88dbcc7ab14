//! Whether a server is there. One task finds out for all instances.

use crate::address::Address;
use crate::proto::DescribeRequest;
use crate::proto::service_client::ServiceClient;
use crate::service::{GrpcOptions, Unavailable};
use gate_wire::packet::MAX_NAME_SIZE;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tracing::{debug, warn};

/// What a server is asked about by the health protocol.
const HEALTH_NAME: &str = "gate.service.v1.Service";

/// How long a connection can be silent before it is probed, and how long the answer is waited for.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Size of the largest message about the server, in bytes.
const MAX_MESSAGE: usize = 64 << 10;

/// How a server is.
#[derive(Clone, Debug)]
pub(crate) enum LinkState {
    /// It is being tried for the first time.
    Unknown,
    /// It is there.
    Up {
        channel: Channel,
        /// It says that it works.
        serving: bool,
    },
    /// It is not there, for a reason.
    Down(Arc<str>),
}

/// A server, and the task that watches it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) address: Address,
    pub(crate) options: GrpcOptions,
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    state: watch::Sender<LinkState>,
    /// Somebody doubts that it is there.
    doubt: Notify,
    revision: OnceLock<String>,
}

impl Link {
    pub(crate) fn new(name: String, address: Address, options: GrpcOptions) -> Arc<Self> {
        let shared = Arc::new(Shared {
            state: watch::Sender::new(LinkState::Unknown),
            doubt: Notify::new(),
            revision: OnceLock::new(),
        });
        let watcher =
            Watcher { name: name.clone(), address: address.clone(), options, shared: Arc::clone(&shared) };
        let task = tokio::spawn(watcher.run()).abort_handle();
        Arc::new(Self { name, address, options, shared, task })
    }

    pub(crate) fn revision(&self) -> &str {
        self.shared.revision.get().map_or("0", String::as_str)
    }

    /// How the server is, from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<LinkState> {
        self.shared.state.subscribe()
    }

    /// Has the server asked at once how it is.
    pub(crate) fn doubt(&self) {
        self.shared.doubt.notify_one();
    }

    pub(crate) async fn settle(&self) -> Result<(), Unavailable> {
        let mut states = self.watch();
        // The sender lives as long as this.
        let state = states.wait_for(|state| !matches!(state, LinkState::Unknown)).await;
        let reason = match state.as_deref() {
            Ok(LinkState::Up { serving: true, .. }) => return Ok(()),
            Ok(LinkState::Up { serving: false, .. }) => "the server says that it does not serve",
            Ok(LinkState::Down(reason)) => reason,
            Ok(LinkState::Unknown) | Err(_) => "nobody watches it",
        };
        let (name, address) = (self.name.clone(), self.address.to_string());
        Err(Unavailable { name, address, reason: reason.to_owned() })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Watcher {
    name: String,
    address: Address,
    options: GrpcOptions,
    shared: Arc<Shared>,
}

impl Watcher {
    async fn run(self) {
        let mut backoff = self.options.min_backoff;
        loop {
            let reason = match self.connect().await {
                Ok((channel, mut serving)) => {
                    backoff = self.options.min_backoff;
                    debug!(service = self.name, address = %self.address, serving, "connected");
                    loop {
                        self.shared.state.send_replace(LinkState::Up { channel: channel.clone(), serving });
                        match self.next_health(&channel, serving).await {
                            Ok(changed) => serving = changed,
                            Err(reason) => break reason,
                        }
                    }
                }
                Err(reason) => reason,
            };
            let known = matches!(&*self.shared.state.borrow(), LinkState::Down(old) if **old == *reason);
            if !known {
                warn!(service = self.name, address = %self.address, "not available: {reason}");
            }
            self.shared.state.send_replace(LinkState::Down(reason.into()));
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(self.options.max_backoff);
        }
    }

    /// Connects, and asks what the service is. Whether it works comes along.
    async fn connect(&self) -> Result<(Channel, bool), String> {
        let endpoint = self
            .address
            .endpoint()
            .connect_timeout(self.options.connect_timeout)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let connect = timeout(self.options.connect_timeout, endpoint.connect());
        let channel = connect.await.map_err(|_| "no connection in time")?.map_err(|error| causes(&error))?;
        let mut client = ServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let request = DescribeRequest { name: self.name.clone() };
        let describe = timeout(self.options.connect_timeout, client.describe(request));
        let reply = describe.await.map_err(|_| "no description in time")?.map_err(|status| told(&status))?;
        self.describe(reply.into_inner().revision)?;
        let serving = self.health(&channel).await?;
        Ok((channel, serving))
    }

    fn describe(&self, revision: String) -> Result<(), String> {
        if revision.is_empty() {
            return Ok(());
        }
        if revision.len() > MAX_NAME_SIZE || revision.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(format!("its revision is not 1 to {MAX_NAME_SIZE} printable bytes"));
        }
        // Programs have been told the first one.
        let known = self.shared.revision.get_or_init(|| revision.clone());
        if *known != revision {
            return Err(format!("its revision was {known:?}, and is {revision:?}"));
        }
        Ok(())
    }

    /// Waits until the health is another one, or cannot be had.
    async fn next_health(&self, channel: &Channel, serving: bool) -> Result<bool, String> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.options.health_interval) => {}
                () = self.shared.doubt.notified() => {}
            }
            let now = self.health(channel).await?;
            if now != serving {
                return Ok(now);
            }
        }
    }

    async fn health(&self, channel: &Channel) -> Result<bool, String> {
        let mut client = HealthClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let check = client.check(HealthCheckRequest { service: HEALTH_NAME.into() });
        match timeout(self.options.connect_timeout, check).await {
            Err(_) => Err("it does not say in time how it is".into()),
            Ok(Ok(reply)) => Ok(reply.into_inner().status() == ServingStatus::Serving),
            // It does not have to speak of its health.
            Ok(Err(status)) if matches!(status.code(), Code::Unimplemented | Code::NotFound) => Ok(true),
            Ok(Err(status)) => Err(told(&status)),
        }
    }
}

/// An error with its causes, each of which is told once.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        next = error.source();
    }
    text
}

/// What a server says about a failure. It can be anything.
pub(crate) fn told(status: &Status) -> String {
    const MAX: usize = 200;
    let text: String = status.message().chars().filter(|c| !c.is_control()).take(MAX).collect();
    match std::error::Error::source(status) {
        Some(source) => causes(source),
        None if text.is_empty() => format!("{:?}", status.code()),
        None => format!("{:?}: {text}", status.code()),
    }
}
