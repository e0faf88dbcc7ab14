//! The protocols of Gate's services: what is sent, and what is made of replies that can and cannot be understood.

use super::{run, script};
use crate::clock::Clock;
use crate::identity::Identity;
use crate::kv::{self, BatchOutcome, Change, Entry, Kv, Outcome, Value};
use crate::localhost::{Localhost, Request};
use crate::logger::{Level, Logger};
use crate::origin::Origin;
use crate::peer::{self, Peer};
use crate::random::Random;
use crate::scope::Scope;
use crate::Error;
use std::time::Duration;

#[test]
fn simple_ones() {
    run(100, |gate| async move {
        script("identity", &[(&[1], b"alice"), (&[2], b""), (&[1], b"\xff")]);
        let identity = Identity::discover(&gate).await.unwrap();
        assert_eq!(identity.principal().await, Ok(Some("alice".into())));
        assert_eq!(identity.instance().await, Ok(None));
        assert_eq!(identity.principal().await, Err(Error::Reply));

        script("random", &[(&[2], b"ab"), (&[2], b""), (&[2], b"abc")]);
        let mut random = Random::discover(&gate).await.unwrap();
        assert_eq!(random.bytes(2).await, Ok(b"ab".to_vec()));
        assert_eq!(random.bytes(2).await, Err(Error::Refused));
        assert_eq!(random.bytes(2).await, Err(Error::Reply));

        script(
            "clock",
            &[
                (&[0], &5u64.to_le_bytes()),
                (&[1, 0, 202, 154, 59, 0, 0, 0, 0], &7u64.to_le_bytes()),
                (&[0], &[]),
                (&[0], &[1]),
            ],
        );
        let clock = Clock::discover(&gate).await.unwrap();
        assert_eq!(clock.now().await, Ok(Duration::from_nanos(5)));
        assert_eq!(clock.after(Duration::from_secs(1)).await, Ok(Duration::from_nanos(7)));
        assert_eq!(clock.now().await, Err(Error::Refused));
        assert_eq!(clock.now().await, Err(Error::Reply));

        script("logger", &[(b"\x01careful", &[0; 8]), (b"\x04", b"")]);
        let logger = Logger::discover(&gate).await.unwrap();
        assert_eq!(logger.log(Level::Warn, "careful").await, Ok(()));
        assert_eq!(logger.log(Level::Trace, "").await, Err(Error::Refused));

        script("scope", &[(b"\0\x02\x01a\x02bc", &[0, 0]), (&[0, 0], &[0xff, 0xff]), (&[0, 0], &[0])]);
        let scope = Scope::discover(&gate).await.unwrap();
        assert_eq!(scope.restrict(&["a", "bc"]).await, Ok(()));
        assert_eq!(scope.restrict(&[]).await, Err(Error::Service(-1)));
        assert_eq!(scope.restrict(&[]).await, Err(Error::Reply));
        assert_eq!(scope.restrict(&[""; 256]).await, Err(Error::TooLong));
        assert_eq!(scope.restrict(&[&"x".repeat(256)]).await, Err(Error::TooLong));

        let nobody = b"\xff\xff\xff\xff\x01\0\0\0";
        let too_many = b"\xff\xff\xff\xff\x02\0\0\0";
        script("origin", &[(b"", &[9, 0, 0, 0, 0, 0, 0, 0]), (b"", nobody), (b"", too_many), (b"", &[0; 7])]);
        let origin = Origin::discover(&gate).await.unwrap();
        assert_eq!(origin.accept().await.unwrap().unwrap().id(), 9);
        assert!(origin.accept().await.unwrap().is_none());
        assert_eq!(origin.accept().await.unwrap_err(), Error::Service(2));
        assert_eq!(origin.accept().await.unwrap_err(), Error::Reply);
    });
}

/// What replies of `kv` begin with.
fn head(error: u8, index: u8, version: u8) -> Vec<u8> {
    vec![error, 0, 0, 0, index, 0, 0, 0, version, 0, 0, 0, 0, 0, 0, 0]
}

