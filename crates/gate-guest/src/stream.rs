//! Streams of bytes.

use crate::future::poll_fn;
use crate::state::StreamKey;
use crate::{Error, Gate};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::task::{Context, Poll};

/// Bytes in both directions.
///
/// Dropped, it is at its end in both: the other side can read what was written, and then finds the end.
#[derive(Debug)]
pub struct Stream {
    reader: Reader,
    writer: Writer,
}

impl Stream {
    pub(crate) fn new(gate: &Gate, key: StreamKey) -> Self {
        Self { reader: Reader { gate: gate.clone(), key }, writer: Writer { gate: gate.clone(), key } }
    }

    /// Its number, by which its service knows it.
    pub fn id(&self) -> i32 {
        self.reader.key.1
    }

    /// The two directions, for use by two tasks.
    pub fn split(self) -> (Reader, Writer) {
        (self.reader, self.writer)
    }

    /// What the other side sends.
    pub fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// What the other side receives.
    pub fn writer(&mut self) -> &mut Writer {
        &mut self.writer
    }

    /// See [`Reader::read`].
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.reader.read(buffer).await
    }

    /// See [`Writer::write_all`].
    pub async fn write_all(&mut self, data: &[u8]) -> Result<(), Error> {
        self.writer.write_all(data).await
    }
}

/// What the other side of a stream sends. Dropped, it tells that nothing more is wanted.
pub struct Reader {
    gate: Gate,
    key: StreamKey,
}

impl Reader {
    /// Reads what has come, as far as it fits; waits if that is nothing. Zero is the end, if the buffer is not empty.
    ///
    /// # Errors
    ///
    /// None at present: a stream that breaks off ends with a [note](Self::end_note).
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        poll_fn(|cx| self.poll_read(cx, buffer)).await
    }

    /// [`read`](Self::read), for those who write futures by hand.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, Error>> {
        let mut state = self.gate.state.borrow_mut();
        match state.with_stream(self.key, |stream| stream.poll_read(cx, buffer)) {
            Some(poll) => poll.map(Ok),
            None => Poll::Ready(Ok(0)),
        }
    }

    /// Reads everything to the end.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] if that is more than so many bytes.
    pub async fn read_to_end(&mut self, limit: usize) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        let mut buffer = vec![0; BUFFER_SIZE];
        loop {
            let size = self.read(&mut buffer).await?;
            if size == 0 {
                return Ok(all);
            }
            if size > limit - all.len() {
                return Err(Error::TooLong);
            }
            all.extend_from_slice(&buffer[..size]);
        }
    }

    /// How much the stream may hold before it is read, in bytes: 64 KiB if nothing else is said. Does not take back what was
    /// allowed already.
    pub fn set_window(&mut self, size: usize) {
        self.gate.state.borrow_mut().with_stream(self.key, |stream| stream.set_window(size));
    }

    /// What came along with the end: what that means is up to the service. Zero if there was nothing, or no end yet.
    pub fn end_note(&self) -> i32 {
        self.gate.state.borrow_mut().with_stream(self.key, |stream| stream.end_note()).unwrap_or(0)
    }

    /// Its stream's number, by which the service knows it.
    pub fn id(&self) -> i32 {
        self.key.1
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.gate.state.borrow_mut().with_stream(self.key, |stream| stream.close_reading());
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// What the other side of a stream receives. Dropped, it is at its end.
pub struct Writer {
    gate: Gate,
    key: StreamKey,
}

impl Writer {
    /// Writes as much as the other side wants, and waits until that is something. Returns how much it is.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the other side wants nothing more, [`Error::Unavailable`] if the service is not there any more.
    pub async fn write(&mut self, data: &[u8]) -> Result<usize, Error> {
        poll_fn(|cx| self.poll_write(cx, data)).await
    }

    /// [`write`](Self::write), for those who write futures by hand.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Error>> {
        self.gate.state.borrow_mut().poll_write(cx, self.key, data)
    }

    /// Writes all of it.
    ///
    /// # Errors
    ///
    /// Like those of [`write`](Self::write); how much has been written is not known then.
    pub async fn write_all(&mut self, mut data: &[u8]) -> Result<(), Error> {
        while !data.is_empty() {
            let size = self.write(data).await?;
            data = &data[size..];
        }
        Ok(())
    }

    /// The last thing that the other side has told about what is written: what that means is up to the service. Zero if there was
    /// nothing.
    pub fn note(&self) -> i32 {
        self.gate.state.borrow_mut().with_stream(self.key, |stream| stream.flow_note()).unwrap_or(0)
    }

    /// Its stream's number, by which the service knows it.
    pub fn id(&self) -> i32 {
        self.key.1
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.gate.state.borrow_mut().with_stream(self.key, |stream| stream.close_writing());
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("id", &self.id()).finish_non_exhaustive()
    }
}

const BUFFER_SIZE: usize = 16 << 10;

/// Writes what is read, to the end. Returns how much that was.
///
/// # Errors
///
/// Like those of [`Writer::write`].
pub async fn copy(reader: &mut Reader, writer: &mut Writer) -> Result<u64, Error> {
    let mut buffer = vec![0; BUFFER_SIZE];
    let mut total = 0;
    loop {
        let size = reader.read(&mut buffer).await?;
        if size == 0 {
            return Ok(total);
        }
        writer.write_all(&buffer[..size]).await?;
        total += size as u64;
    }
}
