//! What of the host programs can reach, besides the command's streams.

use crate::cli::{Dir, GrantArgs};
use crate::exit::Problem;
use crate::output::report;
use anyhow::Context;
use gate_wasi::{Builder, ImageError, TarImage};
use std::net::{SocketAddr, TcpListener};

/// Directories, images and listeners, ready to be given to any number of programs.
#[derive(Debug)]
pub(crate) struct Grants {
    dirs: Vec<Dir>,
    images: Vec<(TarImage, String)>,
    listeners: Vec<TcpListener>,
}

impl Grants {
    /// Reads images, and begins to listen.
    pub(crate) async fn open(args: GrantArgs) -> Result<Self, Problem> {
        let task = tokio::task::spawn_blocking(|| Self::open_now(args));
        task.await.context("open what the program is given").map_err(Problem::gate_failed)?
    }

    fn open_now(GrantArgs { dirs, images, listeners }: GrantArgs) -> Result<Self, Problem> {
        let mut opened = Vec::with_capacity(images.len());
        for image in images {
            let file = TarImage::open(&image.file).map_err(|err| {
                let problem = match err {
                    ImageError::Read(err) => Problem::not_readable(err),
                    err => Problem::cannot_run(err),
                };
                problem.about(format!("image {}", image.file.display()))
            })?;
            opened.push((file, image.guest));
        }
        let listeners = listeners.into_iter().map(listen).collect::<anyhow::Result<_>>();
        Ok(Self { dirs, images: opened, listeners: listeners.map_err(Problem::gate_failed)? })
    }

    /// Gives everything to a program.
    pub(crate) fn give(&self, mut builder: Builder) -> Result<Builder, Problem> {
        for Dir { host, guest, access } in &self.dirs {
            builder = builder.preopen(host, guest, *access);
        }
        for (image, guest) in &self.images {
            builder = builder.image(image, guest);
        }
        for listener in &self.listeners {
            let listener = listener.try_clone().context("share a listener").map_err(Problem::gate_failed)?;
            builder = builder.listener(listener);
        }
        Ok(builder)
    }
}

fn listen(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    let listening = || {
        let listener = TcpListener::bind(addr)?;
        let addr = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, addr))
    };
    let (listener, addr) = listening().with_context(|| format!("listen on {addr}"))?;
    report(format_args!("the program listens on {addr}"));
    Ok(listener)
}
