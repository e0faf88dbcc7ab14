//! The crate against a host for tests. Against Gate itself, its examples are tested there.

pub(crate) mod host;
mod services;

use crate::gate::run_once;
use crate::packet::{Domain, Fields};
use crate::{copy, Error, Gate, Stream};
use host::{Host, HOST};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Runs a program in a host which transfers that many bytes at a time.
fn run<F: Future>(step: usize, main: impl FnOnce(Gate) -> F) -> F::Output {
    with_host(|host| *host = Host::new(step));
    run_once(main)
}

fn with_host<T>(f: impl FnOnce(&mut Host) -> T) -> T {
    HOST.with(|host| f(&mut host.borrow_mut()))
}

/// Has the host have a service, and answer its calls.
fn script(name: &str, calls: &[(&[u8], &[u8])]) {
    with_host(|host| {
        host.available.push(name.into());
        host.script.extend(calls.iter().map(|(call, reply)| (call.to_vec(), reply.to_vec())));
    });
}

async fn open(gate: &Gate) -> Stream {
    let service = gate.service("stream").await.unwrap();
    let (_, stream) = service.open(&[], |reply| Fields(reply).i32()).await.unwrap();
    stream.unwrap()
}

/// Polls a future once.
async fn start<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    struct Once<'a, F>(&'a mut F);
    impl<F: Future + Unpin> Future for Once<'_, F> {
        type Output = Poll<F::Output>;
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Ready(Pin::new(&mut *self.0).poll(cx))
        }
    }
    Once(future).await
}

#[test]
fn services_are_discovered_once() {
    run(3, |gate| async move {
        let (first, second) = (gate.service("echo").await.unwrap(), gate.service("echo").await.unwrap());
        assert!(first.is_available() && second.is_available());
        assert_eq!(gate.service("nothing").await.unwrap_err(), Error::Unavailable);
        assert_eq!(gate.service("nothing").await.unwrap_err(), Error::Unavailable);
        assert_eq!(gate.service("").await.unwrap_err(), Error::Name);
        assert_eq!(gate.service(&"x".repeat(128)).await.unwrap_err(), Error::Name);
        // At the same time, too.
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let again = gate.clone();
                gate.spawn(async move { again.service("later").await.is_ok() })
            })
            .collect();
        for task in tasks {
            assert!(task.join().await);
        }
        with_host(|host| assert_eq!(host.discovered, ["echo", "nothing", "later"]));
        // The host can allow fewer than usual.
        with_host(|host| host.limit = 4);
        assert_eq!(gate.service("a").await.unwrap_err(), Error::Unavailable);
        assert_eq!(gate.service("b").await.unwrap_err(), Error::TooManyServices);
        for n in 0..251 {
            assert!(gate.service(&n.to_string()).await.is_err());
        }
        assert_eq!(gate.service("c").await.unwrap_err(), Error::TooManyServices);
    });
}

#[test]
fn replies_find_their_calls() {
    run(5, |gate| async move {
        let echo = gate.service("echo").await.unwrap();
        for size in [0, 1, 7, 8, 9, 65528] {
            let content: Vec<u8> = (0..size).map(|n| n as u8).collect();
            assert_eq!(echo.call(&content).await.unwrap(), content);
        }
        assert_eq!(echo.call(&[0; 65529]).await, Err(Error::TooLong));
        // Out of order.
        let later = gate.service("later").await.unwrap();
        let tasks: Vec<_> = (0..300u16)
            .map(|n| {
                let later = later.clone();
                gate.spawn(async move { later.call(&n.to_le_bytes()).await.unwrap() == n.to_le_bytes() })
            })
            .collect();
        for task in tasks {
            assert!(task.join().await);
        }
        echo.send_info(b"one").await.unwrap();
        // Nobody has asked for infos yet. This one gets lost.
        echo.call(&[]).await.unwrap();
        let mut receive = Box::pin(echo.receive_info());
        assert!(start(&mut receive).await.is_pending());
        echo.send_info(b"two").await.unwrap();
        assert_eq!(receive.await, b"two");
    });
}

