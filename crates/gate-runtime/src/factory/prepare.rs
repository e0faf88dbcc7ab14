//! Processes that are made in advance.

use super::{NewProcess, ProcessFactory};
use crate::error::ExecutorError;
use crate::process::Process;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tracing::warn;

/// How long to wait after a failure before trying again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));

type Made = Result<Process, ExecutorError>;

/// Keeps a number of processes ready, at least one, which a factory makes in advance. Must be called within a tokio
/// runtime.
///
/// Those that have not been taken are killed when the result is dropped.
pub fn prepare_processes(factory: impl ProcessFactory + 'static, count: usize) -> ProcessChan {
    let (sender, receiver) = mpsc::channel(count.max(1));
    let factory: Arc<dyn ProcessFactory> = Arc::new(factory);
    tokio::spawn(fill(Arc::clone(&factory), sender.clone()));
    ProcessChan { receiver: Mutex::new(receiver), sender: sender.downgrade(), factory }
}

/// Processes that are made in advance. See [`prepare_processes`].
pub struct ProcessChan {
    receiver: Mutex<mpsc::Receiver<Made>>,
    /// Tells how many there are.
    sender: mpsc::WeakSender<Made>,
    factory: Arc<dyn ProcessFactory>,
}

impl ProcessChan {
    /// Takes a process which is ready, or waits for the next one.
    ///
    /// If making one has failed, that is told once, and then tried again; that the factory is dead is told from then on.
    pub async fn new_process(&self) -> Result<Process, ExecutorError> {
        let mut receiver = self.receiver.lock().await;
        loop {
            match receiver.recv().await {
                // It has not survived the wait: with the next one it is no different, if its executor is dead.
                Some(Ok(process)) if process.is_dead() => {}
                Some(result) => return result,
                None => return Err(ExecutorError::Dead),
            }
        }
    }
}

impl ProcessFactory for ProcessChan {
    fn new_process(&self) -> NewProcess<'_> {
        Box::pin(ProcessChan::new_process(self))
    }

    fn prepared(&self) -> usize {
        match self.sender.upgrade() {
            Some(sender) if !self.factory.is_dead() => sender.max_capacity() - sender.capacity(),
            _ => 0,
        }
    }

    fn load(&self) -> usize {
        self.factory.load()
    }

    fn is_dead(&self) -> bool {
        self.factory.is_dead()
    }
}

/// Makes processes for as long as somebody may want one.
async fn fill(factory: Arc<dyn ProcessFactory>, sender: mpsc::Sender<Made>) {
    let mut pause = PAUSES.0;
    loop {
        // First the place, then the process: there are no more than were asked for.
        let Ok(place) = sender.reserve().await else { return };
        let made = tokio::select! {
            made = factory.new_process() => made,
            () = sender.closed() => return,
        };
        let failed = made.is_err();
        let dead = matches!(made, Err(ExecutorError::Dead)) && factory.is_dead();
        if let Err(error) = &made {
            warn!("prepare a process: {error}");
        }
        place.send(made);
        if dead {
            return;
        }
        if failed {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        } else {
            pause = PAUSES.0;
        }
    }
}
