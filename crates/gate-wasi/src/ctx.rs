//! What a program has.

use crate::clock::{Clocks, Timers};
use crate::descriptors::{Descriptor, Descriptors};
use crate::errno::Errno;
use crate::files::{Access, Directory, FileOrDirectory, Preopen, Tree};
use crate::host_fs::HostRoot;
use crate::memory_fs::{MAX_TOTAL, MemoryFs};
use crate::packets::Packets;
use crate::poll::Wait;
use crate::process::{Signal, Strings};
use crate::resolve::MAX_PATH;
use crate::saved_tree::MAX_TREES;
use crate::socket::Listener;
use crate::stdio::{Direction, HostStream};
use crate::stream::{Input, Object, Output};
use crate::tar_fs::TarImage;
use gate_wire::gate;
use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Source of random bytes.
pub(crate) type Random = Box<dyn FnMut(&mut [u8]) -> io::Result<()> + Send>;

/// A program's view of the world through WASI: arguments, environment, descriptors, clocks, randomness.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), gate_wasi::BuildError> {
/// let ctx = gate_wasi::WasiCtx::builder()
///     .args(["hello", "--loud"])
///     .env("LANG", "C")
///     .inherit_stdout()
///     .build()?;
/// # drop(ctx); Ok(()) }
/// ```
pub struct WasiCtx {
    pub(crate) args: Strings,
    pub(crate) environ: Strings,
    pub(crate) descriptors: Descriptors,
    pub(crate) clocks: Clocks,
    pub(crate) timers: Timers,
    pub(crate) random: Random,
    pub(crate) scratch: Vec<u8>,
    pub(crate) closed_pipe: bool,
    pub(crate) raised: Option<Signal>,
    pub(crate) wait: Option<Wait>,
    pub(crate) tolerates_missing: bool,
}

impl WasiCtx {
    /// Begins with a program that has no arguments and no environment, reads nothing, and whose output is discarded.
    pub fn builder() -> Builder {
        Builder {
            args: Vec::new(),
            environ: Vec::new(),
            streams: [Stream::None, Stream::None, Stream::None],
            preopens: Vec::new(),
            listeners: Vec::new(),
            packets: false,
            tolerates_missing: false,
            resolution: Duration::from_nanos(1),
            random: Box::new(system_random),
        }
    }

    /// Sets what the program's monotonic clock shows now, in nanoseconds. Without, it was zero when this was built.
    ///
    /// The program's process has a clock of its own, which this should be in step with, or a little behind: what the
    /// program waits for comes late rather than early. So to be called when the program has been started.
    pub fn set_monotonic_time(&mut self, time: u64) {
        self.clocks.set_monotonic_time(time);
    }

    /// Whether the program has written to a stream whose other end is closed.
    ///
    /// The program got an error number for it, where a native one would have been killed by `SIGPIPE`.
    pub fn closed_pipe(&self) -> bool {
        self.closed_pipe
    }

    /// The signal by which the program has killed itself. The trap for it says only that there are no signals here.
    pub fn raised(&self) -> Option<Signal> {
        self.raised
    }
}

impl fmt::Debug for WasiCtx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasiCtx").field("descriptors", &self.descriptors).finish_non_exhaustive()
    }
}

/// Puts a [`WasiCtx`] together.
pub struct Builder {
    args: Vec<Vec<u8>>,
    environ: Vec<(Vec<u8>, Vec<u8>)>,
    streams: [Stream; 3],
    preopens: Vec<(String, Given)>,
    listeners: Vec<TcpListener>,
    packets: bool,
    tolerates_missing: bool,
    resolution: Duration,
    random: Random,
}

/// A directory that the program is to be given.
enum Given {
    Host(PathBuf, Access),
    Memory(u64),
    Image(TarImage),
}

enum Stream {
    None,
    Inherited,
    Host(OwnedFd),
    Object(Object),
}

