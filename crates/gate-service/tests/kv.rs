//! `kv`, as a packet loop sees it.

use gate_runtime::{InstanceServer, ServiceConfig, ServiceRegistry};
use gate_service::builtin::{Kv, KvLimits, KvNamespace};
use gate_service::{Context, Domain, Packet, Registry, Server};
use std::future::poll_fn;
use std::path::Path;
use std::task::{self, Waker};
use std::time::Duration;

const MISSING: i32 = 1;
const VERSION: i32 = 2;
const SIZE: i32 = 3;
const FULL: i32 = 4;

async fn registry(path: &Path) -> Registry {
    limited(path, KvNamespace::Shared("test".into()), KvLimits::default(), Context::default()).await
}

async fn limited(path: &Path, namespace: KvNamespace, limits: KvLimits, context: Context) -> Registry {
    let mut registry = Registry::new(context);
    registry.register(Kv::open(path, namespace, limits).await.unwrap()).unwrap();
    registry
}

fn server(registry: &Registry) -> Server {
    let mut server = registry.create_server(ServiceConfig::default(), &[]).unwrap();
    server.discover(&["kv"]).unwrap();
    server
}

fn send(server: &mut Server, content: &[u8]) {
    server.handle(0, Packet::new(Domain::Call, content.to_vec())).unwrap();
}

async fn receive(server: &mut Server) -> Vec<u8> {
    let packet = poll_fn(|cx| server.poll_packet(cx));
    let (_, packet) = tokio::time::timeout(Duration::from_secs(20), packet).await.expect("a packet").unwrap();
    assert_eq!((packet.domain, packet.index), (Domain::Call, 0));
    packet.content
}

/// Error, index, version, and what follows.
type Reply = (i32, i32, u64, Vec<u8>);

fn decode(reply: &[u8]) -> Reply {
    let word = |at: usize| i32::from_le_bytes(reply[at..at + 4].try_into().unwrap());
    (word(0), word(4), u64::from_le_bytes(reply[8..16].try_into().unwrap()), reply[16..].to_vec())
}

async fn call(server: &mut Server, content: &[u8]) -> Reply {
    send(server, content);
    decode(&receive(server).await)
}

fn op(op: u8, key: &[u8], rest: &[&[u8]]) -> Vec<u8> {
    [&[op, key.len() as u8], key, &rest.concat()].concat()
}

fn get(key: &[u8]) -> Vec<u8> {
    op(0, key, &[])
}

fn put(key: &[u8], value: &[u8]) -> Vec<u8> {
    op(1, key, &[value])
}

fn delete(key: &[u8]) -> Vec<u8> {
    op(2, key, &[])
}

fn put_if(key: &[u8], version: u64, value: &[u8]) -> Vec<u8> {
    op(3, key, &[&version.to_le_bytes(), value])
}

fn delete_if(key: &[u8], version: u64) -> Vec<u8> {
    op(4, key, &[&version.to_le_bytes()])
}

fn list(prefix: &[u8], after: &[u8], limit: u16) -> Vec<u8> {
    op(5, prefix, &[&[after.len() as u8], after, &limit.to_le_bytes()])
}

/// Operation, key, version, and value.
type Change<'a> = (u8, &'a [u8], Option<u64>, Option<&'a [u8]>);

