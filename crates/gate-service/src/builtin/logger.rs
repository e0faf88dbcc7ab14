//! `logger`: a log for the host's operator.

use crate::{CallService, Context, ServiceError};
use std::fmt;
use std::sync::Arc;

/// Longest message that is kept whole, in bytes.
const MAX_MESSAGE: usize = 4096;

/// How important a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something has failed.
    Error,
    /// Something may go wrong.
    Warn,
    /// Something has happened.
    Info,
    /// What helps to understand.
    Debug,
    /// Everything else.
    Trace,
}

type Sink = dyn Fn(&Context, Level, &str) + Send + Sync;

/// Writes what programs say to a log.
#[derive(Clone)]
pub struct Logger(Arc<Sink>);

impl Logger {
    /// Gives messages to a function, which returns soon. They have no control characters but line feeds and tabs.
    pub fn new(sink: impl Fn(&Context, Level, &str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }
}

impl Default for Logger {
    /// Makes `tracing` events of messages.
    fn default() -> Self {
        Self::new(|context, level, message| {
            let (principal, name) = (context.principal.as_deref(), context.name.as_deref());
            match level {
                Level::Error => tracing::error!(principal, name, "{message}"),
                Level::Warn => tracing::warn!(principal, name, "{message}"),
                Level::Info => tracing::info!(principal, name, "{message}"),
                Level::Debug => tracing::debug!(principal, name, "{message}"),
                Level::Trace => tracing::trace!(principal, name, "{message}"),
            }
        })
    }
}

impl CallService for Logger {
    fn name(&self) -> &str {
        "logger"
    }

    async fn call(&self, context: &Context, content: &[u8]) -> Result<Vec<u8>, ServiceError> {
        let Some((&level, message)) = content.split_first() else { return Ok(Vec::new()) };
        let level = match level {
            0 => Level::Error,
            1 => Level::Warn,
            2 => Level::Info,
            3 => Level::Debug,
            4 => Level::Trace,
            _ => return Ok(Vec::new()),
        };
        let message = String::from_utf8_lossy(&message[..message.len().min(MAX_MESSAGE)]);
        // What would move a terminal's cursor is not for a log.
        let harmless = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
        let message: String = message.chars().map(harmless).collect();
        (self.0)(context, level, &message);
        Ok(vec![0; 8])
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger").finish_non_exhaustive()
    }
}