#[test]
fn streams_carry_everything_whatever_the_steps_are() {
    for (step, size) in [(1, 5_000), (3, 20_000), (13, 100_000), (1000, 500_000), (100_000, 2_000_000)] {
        let data: Vec<u8> = (0..size as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        run(step, |gate| async move {
            let tasks: Vec<_> = (0..3)
                .map(|_| {
                    let (gate, data) = (gate.clone(), data.clone());
                    gate.clone().spawn(async move {
                        let (mut reader, mut writer) = open(&gate).await.split();
                        let to_send = data.clone();
                        let sender = gate.spawn(async move { writer.write_all(&to_send).await });
                        let received = reader.read_to_end(data.len()).await.unwrap();
                        assert!(sender.join().await.is_ok() && received == data);
                        assert_eq!(reader.end_note(), 7);
                    })
                })
                .collect();
            for task in tasks {
                task.join().await;
            }
        });
        with_host(|host| {
            assert_eq!(host.streams.len(), 3);
            assert!(host.streams.values().all(|stream| stream.ended && stream.closed));
        });
    }
}

#[test]
fn what_nobody_waits_for_is_closed() {
    run(4, |gate| async move {
        let service = gate.service("stream").await.unwrap();
        for waits in 0..3 {
            let mut call = Box::pin(service.open(&[], |reply| Fields(reply).i32()));
            assert!(start(&mut call).await.is_pending());
            for _ in 0..waits {
                // With one, the call is sent by then; with two, its reply is there, too.
                gate.service("echo").await.unwrap().call(&[]).await.unwrap();
            }
            drop(call);
        }
        // Ends of its own accord, and so does the program.
        drop(open(&gate).await);
    });
    with_host(|host| {
        assert_eq!(host.streams.len(), 4);
        assert!(host.streams.values().all(|stream| stream.ended && stream.closed));
    });
}

#[test]
fn nothing_is_kept_without_bound() {
    run(500, |gate| async move {
        // The host asserts how much there is to be sent.
        let service = gate.service("echo").await.unwrap();
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let service = service.clone();
                gate.spawn(async move { service.call(&[1; 60_000]).await.unwrap().len() })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.join().await, 60_000);
        }
        // The host asserts that no more is wanted than the window.
        let mut stream = open(&gate).await;
        stream.reader().set_window(100);
        stream.write_all(&[5; 900]).await.unwrap();
        let (mut reader, writer) = stream.split();
        drop(writer);
        assert_eq!(reader.read_to_end(899).await, Err(Error::TooLong));
        let mut stream = open(&gate).await;
        stream.write_all(&[5; 100]).await.unwrap();
        let (mut reader, writer) = stream.split();
        let (_, mut other) = open(&gate).await.split();
        drop(writer);
        assert_eq!(copy(&mut reader, &mut other).await, Ok(100));
    });
}

#[test]
fn timers_come_in_their_order() {
    run(10, |gate| async move {
        let order = Rc::new(RefCell::new(Vec::new()));
        for seconds in [3, 1, 2] {
            let (sleeper, order) = (gate.clone(), Rc::clone(&order));
            drop(gate.spawn(async move {
                sleeper.sleep(Duration::from_secs(seconds)).await;
                order.borrow_mut().push((seconds, sleeper.monotonic_time().as_secs()));
            }));
        }
        let mut forever = Box::pin(gate.sleep(Duration::MAX));
        assert!(start(&mut forever).await.is_pending());
        drop(forever);
        gate.sleep(Duration::from_secs(4)).await;
        assert_eq!(*order.borrow(), [(1, 1), (2, 2), (3, 3)]);
        gate.sleep(Duration::from_secs(0)).await;
        assert_eq!(gate.monotonic_time(), Duration::from_secs(4));
    });
}

#[test]
fn tasks_take_turns() {
    run(10, |gate| async move {
        let count = Rc::new(Cell::new(0));
        let (other, counter) = (gate.clone(), Rc::clone(&count));
        // It never waits for anything; packets get their turn nevertheless.
        drop(gate.spawn(async move {
            loop {
                counter.set(counter.get() + 1);
                other.yield_now().await;
            }
        }));
        gate.service("echo").await.unwrap().call(&[1; 1000]).await.unwrap();
        assert!(count.get() > 100);
    });
}

#[test]
fn resumptions_are_noticed() {
    run(50, |gate| async move {
        let echo = gate.service("echo").await.unwrap();
        let mut stream = open(&gate).await;
        stream.write_all(b"1").await.unwrap();
        echo.call(&[]).await.unwrap();
        assert_eq!(gate.resumptions(), 0);
        let mut resumed = Box::pin(gate.resumed());
        assert!(start(&mut resumed).await.is_pending());
        drop(Box::pin(gate.resumed()));
        with_host(|host| {
            host.resumptions = vec![host.transfers + 2];
            host.available = vec!["echo".into()];
            host.announce(Domain::Info);
        });
        echo.call(&[2; 1000]).await.unwrap();
        resumed.await;
        assert_eq!(gate.resumptions(), 1);
        // Nobody is told anything who is not there any more; the host asserts that.
        assert_eq!(gate.service("stream").await.unwrap_err(), Error::Unavailable);
        assert_eq!(stream.write_all(b"2").await, Err(Error::Unavailable));
        drop(stream);
        echo.call(&[]).await.unwrap();
        with_host(|host| {
            assert!(!host.streams[&0].ended);
            host.available.push("stream".into());
            host.announce(Domain::Info);
        });
        echo.call(&[]).await.unwrap();
        assert!(gate.service("stream").await.is_ok());
    });
    with_host(|host| assert!(host.streams[&0].ended && host.streams[&0].closed));
}