fn batch(changes: &[Change<'_>]) -> Vec<u8> {
    let mut content = vec![6, changes.len() as u8];
    for (code, key, version, value) in changes {
        let version = version.map_or(Vec::new(), |version| version.to_le_bytes().to_vec());
        let value = value.map_or(Vec::new(), |v| [&(v.len() as u32).to_le_bytes(), v].concat());
        content.extend(op(*code, key, &[&version, &value]));
    }
    content
}

#[tokio::test]
async fn values_are_put_changed_and_deleted() {
    let mut server = server(&registry(Path::new(":memory:")).await);
    assert_eq!(call(&mut server, &get(b"a")).await, (MISSING, 0, 0, vec![]));
    assert_eq!(call(&mut server, &put(b"a", b"1")).await, (0, 0, 1, vec![]));
    assert_eq!(call(&mut server, &get(b"a")).await, (0, 0, 1, b"1".to_vec()));
    assert_eq!(call(&mut server, &put(b"a", b"")).await, (0, 0, 2, vec![]));
    assert_eq!(call(&mut server, &get(b"a")).await, (0, 0, 2, vec![]));
    // With an expectation.
    assert_eq!(call(&mut server, &put_if(b"a", 1, b"x")).await, (VERSION, 0, 2, vec![]));
    assert_eq!(call(&mut server, &put_if(b"a", 0, b"x")).await, (VERSION, 0, 2, vec![]));
    assert_eq!(call(&mut server, &put_if(b"b", 1, b"x")).await, (VERSION, 0, 0, vec![]));
    assert_eq!(call(&mut server, &put_if(b"a", 2, b"x")).await, (0, 0, 3, vec![]));
    assert_eq!(call(&mut server, &put_if(b"b", 0, b"y")).await, (0, 0, 4, vec![]));
    assert_eq!(call(&mut server, &delete_if(b"b", 3)).await, (VERSION, 0, 4, vec![]));
    assert_eq!(call(&mut server, &delete_if(b"b", 4)).await.0, 0);
    assert_eq!(call(&mut server, &delete(b"b")).await, (MISSING, 0, 0, vec![]));
    assert_eq!(call(&mut server, &delete(b"a")).await.0, 0);
    // Versions do not come again.
    assert_eq!(call(&mut server, &put_if(b"a", 0, b"z")).await, (0, 0, 7, vec![]));
}

#[tokio::test]
async fn batches_happen_as_a_whole_or_not_at_all() {
    let mut server = server(&registry(Path::new(":memory:")).await);
    let both: [Change<'_>; 2] = [(1, b"a", None, Some(b"1")), (3, b"b", Some(0), Some(b"2"))];
    assert_eq!(call(&mut server, &batch(&both)).await, (0, 0, 1, vec![]));
    // The second one cannot be made any more.
    let again: [Change<'_>; 2] = [(1, b"a", None, Some(b"9")), both[1]];
    assert_eq!(call(&mut server, &batch(&again)).await, (VERSION, 1, 1, vec![]));
    assert_eq!(call(&mut server, &get(b"a")).await, (0, 0, 1, b"1".to_vec()));
    assert_eq!(call(&mut server, &batch(&[(2, b"a", None, None), (4, b"b", Some(1), None)])).await.0, 0);
    assert_eq!(call(&mut server, &list(b"", b"", 10)).await, (0, 0, 0, vec![]));
}

fn keys(mut listing: &[u8]) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    while let Some((&size, rest)) = listing.split_first() {
        keys.push(rest[..size.into()].to_vec());
        listing = &rest[usize::from(size) + 12..];
    }
    keys
}

#[tokio::test]
async fn keys_are_listed_by_prefix_piece_by_piece() {
    let mut server = server(&registry(Path::new(":memory:")).await);
    let mut all: Vec<Vec<u8>> = (0..700u16).map(|i| format!("k/{i:0>200}").into_bytes()).collect();
    for chunk in all.chunks(100) {
        let changes: Vec<Change<'_>> = chunk.iter().map(|key| (1, &key[..], None, Some(&b"v"[..]))).collect();
        assert_eq!(call(&mut server, &batch(&changes)).await.0, 0);
    }
    for key in [&b"k"[..], b"k0", b"\xff", b"\xff\xff", b"a"] {
        assert_eq!(call(&mut server, &put(key, b"")).await.0, 0);
    }
    let (mut found, mut pieces) = (Vec::<Vec<u8>>::new(), 0);
    loop {
        let after = found.last().cloned().unwrap_or_default();
        let (error, count, more, listing) = call(&mut server, &list(b"k/", &after, u16::MAX)).await;
        assert_eq!((error, count as usize), (0, keys(&listing).len()));
        found.extend(keys(&listing));
        pieces += 1;
        if more == 0 {
            break;
        }
    }
    assert!(found == all && pieces == 3, "{} keys in {pieces} pieces", found.len());
    let (_, count, more, listing) = call(&mut server, &list(b"\xff", b"\xff", 1)).await;
    assert_eq!((count, more, keys(&listing)), (1, 0, vec![b"\xff\xff".to_vec()]));
    let (_, count, more, _) = call(&mut server, &list(b"", b"", 0)).await;
    assert_eq!((count, more), (0, 1));
    // A cursor before the prefix is none.
    let (_, _, _, listing) = call(&mut server, &list(b"k", b"a", 2)).await;
    all.insert(0, b"k".to_vec());
    assert_eq!(keys(&listing), all[..2]);
}

#[tokio::test]
async fn limits_hold() {
    let limits = KvLimits { max_entries: 3, max_bytes: 70_000 };
    let registry =
        limited(Path::new(":memory:"), KvNamespace::Shared("".into()), limits, Context::default()).await;
    let mut server = server(&registry);
    assert_eq!(call(&mut server, &put(b"", b"x")).await.0, SIZE);
    assert_eq!(call(&mut server, &put(b"a", &[1; 61_441])).await.0, SIZE);
    assert_eq!(call(&mut server, &put(&[7; 255], &[1; 61_440])).await.0, 0);
    assert_eq!(call(&mut server, &get(&[7; 255])).await.3.len(), 61_440);
    assert_eq!(call(&mut server, &put(b"b", &[1; 9_000])).await.0, FULL);
    assert_eq!(call(&mut server, &put(&[7; 255], b"")).await.0, 0);
    assert_eq!(call(&mut server, &put(b"b", &[1; 9_000])).await.0, 0);
    assert_eq!(call(&mut server, &put(b"c", b"")).await.0, 0);
    assert_eq!(call(&mut server, &put(b"d", b"")).await, (FULL, 0, 0, vec![]));
    assert_eq!(call(&mut server, &put(b"c", b"more")).await.0, 0);
    assert_eq!(call(&mut server, &delete(b"c")).await.0, 0);
    assert_eq!(call(&mut server, &put(b"d", b"")).await.0, 0);
    // What cannot be understood gets an empty answer.
    for content in [&b""[..], b"\x09", b"\x00", b"\x05\x00\x00", b"\x06\x02\x02\x01a"] {
        send(&mut server, content);
        assert_eq!(receive(&mut server).await, b"", "{content:?}");
    }
}

#[tokio::test]
async fn namespaces_are_apart_and_last() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let whose = |principal: Option<&str>| Context {
        principal: principal.map(str::to_owned),
        instance: Some([7; 16]),
        ..Default::default()
    };
    for (namespace, context, found) in [
        (KvNamespace::Principal, whose(Some("alice")), MISSING),
        (KvNamespace::Principal, whose(Some("bob")), MISSING),
        (KvNamespace::Instance, whose(Some("alice")), MISSING),
        (KvNamespace::Shared("alice".into()), whose(None), MISSING),
        (KvNamespace::Principal, whose(Some("alice")), 0),
        (KvNamespace::Instance, whose(None), 0),
    ] {
        let mut server = server(&limited(&path, namespace.clone(), KvLimits::default(), context).await);
        assert_eq!(call(&mut server, &get(b"a")).await.0, found, "{namespace:?}");
        assert_eq!(call(&mut server, &put(b"a", b"x")).await.0, 0);
    }
    let nobody = limited(&path, KvNamespace::Principal, KvLimits::default(), whose(None)).await;
    assert_eq!(nobody.catalog().count(), 0);
}

#[tokio::test]
async fn what_is_no_store_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text");
    std::fs::write(&path, "not a database, but a text of some length ".repeat(100)).unwrap();
    let open = || Kv::open(&path, KvNamespace::Principal, KvLimits::default());
    let error = open().await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("open the store {}: ", path.display())), "{error}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("not a database"));
}

