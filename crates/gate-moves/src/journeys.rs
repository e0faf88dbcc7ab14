//! Many journeys, and the report.

use crate::alarm::Alarm;
use crate::coverage::Coverage;
use crate::ending::Ending;
use crate::run::{Compiled, Journey, Runner, Way};
use crate::subject::Subject;
use gate_runtime::{Config, Executor};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// At least so many suspensions.
    pub suspensions: u64,
    /// Greatest number of suspensions of one journey.
    pub per_journey: usize,
    /// Of the random decisions. Moments are random anyway.
    pub seed: u64,
    /// How many of ten journeys are made by random modules.
    pub generated: u32,
}

/// What has been done.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Number of journeys.
    pub journeys: u64,
    /// Number of modules that have been generated.
    pub modules: u64,
    /// Number of suspensions after which programs went on, by the way in which they did.
    pub ways: BTreeMap<Way, u64>,
    /// Where programs were stopped, as far as that was looked at.
    pub coverage: Coverage,
    /// Number of uninterrupted runs that were compared with Wasmtime's.
    pub peers: u64,
    /// What went wrong.
    pub differences: Vec<String>,
}

impl Report {
    /// Number of all suspensions.
    pub fn suspensions(&self) -> u64 {
        self.ways.values().sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} journeys, {} random modules, {} suspensions",
            self.journeys,
            self.modules,
            self.suspensions()
        )?;
        for (way, count) in &self.ways {
            writeln!(f, "  {:10} {count:8}", format!("{way:?}").to_lowercase())?;
        }
        writeln!(f, "{}", self.coverage)?;
        if self.peers > 0 {
            writeln!(f, "{} programs compared with Wasmtime", self.peers)?;
        }
        write!(f, "{} differences", self.differences.len())?;
        self.differences.iter().try_for_each(|difference| write!(f, "\n  {difference}"))
    }
}

/// Makes journeys.
pub struct Journeys {
    executor: Executor,
    alarm: Alarm,
}

impl Journeys {
    /// Starts an executor.
    pub async fn new() -> anyhow::Result<Self> {
        Ok(Self { executor: Executor::new(Config::default()).await?, alarm: Alarm::new()? })
    }

    /// Makes journeys with the subjects, and with random modules, until the plan is fulfilled. `progress` is called after
    /// each journey.
    pub async fn make(
        &self,
        subjects: &[Subject],
        plan: &Plan,
        mut progress: impl FnMut(&Report),
    ) -> anyhow::Result<Report> {
        let mut rng = StdRng::seed_from_u64(plan.seed);
        let mut report = Report::default();
        let mut known = Vec::new();
        for subject in subjects {
            known.push(self.prepare(subject, &mut report).await?);
        }
        while report.suspensions() < plan.suspensions {
            if known.is_empty() || rng.random_range(0..10) < plan.generated {
                let subject = Subject::generated(rng.random())?;
                let prepared = self.prepare(&subject, &mut report).await?;
                if prepared.ending.exhausts_stack() {
                    continue;
                }
                report.modules += 1;
                for _ in 0..3 {
                    self.journey(&prepared, plan, &mut rng, &mut report).await;
                }
            } else {
                let prepared = &known[rng.random_range(0..known.len())];
                self.journey(prepared, plan, &mut rng, &mut report).await;
            }
            progress(&report);
        }
        Ok(report)
    }

    /// Compiles a program, and runs it without suspensions.
    async fn prepare<'a>(&self, subject: &'a Subject, report: &mut Report) -> anyhow::Result<Prepared<'a>> {
        let compiled = Compiled::new(subject)?;
        let (ending, duration) = self.runner().straight(&compiled).await?;
        #[cfg(feature = "peer")]
        if let Some(difference) = crate::peer::difference(subject, &ending)? {
            report
                .differences
                .push(format!("{}: without suspensions, from Wasmtime: {difference}", subject.name));
        } else {
            report.peers += 1;
        }
        #[cfg(not(feature = "peer"))]
        let _ = report;
        Ok(Prepared { compiled, ending, duration })
    }

    async fn journey(&self, prepared: &Prepared<'_>, plan: &Plan, rng: &mut StdRng, report: &mut Report) {
        let name = &prepared.compiled.subject.name;
        let mut ways = Vec::new();
        let mut journey = Journey {
            rng,
            coverage: &mut report.coverage,
            ways: &mut ways,
            duration: prepared.duration,
            suspensions: plan.per_journey,
        };
        let difference = match self.runner().journey(&prepared.compiled, &mut journey).await {
            Ok(ending) => ending.difference(&prepared.ending),
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(difference) = difference {
            report.differences.push(format!("{name}, after {ways:?}: {difference}"));
        }
        report.journeys += 1;
        for way in ways {
            *report.ways.entry(way).or_default() += 1;
        }
    }

    fn runner(&self) -> Runner<'_> {
        Runner { executor: &self.executor, alarm: &self.alarm }
    }
}

/// A program, and how it ends.
struct Prepared<'a> {
    compiled: Compiled<'a>,
    ending: Ending,
    duration: Duration,
}
