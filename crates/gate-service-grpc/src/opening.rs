//! The beginning of a session.

use crate::link::told;
use crate::outbox::Outbox;
use crate::proto::host_message::Kind;
use crate::proto::service_client::ServiceClient;
use crate::proto::service_message;
use crate::proto::{ServiceMessage, Start, State};
use crate::session::Session;
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// Size of the largest message from a server, in bytes.
const MAX_MESSAGE: usize = 128 << 10;

/// Size of a part of a state, in bytes.
const STATE_PART: usize = 64 << 10;

/// A session that begins.
pub(crate) type Opening = Pin<Box<dyn Future<Output = Result<Session, OpenError>> + Send>>;

/// Why a session does not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// The server does not understand the state.
    Refused(String),
    /// It may do better another time.
    Failed(String),
}

/// Begins a session.
pub(crate) fn open(channel: Channel, start: Start, state: Option<Bytes>, limit: Duration) -> Opening {
    Box::pin(async move {
        let had_state = state.is_some();
        let result = timeout(limit, begin(channel, start, state)).await;
        let result = result.map_err(|_| OpenError::Failed("no answer in time".into()))?;
        result.map_err(|status| match status.code() {
            Code::InvalidArgument if had_state => OpenError::Refused(told(&status)),
            _ => OpenError::Failed(told(&status)),
        })
    })
}

async fn begin(channel: Channel, mut start: Start, state: Option<Bytes>) -> Result<Session, Status> {
    let mut client = ServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
    let outbox = Outbox::default();
    start.state_size = state.as_ref().map(|state| state.len() as u64);
    outbox.push(Kind::Start(start), 0);
    let mut state = state.unwrap_or_default();
    while !state.is_empty() {
        let bytes = state.split_to(state.len().min(STATE_PART));
        let size = bytes.len();
        outbox.push(Kind::State(State { bytes }), size);
    }
    let mut incoming: Streaming<ServiceMessage> = client.serve(outbox.clone()).await?.into_inner();
    match incoming.message().await? {
        Some(ServiceMessage { kind: Some(service_message::Kind::Ready(_)) }) => {
            Ok(Session::new(outbox, incoming))
        }
        Some(_) => Err(Status::internal("the session does not begin with Ready")),
        None => Err(Status::internal("the session ends at once")),
    }
}