#[test]
fn keys_and_values() {
    run(100, |gate| async move {
        script(
            "kv",
            &[
                (b"\0\x01k", &[&head(0, 0, 3)[..], b"value"].concat()),
                (b"\0\x01k", &head(1, 0, 0)),
                (b"\0\x01k", &head(5, 0, 0)),
                (b"\0\x01k", b""),
                (b"\0\x01k", b"short"),
                (b"\x01\x01kv", &head(0, 0, 4)),
                (b"\x02\x01k", &head(0, 0, 0)),
                (b"\x02\x01k", &head(1, 0, 0)),
                (b"\x03\x01k\x04\0\0\0\0\0\0\0v", &head(2, 0, 9)),
                (b"\x04\x01k\x09\0\0\0\0\0\0\0", &head(0, 0, 0)),
                (b"\x06\x02\x01\x01k\x01\0\0\0v\x02\x01l", &head(1, 1, 0)),
                (b"\x06\0", &head(0, 0, 0)),
                (
                    b"\x05\x01p\0\x02\0",
                    b"\0\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\x02pq\x07\0\0\0\0\0\0\0\x08\0\0\0",
                ),
                (b"\x05\0\0\x01\0", b"\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x02p"),
            ],
        );
        let kv = Kv::discover(&gate).await.unwrap();
        assert_eq!(kv.get(b"k").await, Ok(Some(Value { version: 3, bytes: b"value".to_vec() })));
        assert_eq!(kv.get(b"k").await, Ok(None));
        assert_eq!(kv.get(b"k").await, Err(Error::Service(kv::BROKEN)));
        assert_eq!(kv.get(b"k").await, Err(Error::Refused));
        assert_eq!(kv.get(b"k").await, Err(Error::Reply));
        assert_eq!(kv.get(&[0; 256]).await, Err(Error::TooLong));
        assert_eq!(kv.put(b"k", b"v").await, Ok(4));
        assert_eq!(kv.delete(b"k").await, Ok(true));
        assert_eq!(kv.delete(b"k").await, Ok(false));
        assert_eq!(kv.put_if(b"k", 4, b"v").await, Ok(Outcome::Conflict(9)));
        assert_eq!(kv.delete_if(b"k", 9).await, Ok(Outcome::Changed(0)));
        let changes = [Change::Put { key: b"k", value: b"v" }, Change::Delete { key: b"l" }];
        let refused = BatchOutcome::Refused { index: 1, error: kv::NOT_FOUND, version: 0 };
        assert_eq!(kv.batch(&changes).await, Ok(refused));
        assert_eq!(kv.batch(&[]).await, Ok(BatchOutcome::Changed));
        let list = kv.list(b"p", b"", 2).await.unwrap();
        assert_eq!(list.entries, [Entry { key: b"pq".to_vec(), version: 7, size: 8 }]);
        assert!(list.more);
        assert_eq!(kv.list(b"", b"", 1).await, Err(Error::Reply));
    });
}

#[test]
fn other_programs() {
    run(100, |gate| async move {
        script(
            "peer",
            &[
                (b"\0", b"\0\0\0\0\x05\0\0\0bob"),
                (b"\x01carol", b"\0\0\0\0\x06\0\0\0"),
                (b"\x01dave", b"\x01\0\0\0\xff\xff\xff\xff"),
                (b"\x02b", b"\0\0\0\0\x01\0\0\0\x03bob\x05carol"),
                (b"\x02", b"\0\0\0\0\0\0\0\0\x03bo"),
                (b"\0", b"\0\0\0\0"),
            ],
        );
        let peer = Peer::discover(&gate).await.unwrap();
        let (name, stream) = peer.accept().await.unwrap();
        assert_eq!((&*name, stream.id()), ("bob", 5));
        assert_eq!(peer.connect("carol").await.unwrap().id(), 6);
        assert_eq!(peer.connect("dave").await.unwrap_err(), Error::Service(peer::ABSENT));
        let names = peer.names("b").await.unwrap();
        assert_eq!((&names.names[..], names.more), (&["bob".to_owned(), "carol".to_owned()][..], true));
        assert_eq!(peer.names("").await, Err(Error::Reply));
        assert_eq!(peer.accept().await.unwrap_err(), Error::Reply);
    });
}

#[test]
fn http() {
    run(100, |gate| async move {
        script(
            "localhost",
            &[
                (
                    b"\0\x01\x04\x01\xff\xff\xff\xff\x02\0wPOST/p\x01\x02\0nvvbody",
                    b"\0\0\0\0\xc8\0\x01\0\x01\x02\0nvvanswer",
                ),
                (b"\x01", b"\0\0\0\0\x03\0\0\0"),
                (b"\0\x01\x03\0\x03\0\0\0\x01\0wGET/", b"\x06\0\0\0\0\0\0\0"),
                (b"\x01", b"\x07\0\0\0\0\0\0\0"),
            ],
        );
        let localhost = Localhost::discover(&gate).await.unwrap();
        let fields: [(&str, &[u8]); 1] = [("n", b"vv")];
        let request = Request { origin: "w", method: "POST", path: "/p", fields: &fields, body: b"body" };
        let response = localhost.fetch(&request).await.unwrap();
        assert_eq!((response.status, &response.body[..]), (200, &b"answer"[..]));
        assert_eq!(response.fields, [("n".to_owned(), b"vv".to_vec())]);
        let (reader, _writer) = localhost.open().await.unwrap().split();
        let error = localhost.fetch_on(&Request::get("w", "/"), &reader).await.unwrap_err();
        assert_eq!(error, Error::Service(6));
        assert_eq!(localhost.open().await.unwrap_err(), Error::Service(7));
        let long = "x".repeat(65536);
        assert_eq!(localhost.fetch(&Request::get("w", &long)).await.unwrap_err(), Error::TooLong);
    });
}
