//! Whatever comes as the state of WASI is refused, or is what the program goes on with: saved again, it is the same.
#![no_main]

use gate_wasi::{Access, TarImage, WasiCtx};
use libfuzzer_sys::fuzz_target;
use std::fs;
use std::net::TcpListener;
use tempfile::TempDir;

thread_local!(static DIR: TempDir = {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("file"), "contents").expect("a file");
    fs::create_dir(dir.path().join("directory")).expect("a directory");
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).expect("a link");
    dir
});

thread_local!(static IMAGE: TarImage = DIR.with(|dir| {
    // Nothing but the mark of the end.
    let path = dir.path().join("image.tar");
    fs::write(&path, [0; 1024]).expect("a file");
    TarImage::open(path).expect("an image")
}));

// Listeners are watched.
thread_local!(static RUNTIME: tokio::runtime::Runtime =
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));

fn context() -> WasiCtx {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    DIR.with(|dir| {
        WasiCtx::builder()
            .args(["program", "argument"])
            .env("NAME", "value")
            .preopen(dir.path(), "/data", Access::ReadWrite)
            .memory_directory("/tmp", 1 << 20)
            .image(&IMAGE.with(TarImage::clone), "/image")
            .listener(listener)
            .packets()
            .build()
            .expect("a context")
    })
}

fuzz_target!(|data: &[u8]| RUNTIME.with(|runtime| {
    let _entered = runtime.enter();
    // As it is, or changes to one that is all right: each a position and a byte.
    let state = match data {
        [0, edits @ ..] => {
            let mut state = context().save();
            for &[low, high, byte] in edits.as_chunks().0 {
                let at = usize::from(u16::from_le_bytes([low, high])) % state.len();
                state[at] = byte;
            }
            state
        }
        state => state.to_vec(),
    };
    let mut first = context();
    if first.restore(&state).is_ok() {
        let saved = first.save();
        let mut second = context();
        second.restore(&saved).expect("what was saved can be restored");
        assert_eq!(second.save(), saved);
    }
    drop(first);
    // Only a runtime that runs lets go of what was watched.
    runtime.block_on(tokio::task::yield_now());
}));
