//! Signs of life, on a terminal, when something takes long.

use crate::exit::one_line;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::Duration;
use tokio::task::{JoinError, JoinHandle};

/// How long something may last without a sign of life.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is being done, and with how many bytes if it counts them.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Nothing is shown before it is waited for.
    pub(crate) fn new(what: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Self { bar: bar.with_style(style("{spinner} {msg} ({elapsed})")).with_message(one_line(what)) }
    }

    /// Likewise, telling how many bytes have passed through [`Progress::bar`].
    pub(crate) fn counting(what: &str) -> Self {
        let progress = Self::new(what);
        progress.bar.set_style(style("{spinner} {msg}: {binary_bytes} ({elapsed})"));
        progress
    }

    /// Counts bytes.
    pub(crate) fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// Waits for the task. If that takes long, a terminal is told.
    pub(crate) async fn wait<T>(self, mut task: JoinHandle<T>) -> Result<T, JoinError> {
        if let Ok(result) = tokio::time::timeout(PATIENCE, &mut task).await {
            return result;
        }
        if io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.enable_steady_tick(Duration::from_millis(100));
        }
        let result = task.await;
        self.bar.finish_and_clear();
        result
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
