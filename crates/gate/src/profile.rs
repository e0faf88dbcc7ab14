//! Profiles of programs: in which functions they spend their processor time.

mod stacks;
mod write;

use crate::exit::Problem;
use crate::output::report;
use crate::replace::{Cancel, Replacement};
use anyhow::Context;
use gate_image::{Instance, Program, Sampler};
use stacks::Stacks;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How much processor time is between two samples. Kernels make a few milliseconds of it.
const INTERVAL: Duration = Duration::from_millis(1);

/// How often samples are taken out of the program's state: long before there is no space for more.
pub(crate) const COLLECT_INTERVAL: Duration = Duration::from_millis(100);

/// A profile that is being taken.
#[derive(Debug)]
pub(crate) struct Profile {
    path: PathBuf,
    stacks: Stacks,
    /// Of the run that is under way.
    sampler: Option<Sampler>,
    program: Option<Program>,
    gaps: u64,
}

impl Profile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, stacks: Stacks::default(), sampler: None, program: None, gaps: 0 }
    }

    /// To be called before a process is started.
    pub(crate) fn prepare(&self, instance: &mut Instance) {
        instance.set_sampling(Some(INTERVAL));
        // They are needed while the program runs, and to read them takes some time. If they cannot be read, samples cannot either.
        let _ = instance.program().maps();
    }

    /// To be called when a process has been started.
    pub(crate) fn begin(&mut self, instance: &Instance) {
        self.sampler = instance.sampler();
        self.program = Some(instance.program().base().clone());
    }

    /// Takes what has been sampled since the last time.
    pub(crate) fn collect(&mut self) {
        let Some(sampler) = &mut self.sampler else { return };
        if sampler.read(|sample| self.stacks.add(sample)).is_err() {
            self.gaps += 1;
        }
    }

    /// To be called when the process has ended.
    pub(crate) fn end(&mut self) {
        self.collect();
        self.gaps += self.sampler.take().map_or(0, |sampler| sampler.gaps());
    }

    /// Writes the profile, in the format which the file's name asks for.
    pub(crate) fn write(&mut self, subject: &str) -> Result<(), Problem> {
        // If the program was given up, nobody has said so.
        self.end();
        let Some(program) = &self.program else { return Ok(()) };
        if self.gaps > 0 || self.stacks.is_incomplete() {
            report(format_args!("{subject}: the profile is incomplete: there were too many samples"));
        }
        let write = || -> anyhow::Result<()> {
            let mut file = Replacement::create(&self.path, 0o666, &Cancel::default())?;
            let mut out = BufWriter::new(&mut file);
            match is_cpu_profile(&self.path) {
                true => write::cpu_profile(&self.stacks, program, &mut out)?,
                false => write::collapsed(&self.stacks, program, &mut out)?,
            }
            out.flush()?;
            drop(out);
            Ok(file.commit()?)
        };
        let about = || format!("write {}", self.path.display());
        match write().with_context(about) {
            // Whoever reads standard output may have had enough.
            Err(err)
                if err
                    .downcast_ref::<io::Error>()
                    .is_some_and(|err| err.kind() == io::ErrorKind::BrokenPipe) =>
            {
                Ok(())
            }
            result => result.map_err(Problem::gate_failed),
        }
    }
}

fn is_cpu_profile(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "cpuprofile")
}