/// Why a [`WasiCtx`] cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Programs would see only the part before it.
    #[error("argument {0:?} contains a NUL byte")]
    ArgumentWithNul(String),
    /// Neither names nor values contain NUL, and names are neither empty nor contain `=`.
    #[error("environment variable {0:?} is invalid")]
    InvalidVariable(String),
    /// More than fits in a 32-bit address space.
    #[error("arguments or environment are too large")]
    TooLarge,
    /// A directory that was to be given to the program cannot be opened.
    #[error("directory {} cannot be opened: {source}", path.display())]
    Directory {
        /// Which directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It contains NUL, or is longer than a path may be.
    #[error("{0:?} cannot be a directory's name")]
    DirectoryName(String),
    /// Programs that go on know their directories by their names.
    #[error("two directories have the name {0:?}")]
    DuplicateName(String),
    /// File systems in memory would be larger together than they may be: the number of bytes.
    #[error("file systems in memory are larger than {MAX_TOTAL} bytes")]
    TooMuchMemory,
    /// More than a program may have descriptors.
    #[error("there are too many directories or listeners")]
    TooManyDirectories,
    /// Without this system call, of Linux 5.6, programs could not be kept from leaving their directories.
    #[error("directories cannot be given to programs: the system lacks openat2")]
    NoOpenat2,
    /// A listener cannot be used.
    #[error("listener cannot be used: {0}")]
    Listener(#[source] io::Error),
    /// The stream that was to be inherited cannot be used.
    #[error("{name} cannot be used: {source}")]
    Stream {
        /// Which stream.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Builder {
    /// Appends arguments. The first one of all is the name of the program.
    pub fn args<T: Into<Vec<u8>>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable, in place of one of the same name.
    pub fn env(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        let name = name.as_ref();
        self.environ.retain(|(old, _)| old != name);
        self.environ.push((name.to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Lets the program read from `reader`.
    pub fn stdin(self, reader: impl AsyncRead + Send + Unpin + 'static) -> Self {
        self.stream(0, Stream::Object(Object::Input(Input::reader(reader))))
    }

    /// Lets the program write to `writer`. If it keeps something back, call [`WasiCtx::flush`] at the end.
    pub fn stdout(self, writer: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        self.stream(1, Stream::Object(Object::Output(Output::writer(writer))))
    }

    /// Lets the program write its diagnostics to `writer`. See [`Builder::stdout`].
    pub fn stderr(self, writer: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        self.stream(2, Stream::Object(Object::Output(Output::writer(writer))))
    }

    /// Lets the program read this process's standard input.
    pub fn inherit_stdin(self) -> Self {
        self.stream(0, Stream::Inherited)
    }

    /// Lets the program write to this process's standard output.
    pub fn inherit_stdout(self) -> Self {
        self.stream(1, Stream::Inherited)
    }

    /// Lets the program write to this process's standard error.
    pub fn inherit_stderr(self) -> Self {
        self.stream(2, Stream::Inherited)
    }

    /// Lets the program read from a file, pipe, terminal or socket. Its open file is left as it is: others
    /// who share it, such as a shell, will not find it in non-blocking mode.
    pub fn stdin_fd(self, fd: OwnedFd) -> Self {
        self.stream(0, Stream::Host(fd))
    }

    /// Lets the program write to a file, pipe, terminal or socket. See [`Builder::stdin_fd`].
    pub fn stdout_fd(self, fd: OwnedFd) -> Self {
        self.stream(1, Stream::Host(fd))
    }

    /// Lets the program write its diagnostics to a file, pipe, terminal or socket. See [`Builder::stdin_fd`].
    pub fn stderr_fd(self, fd: OwnedFd) -> Self {
        self.stream(2, Stream::Host(fd))
    }

    /// Gives the program a directory of the host, by a name of its own: the next descriptor, from 3 on.
    ///
    /// A program that goes on gets the directories that it had by their names.
    pub fn preopen(mut self, dir: impl Into<PathBuf>, guest_name: impl Into<String>, access: Access) -> Self {
        self.preopens.push((guest_name.into(), Given::Host(dir.into(), access)));
        self
    }

    /// Gives the program an empty directory in memory, in which there is room for `size` bytes. It goes along with the program,
    /// and is copied with it.
    pub fn memory_directory(mut self, guest_name: impl Into<String>, size: u64) -> Self {
        self.preopens.push((guest_name.into(), Given::Memory(size)));
        self
    }

    /// Gives the program the contents of a tar file as a directory in which it can change nothing.
    ///
    /// A program that goes on has to be given the same file again, which is known by its hash.
    pub fn image(mut self, image: &TarImage, guest_name: impl Into<String>) -> Self {
        self.preopens.push((guest_name.into(), Given::Image(image.clone())));
        self
    }

    /// Gives the program a listener, from which it can accept connections: the next descriptor after the directories. It is put in
    /// non-blocking mode.
    ///
    /// A program that goes on gets as many as it had, in the same order. Connections that it had are lost.
    pub fn listener(mut self, listener: TcpListener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Gives the program a descriptor for packets, and tells it by the environment that it has one. The number is 4, or the next one after
    /// the directories and listeners. What it stands for is to be attached: [`WasiCtx::attach_packets`].
    pub fn packets(mut self) -> Self {
        self.packets = true;
        self
    }

    /// Lets a program go on without files and directories that it had open and that are missing: what it does with
    /// them is `EBADF`. Otherwise they are an error of [`WasiCtx::restore`].
    pub fn tolerate_missing_files(mut self) -> Self {
        self.tolerates_missing = true;
        self
    }

    /// Resolution of the clocks: what a program learns about the time is a multiple of it.
    pub fn clock_resolution(mut self, resolution: Duration) -> Self {
        self.resolution = resolution;
        self
    }

    /// Where random bytes come from, in place of the operating system.
    pub fn random(mut self, fill: impl FnMut(&mut [u8]) -> io::Result<()> + Send + 'static) -> Self {
        self.random = Box::new(fill);
        self
    }

    /// Finishes. To be called within a tokio runtime which does input and output, if a stream is inherited or a listener
    /// is given.
    pub fn build(mut self) -> Result<WasiCtx, BuildError> {
        let packets = self
            .packets
            .then(|| gate::PACKET_FD.max(3 + (self.preopens.len() + self.listeners.len()) as u32));
        if let Some(fd) = packets {
            for (name, value) in gate::ENVIRON {
                self = self.env(name, value);
            }
            self = self.env(gate::ENVIRON_FD, fd.to_string());
        }
        for arg in &self.args {
            if arg.contains(&0) {
                return Err(BuildError::ArgumentWithNul(String::from_utf8_lossy(arg).into()));
            }
        }
        let mut environ = Vec::with_capacity(self.environ.len());
        for (name, value) in &self.environ {
            if name.is_empty() || name.contains(&b'=') || name.contains(&0) || value.contains(&0) {
                return Err(BuildError::InvalidVariable(String::from_utf8_lossy(name).into()));
            }
            environ.push([name, &b"="[..], value].concat());
        }
        let mut descriptors = Descriptors::default();
        for (number, stream) in self.streams.into_iter().enumerate() {
            let object = open(number, stream)?;
            // A new table has room for three.
            let _ = descriptors.insert(Descriptor::new(number as u32, object));
        }
        let clocks = Clocks::new(self.resolution);
        for preopen in preopens(self.preopens, clocks.resolution())? {
            let path = PathBuf::from(&preopen.name);
            let directory = Directory::root(Arc::new(preopen)).map_err(|errno| match errno {
                Errno::NoSys => BuildError::NoOpenat2,
                errno => BuildError::Directory { path, source: io::Error::other(errno.name()) },
            })?;
            descriptors
                .insert(Descriptor::of_file(FileOrDirectory::Directory(directory)))
                .map_err(|_| BuildError::TooManyDirectories)?;
        }
        for (number, listener) in (0..).zip(self.listeners) {
            let listener = Listener::new(listener, number).map_err(BuildError::Listener)?;
            let descriptor = Descriptor::new(Descriptor::LISTENER, Object::Listener(listener));
            descriptors.insert(descriptor).map_err(|_| BuildError::TooManyDirectories)?;
        }
        if let Some(fd) = packets {
            descriptors.put(fd, Packets::descriptor()).map_err(|_| BuildError::TooManyDirectories)?;
        }
        Ok(WasiCtx {
            args: Strings::new(&self.args).ok_or(BuildError::TooLarge)?,
            environ: Strings::new(&environ).ok_or(BuildError::TooLarge)?,
            descriptors,
            clocks,
            timers: Timers::default(),
            random: self.random,
            scratch: Vec::new(),
            closed_pipe: false,
            raised: None,
            wait: None,
            tolerates_missing: self.tolerates_missing,
        })
    }

    fn stream(mut self, number: usize, stream: Stream) -> Self {
        self.streams[number] = stream;
        self
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments and environment may be secrets.
        f.debug_struct("Builder").field("resolution", &self.resolution).finish_non_exhaustive()
    }
}

/// Opens directories that are given, of which those in memory have times that are multiples of `resolution`.
fn preopens(given: Vec<(String, Given)>, resolution: u64) -> Result<Vec<Preopen>, BuildError> {
    let mut preopens: Vec<Preopen> = Vec::with_capacity(given.len());
    let (mut number, mut total) = (0, 0u64);
    if given.iter().filter(|(_, given)| !matches!(given, Given::Host(..))).count() > MAX_TREES as usize {
        return Err(BuildError::TooManyDirectories);
    }
    for (name, given) in given {
        if name.contains('\0') || name.len() >= MAX_PATH as usize {
            return Err(BuildError::DirectoryName(name));
        }
        if preopens.iter().any(|other| other.name == name) {
            return Err(BuildError::DuplicateName(name));
        }
        let (tree, access) = match given {
            Given::Host(path, access) => {
                let root = HostRoot::open(&path).map_err(|source| BuildError::Directory { path, source })?;
                (Tree::Host(root), access)
            }
            Given::Memory(size) => {
                total = total.saturating_add(size);
                if total > MAX_TOTAL {
                    return Err(BuildError::TooMuchMemory);
                }
                number += 1;
                (Tree::Memory(MemoryFs::new(size, number, resolution)), Access::ReadWrite)
            }
            Given::Image(image) => (Tree::Image(image.fs()), Access::ReadOnly),
        };
        preopens.push(Preopen { name, access, tree });
    }
    Ok(preopens)
}

fn open(number: usize, stream: Stream) -> Result<Object, BuildError> {
    let (name, direction) = match number {
        0 => ("standard input", Direction::In),
        1 => ("standard output", Direction::Out),
        _ => ("standard error", Direction::Out),
    };
    let fd = match (stream, direction) {
        (Stream::Object(object), _) => return Ok(object),
        (Stream::None, Direction::In) => return Ok(Object::Input(Input::reader(tokio::io::empty()))),
        (Stream::None, Direction::Out) => return Ok(Object::Output(Output::writer(tokio::io::sink()))),
        (Stream::Inherited, _) => duplicate(number),
        (Stream::Host(fd), _) => Ok(fd),
    };
    let stream = fd
        .and_then(|fd| HostStream::new(fd, direction))
        .map_err(|source| BuildError::Stream { name, source })?;
    Ok(match direction {
        Direction::In => Object::Input(Input::host(stream)),
        Direction::Out => Object::Output(Output::Host(stream)),
    })
}

fn duplicate(number: usize) -> io::Result<OwnedFd> {
    match number {
        0 => io::stdin().as_fd().try_clone_to_owned(),
        1 => io::stdout().as_fd().try_clone_to_owned(),
        _ => io::stderr().as_fd().try_clone_to_owned(),
    }
}

fn system_random(mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        match rustix::rand::getrandom(&mut *buf, rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => buf = &mut buf[n..],
            Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}
