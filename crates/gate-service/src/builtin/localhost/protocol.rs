//! What programs send, and what they get. `docs/services.md` has the layouts.

use crate::builtin::input::Input;
use gate_wire::packet::{HEADER_SIZE, MAX_PACKET_SIZE};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, StatusCode};

const REQUEST: u8 = 0;
const OPEN: u8 = 1;

/// Size of what every reply begins with: error, status, number of fields.
pub(super) const REPLY_HEADER: usize = 8;

/// Fields that are about the connection, which is not the program's: RFC 9110, section 7.6.1, and what says where a message
/// begins and ends.
const CONNECTION_FIELDS: [HeaderName; 11] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is no origin of that name.
    NoOrigin = 1,
    /// It would not be a proper request.
    Invalid = 2,
    /// The origin is not there, or has not kept to the protocol.
    Failed = 3,
    /// It has taken too long.
    Timeout = 4,
    /// The answer does not fit in a packet.
    TooLarge = 5,
    /// The program was suspended.
    Interrupted = 6,
    /// There is no such stream, or it has a request already.
    NoStream = 7,
    /// The program does not want the answer any more.
    Cancelled = 8,
}

impl Failure {
    pub(super) fn reply(self) -> Vec<u8> {
        let mut reply = vec![0; REPLY_HEADER];
        reply[..4].copy_from_slice(&(self as i32).to_le_bytes());
        reply
    }
}

/// A call.
#[derive(Debug)]
pub(super) enum Message {
    /// Opens a stream.
    Open,
    Request(Box<Request>),
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) origin: String,
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) headers: HeaderMap,
    /// For the bodies of the request and of the answer.
    pub(super) stream: Option<i32>,
    /// If they are not on a stream.
    pub(super) body: Vec<u8>,
}

impl Message {
    /// Reads a call. None if it cannot be understood.
    pub(super) fn decode(content: &[u8]) -> Option<Result<Self, Failure>> {
        let mut input = Input(content);
        match input.byte()? {
            OPEN => input.end().map(|()| Ok(Self::Open)),
            REQUEST => {
                let [origin_size, method_size, count] = input.array()?;
                let stream = i32::from_le_bytes(input.array()?);
                let path_size = u16::from_le_bytes(input.array()?);
                let origin = input.take(origin_size.into())?;
                let method = input.take(method_size.into())?;
                let path = input.take(path_size.into())?;
                let mut fields = Vec::new();
                for _ in 0..count {
                    let name_size = input.byte()?;
                    let value_size = u16::from_le_bytes(input.array()?);
                    fields.push((input.take(name_size.into())?, input.take(value_size.into())?));
                }
                let body = input.0;
                if !body.is_empty() && stream >= 0 {
                    return None;
                }
                let Ok(origin) = std::str::from_utf8(origin) else { return Some(Err(Failure::NoOrigin)) };
                let request = || {
                    Some(Request {
                        origin: origin.to_owned(),
                        method: Method::from_bytes(method).ok().filter(|m| *m != Method::CONNECT)?,
                        path: path.starts_with(b"/").then(|| PathAndQuery::try_from(path).ok()).flatten()?,
                        headers: headers(&fields)?,
                        stream: (stream >= 0).then_some(stream),
                        body: body.to_vec(),
                    })
                };
                Some(request().map(Box::new).map(Self::Request).ok_or(Failure::Invalid))
            }
            _ => None,
        }
    }
}

impl Request {
    /// Whether it may be made more often than once: it does not change anything.
    pub(super) fn is_safe(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }
}

fn headers(fields: &[(&[u8], &[u8])]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for &(name, value) in fields {
        let name = HeaderName::from_bytes(name).ok().filter(|name| !CONNECTION_FIELDS.contains(name))?;
        headers.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(headers)
}

/// The reply with a new stream.
pub(super) fn opened(id: i32) -> Vec<u8> {
    [0i32.to_le_bytes(), id.to_le_bytes()].concat()
}

/// The reply if there are too many streams.
pub(super) fn not_opened() -> Vec<u8> {
    [(Failure::NoStream as i32).to_le_bytes(), (-1i32).to_le_bytes()].concat()
}

/// The reply with an answer's head, which a body may follow. None if there is no room for it.
pub(super) fn head(status: StatusCode, headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut reply = vec![0; REPLY_HEADER];
    let mut count = 0u16;
    for (name, value) in headers {
        // The program learns from the body how long it is, unless there is none.
        if CONNECTION_FIELDS.contains(name) && name != header::CONTENT_LENGTH {
            continue;
        }
        reply.push(u8::try_from(name.as_str().len()).ok()?);
        reply.extend(u16::try_from(value.len()).ok()?.to_le_bytes());
        reply.extend(name.as_str().as_bytes());
        reply.extend(value.as_bytes());
        count += 1;
    }
    reply[4..6].copy_from_slice(&status.as_u16().to_le_bytes());
    reply[6..8].copy_from_slice(&count.to_le_bytes());
    (reply.len() <= MAX_PACKET_SIZE - HEADER_SIZE).then_some(reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(method: &str, path: &str, name: &str, value: &str) -> Vec<u8> {
        let mut content = vec![REQUEST, 3, method.len() as u8, 1, 255, 255, 255, 255, path.len() as u8, 0];
        content.extend(format!("api{method}{path}").as_bytes());
        content.extend([name.len() as u8, value.len() as u8, 0]);
        content.extend(format!("{name}{value}body").as_bytes());
        content
    }

    #[test]
    fn requests_are_understood_or_not() {
        let good = request("PATCH", "/a?b=c", "accept", "text/*");
        let Some(Ok(Message::Request(request_read))) = Message::decode(&good) else { panic!("it is good") };
        assert_eq!((request_read.origin.as_str(), request_read.path.as_str()), ("api", "/a?b=c"));
        assert_eq!((request_read.method.as_str(), &request_read.body[..]), ("PATCH", &b"body"[..]));
        assert_eq!(request_read.headers[header::ACCEPT], "text/*");
        for end in 0..good.len() - 4 {
            assert!(Message::decode(&good[..end]).is_none(), "{end}");
        }
        for (method, path, name, value) in [
            ("CONNECT", "/", "accept", "x"),
            ("GE T", "/", "accept", "x"),
            ("", "/", "accept", "x"),
            ("GET", "", "accept", "x"),
            ("GET", "*", "accept", "x"),
            ("GET", "@elsewhere/", "accept", "x"),
            ("GET", "http://elsewhere/", "accept", "x"),
            ("GET", "/ HTTP/1.1\r\nx: y", "accept", "x"),
            ("GET", "/", "Host", "elsewhere"),
            ("GET", "/", "Transfer-Encoding", "chunked"),
            ("GET", "/", "content-length", "5"),
            ("GET", "/", "a b", "x"),
            ("GET", "/", "a", "x\r\nb: y"),
        ] {
            let decoded = Message::decode(&request(method, path, name, value));
            assert!(matches!(decoded, Some(Err(Failure::Invalid))), "{method} {path} {name}: {value}");
        }
    }

    proptest! {
        #[test]
        fn no_call_is_too_much(mut content: Vec<u8>, op in 0..3u8) {
            content.insert(0, op);
            if let Some(Ok(Message::Request(request))) = Message::decode(&content) {
                prop_assert!(request.path.as_str().starts_with('/'));
                prop_assert!(request.body.len() < content.len());
            }
        }
    }
}
