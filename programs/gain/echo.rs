//! Sends back what it receives on each connection, with the crate that programs for the original system are written with.

use gain::origin;
use gain::stream::{Close, Recv, RecvWriteStream, Write};
use gain::task::{block_on, spawn_local};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// How much is received before it is sent back, at most.
const CAPACITY: usize = 8192;

fn main() {
    block_on(async {
        let mut echoes = Vec::new();
        while let Ok(stream) = origin::accept().await {
            echoes.push(spawn_local(echo(stream)));
        }
        for echo in echoes {
            echo.await.expect("a task ends");
        }
    })
}

async fn echo(mut stream: RecvWriteStream) {
    let received = Rc::new(RefCell::new(VecDeque::new()));
    // Until the end, or until so many bytes have come.
    while stream
        .recv(CAPACITY, |data: &[u8], _| {
            received.borrow_mut().extend(data);
            0
        })
        .await
        .is_none()
    {
        send(&mut stream, &received).await;
    }
    send(&mut stream, &received).await;
    // Waits until the other side has ended both directions, too.
    stream.close().await;
}

async fn send(stream: &mut RecvWriteStream, received: &RefCell<VecDeque<u8>>) {
    let data: Vec<u8> = received.borrow_mut().drain(..).collect();
    if data.is_empty() {
        // That would be the end.
        return;
    }
    stream.write_all(&data).await.expect("the other side wants it");
}
