//! Writing down the frames of a program that is suspended.

use crate::custody::Custody;
use crate::error::{AbnormalExit, ExportError, ProcessError};
use crate::executor::Executor;
use crate::process::{encode, sleep_in_steps};
use gate_image::{Frames, Instance, Purpose};
use gate_sandbox::RT_SPAN;
use std::sync::Arc;
use std::time::Duration;

/// How long a program may take to write down its frames. That is a matter of milliseconds, unless the stack is huge.
const ALLOWANCE: Duration = Duration::from_secs(30);

impl Executor {
    /// Makes a suspended program write down where it is, and with which values, so that it can go on with other text, or
    /// elsewhere.
    ///
    /// The program does so itself, in a process of its own which can do nothing else. Its state stays as it is: it can be
    /// exported again, and it can go on. If its frames are known already, they are returned at once.
    pub async fn export(&self, instance: &mut Instance) -> Result<Arc<Frames>, ExportError> {
        if let Some(frames) = instance.frames() {
            return Ok(frames);
        }
        let process = self.new_process().await?;
        let mut launch = instance.launch(RT_SPAN, Purpose::EXPORT)?;
        // It sees no clock, but one cannot be without a resolution.
        launch.request.time_resolution = 1;
        let (buf, size) = encode(&launch).map_err(ExportError::Process)?;
        let sent = process.send_image(&buf[..size], &launch.files());
        process.shared.give_custody(Custody::for_export(launch.mutation, Arc::clone(&process.socket)));
        sent.map_err(ProcessError::system("send the program to its process"))
            .map_err(ExportError::Process)?;

        let end = tokio::select! {
            end = process.shared.end.wait() => Some(*end),
            () = sleep_in_steps(ALLOWANCE) => None,
        };
        let Some(end) = end else {
            process.close().await;
            return Err(ExportError::Timeout);
        };
        AbnormalExit::check(end).map_err(ExportError::Process)?;
        let custody = process.shared.take_custody();
        match custody {
            Some(custody) => Ok(custody.mutation.finish_export()?),
            None => Err(ExportError::Process(ProcessError::ExecutorDied)),
        }
    }
}
