//! One request, and its answer.

use super::HttpLimits;
use super::protocol::{self, Failure, Request};
use crate::StreamEnd;
use bytes::Bytes;
use futures_util::future::Either;
use gate_wire::packet::{HEADER_SIZE, MAX_PACKET_SIZE};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::http::uri::{Authority, Scheme};
use hyper::{Response, Uri};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::timeout;

/// Largest head of an answer, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// How long a connection without a request is kept.
const IDLE: Duration = Duration::from_secs(30);

/// Connections without a request that are kept for an origin.
const MAX_IDLE: usize = 16;

/// Why an origin cannot be reached by any program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpOriginError {
    /// It is not an address.
    #[error("{0:?} is not of the form http://ADDRESS[:PORT]")]
    Address(String),
    /// The name is too long for a call.
    #[error("the origin's name {0:?} is longer than 255 bytes")]
    Name(String),
    /// There is one of this name.
    #[error("origin {0:?} is there twice")]
    Duplicate(String),
}

type RequestBody = http_body_util::Either<Full<Bytes>, Upload>;

/// Who makes requests, and where to.
#[derive(Debug)]
pub(super) struct Client {
    origins: BTreeMap<String, Authority>,
    http: legacy::Client<HttpConnector, RequestBody>,
    limits: HttpLimits,
}

impl Client {
    pub(super) fn new<'a>(
        origins: impl IntoIterator<Item = (&'a str, &'a str)>,
        limits: HttpLimits,
    ) -> Result<Self, HttpOriginError> {
        let mut named = BTreeMap::new();
        for (name, address) in origins {
            if name.len() > u8::MAX.into() {
                return Err(HttpOriginError::Name(name.to_owned()));
            }
            let authority = authority(address).ok_or_else(|| HttpOriginError::Address(address.to_owned()))?;
            if named.insert(name.to_owned(), authority).is_some() {
                return Err(HttpOriginError::Duplicate(name.to_owned()));
            }
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(limits.connect_timeout));
        connector.set_nodelay(true);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .http1_max_buf_size(MAX_HEAD)
            .build(connector);
        Ok(Self { origins: named, http, limits })
    }
}

fn authority(address: &str) -> Option<Authority> {
    let parts = address.parse::<Uri>().ok()?.into_parts();
    let plain = parts.scheme == Some(Scheme::HTTP) && parts.path_and_query.is_none_or(|path| path == "/");
    // A name and a password there would be sent to nobody.
    parts.authority.filter(|authority| {
        let host = authority.host();
        plain
            && (authority.as_str() == host
                || authority.port_u16().is_some_and(|port| *authority == format!("{host}:{port}").as_str()))
    })
}

/// A request that is ready to be made.
pub(super) struct Exchange {
    client: Arc<Client>,
    request: hyper::Request<RequestBody>,
    end: Option<Arc<StreamEnd>>,
}

impl Exchange {
    pub(super) fn new(
        client: &Arc<Client>,
        request: Request,
        end: Option<StreamEnd>,
    ) -> Result<Self, Failure> {
        let authority = client.origins.get(&request.origin).ok_or(Failure::NoOrigin)?.clone();
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(authority)
            .path_and_query(request.path)
            .build()
            .map_err(|_| Failure::Invalid)?;
        let end = end.map(Arc::new);
        let body = match &end {
            Some(end) => RequestBody::Right(Upload { end: Arc::clone(end), left: client.limits.max_body }),
            None => RequestBody::Left(Full::new(request.body.into())),
        };
        let mut message = hyper::Request::new(body);
        *message.method_mut() = request.method;
        *message.uri_mut() = uri;
        *message.headers_mut() = request.headers;
        Ok(Self { client: Arc::clone(client), request: message, end })
    }

    /// Makes it, and returns the reply, and how a body on a stream goes on.
    pub(super) async fn run(self) -> (Vec<u8>, Option<Transfer>) {
        let Self { client, request, end } = self;
        let limits = client.limits;
        let answer = async {
            let answer = client.http.request(request).await.map_err(|_| Failure::Failed)?;
            let head = protocol::head(answer.status(), answer.headers()).ok_or(Failure::TooLarge)?;
            Ok(match &end {
                Some(end) => {
                    let transfer = Transfer {
                        end: Arc::clone(end),
                        body: answer.into_body(),
                        left: limits.max_body,
                        limits,
                    };
                    (head, Some(transfer))
                }
                None => (whole(head, answer).await?, None),
            })
        };
        let unwanted = async {
            match &end {
                Some(end) => closed(end).await,
                None => std::future::pending().await,
            }
        };
        let answer = timeout(limits.timeout, answer);
        let result = match futures_util::future::select(pin!(answer), pin!(unwanted)).await {
            Either::Left((Ok(result), _)) => result,
            Either::Left((Err(_), _)) => Err(Failure::Timeout),
            Either::Right(_) => Err(Failure::Cancelled),
        };
        result.unwrap_or_else(|failure| {
            end.iter().for_each(|end| end.cut_output());
            (failure.reply(), None)
        })
    }
}

/// Waits until the program does not want to receive anything any more.
async fn closed(end: &StreamEnd) {
    poll_fn(|cx| match end.poll_room(cx, 0) {
        Poll::Ready(false) => Poll::Ready(()),
        _ => Poll::Pending,
    })
    .await
}

/// The reply with the whole body behind the head.
async fn whole(head: Vec<u8>, answer: Response<Incoming>) -> Result<Vec<u8>, Failure> {
    let room = MAX_PACKET_SIZE - HEADER_SIZE - head.len();
    match Limited::new(answer.into_body(), room).collect().await {
        Ok(body) => Ok([&head[..], &body.to_bytes()].concat()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::TooLarge),
        Err(_) => Err(Failure::Failed),
    }
}

/// A request's body, as the program sends it.
pub(super) struct Upload {
    end: Arc<StreamEnd>,
    left: u64,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let chunk = ready!(self.end.poll_chunk(cx));
        if chunk.is_empty() {
            return Poll::Ready(None);
        }
        self.end.consume(chunk.len());
        Poll::Ready(Some(match self.left.checked_sub(chunk.len() as u64) {
            Some(left) => {
                self.left = left;
                Ok(Frame::data(chunk))
            }
            None => Err(io::ErrorKind::FileTooLarge.into()),
        }))
    }
}

/// An answer's body, on its way to the program.
pub(super) struct Transfer {
    end: Arc<StreamEnd>,
    body: Incoming,
    left: u64,
    limits: HttpLimits,
}

impl Transfer {
    /// Runs until the body is at its end, or is not wanted any more.
    pub(super) async fn run(mut self) {
        match self.carry().await {
            Some(()) => self.end.end_output(),
            None => self.end.cut_output(),
        }
    }

    /// None if something is missing.
    async fn carry(&mut self) -> Option<()> {
        loop {
            let next = {
                let frame = timeout(self.limits.timeout, self.body.frame());
                match futures_util::future::select(pin!(frame), pin!(closed(&self.end))).await {
                    Either::Left((frame, _)) => frame.ok()?,
                    Either::Right(_) => return None,
                }
            };
            let Some(frame) = next else { return Some(()) };
            // What comes behind the body is not told.
            let Ok(data) = frame.ok()?.into_data() else { continue };
            self.left = self.left.checked_sub(data.len() as u64)?;
            let mut rest = &data[..];
            while !rest.is_empty() {
                if !poll_fn(|cx| self.end.poll_room(cx, 1)).await {
                    return None;
                }
                rest = &rest[self.end.write_now(rest)..];
            }
        }
    }
}