/// Polls once: what was sent is under way then.
fn poke(server: &mut Server) -> Option<Vec<u8>> {
    match server.poll_packet(&mut task::Context::from_waker(Waker::noop())) {
        task::Poll::Ready(packet) => Some(packet.unwrap().1.content),
        task::Poll::Pending => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspended_changes_are_made_exactly_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let registry_here = registry(&path).await;
    // Another host process with the same file.
    let registry_there = registry(&path).await;
    let mut here = server(&registry_here);
    let (mut version, mut in_flight) = (0, 0);
    for round in 0..120u64 {
        // If it were made twice, the second time would find another version than is expected.
        send(&mut here, &put_if(b"counter", version, &round.to_le_bytes()));
        let mut reply = poke(&mut here);
        // At all stages: not begun, begun, written, answered.
        tokio::time::sleep(Duration::from_micros(round * 25)).await;
        let saved = here.save();
        if reply.is_none() {
            in_flight += 1;
            drop(here);
            let registry = if round % 2 == 0 { &registry_there } else { &registry_here };
            here = registry.create_server(ServiceConfig::default(), &saved).unwrap();
            reply = Some(receive(&mut here).await);
        }
        let (error, _, now, _) = decode(&reply.unwrap());
        assert_eq!((error, now), (0, version + 1), "round {round}");
        version = now;
    }
    assert!(in_flight > 100, "{in_flight}");
    let (_, _, last, value) = call(&mut here, &get(b"counter")).await;
    assert_eq!((last, value), (120, 119u64.to_le_bytes().to_vec()));
}

#[tokio::test]
async fn copies_share_the_change_that_was_under_way_and_no_other() {
    let registry = registry(Path::new(":memory:")).await;
    let mut original = server(&registry);
    send(&mut original, &put_if(b"a", 0, b"once"));
    assert_eq!(poke(&mut original), None);
    send(&mut original, &put(b"b", b"each"));
    let saved = original.save();
    drop(original);
    let mut versions = Vec::new();
    for _ in 0..3 {
        let mut copy = registry.create_server(ServiceConfig::default(), &saved).unwrap();
        assert_eq!(decode(&receive(&mut copy).await), (0, 0, 1, vec![]));
        versions.push(decode(&receive(&mut copy).await).2);
    }
    assert_eq!(versions, [2, 3, 4]);
}

#[tokio::test]
async fn damaged_states_are_refused_or_harmless() {
    let registry = registry(Path::new(":memory:")).await;
    let mut server = server(&registry);
    send(&mut server, &put(b"a", b"value"));
    assert_eq!(poke(&mut server), None);
    send(&mut server, &get(b"a"));
    let saved = server.save();
    let mut refused = 0;
    for position in 0..saved[0].state.len() {
        for change in [1, 0x80, 0xff] {
            let mut damaged = saved.clone();
            damaged[0].state[position] ^= change;
            match registry.create_server(ServiceConfig::default(), &damaged) {
                Ok(mut server) => {
                    poke(&mut server);
                    server.save();
                }
                Err(error) => {
                    assert_eq!(error.name, "kv");
                    refused += 1;
                }
            }
        }
        let mut short = saved.clone();
        short[0].state.truncate(position);
        refused += usize::from(registry.create_server(ServiceConfig::default(), &short).is_err());
    }
    assert!(refused > 50, "{refused}");
}
