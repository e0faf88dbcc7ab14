//! Many journeys, and the report.

use crate::account::Account;
use crate::alarm::Alarm;
use crate::coverage::Coverage;
use crate::peers::Peers;
use crate::run::{Compiled, Journey, Runner, Straight, Way};
use crate::subject::Subject;
use gate_runtime::{Config, Executor, TrapId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

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
    /// If it is set, this decides, and not the number of suspensions.
    pub until: Option<Instant>,
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
    /// Number of programs whose uninterrupted runs were compared with those in other engines.
    pub compared: u64,
    /// The other engines.
    pub engines: Vec<&'static str>,
    /// How uninterrupted runs of random modules ended, and how many did so.
    pub ends: BTreeMap<String, u64>,
    /// What went wrong.
    pub differences: Vec<Difference>,
}

/// A program did not do what it should.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The program.
    pub subject: Subject,
    /// What it did instead of what.
    pub message: String,
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
        for (end, count) in &self.ends {
            writeln!(f, "  {count:8} random modules: {end}")?;
        }
        writeln!(f, "{} programs compared with {}", self.compared, self.engines.join(" and "))?;
        write!(f, "{} differences", self.differences.len())?;
        self.differences
            .iter()
            .try_for_each(|Difference { subject, message }| write!(f, "\n  {}: {message}", subject.name))
    }
}

/// Makes journeys.
pub struct Journeys {
    executor: Executor,
    alarm: Alarm,
    peers: Peers,
}

impl Journeys {
    /// Starts an executor.
    pub async fn new() -> anyhow::Result<Self> {
        let executor = Executor::new(Config::default()).await?;
        Ok(Self { executor, alarm: Alarm::new()?, peers: Peers::new()? })
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
            known.extend(self.prepare(subject, &mut report).await?);
        }
        let goes_on = |report: &Report| match plan.until {
            Some(until) => Instant::now() < until,
            None => report.suspensions() < plan.suspensions,
        };
        while goes_on(&report) {
            if known.is_empty() || rng.random_range(0..10) < plan.generated {
                let subject = Subject::generated(rng.random())?;
                report.modules += 1;
                let prepared = match self.prepare(&subject, &mut report).await {
                    Ok(Some(prepared)) => prepared,
                    Ok(None) => {
                        *report.ends.entry("trap at instantiation".into()).or_default() += 1;
                        continue;
                    }
                    Err(error) => {
                        let message = format!("without suspensions: {error:#}");
                        report.differences.push(Difference { subject: subject.clone(), message });
                        continue;
                    }
                };
                *report.ends.entry(prepared.straight.ending.outcome.clone()).or_default() += 1;
                if prepared.straight.ending.exhausts_stack() {
                    continue;
                }
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

    /// Runs a program in all engines, and with a number of suspensions. What differs is in the report.
    ///
    /// # Errors
    ///
    /// The program cannot be compiled, or the host is at fault.
    pub async fn examine(&self, subject: &Subject, suspensions: usize, seed: u64) -> anyhow::Result<Report> {
        let mut report = Report::default();
        let prepared = self.prepare(subject, &mut report).await?;
        if let Some(prepared) = prepared.filter(|prepared| !prepared.straight.ending.exhausts_stack()) {
            let plan = Plan { suspensions: 0, per_journey: suspensions, seed, generated: 0, until: None };
            self.journey(&prepared, &plan, &mut StdRng::seed_from_u64(seed), &mut report).await;
        }
        Ok(report)
    }

    /// Compiles a program, and runs it without suspensions. There is nothing more to do with one that traps before it runs.
    async fn prepare<'a>(
        &self,
        subject: &'a Subject,
        report: &mut Report,
    ) -> anyhow::Result<Option<Prepared<'a>>> {
        let compiled = Compiled::new(subject)?;
        let straight = match compiled.initial_trap {
            Some(_) => None,
            None => Some(self.runner().straight(&compiled).await?),
        };
        let initial = || Account::trapped(compiled.initial_trap.unwrap_or(TrapId::InternalError));
        let account = straight.as_ref().map_or_else(initial, |straight| straight.account.clone());
        let differences = self.peers.differences(subject, &account);
        report.engines = self.peers.names().collect();
        report.compared += u64::from(!subject.tests_host);
        report.differences.extend(differences.into_iter().map(|difference| Difference {
            subject: subject.clone(),
            message: format!("without suspensions, {difference}"),
        }));
        Ok(straight.map(|straight| Prepared { compiled, straight }))
    }

    async fn journey(&self, prepared: &Prepared<'_>, plan: &Plan, rng: &mut StdRng, report: &mut Report) {
        let mut ways = Vec::new();
        let mut journey = Journey {
            rng,
            coverage: &mut report.coverage,
            ways: &mut ways,
            duration: prepared.straight.duration,
            suspensions: plan.per_journey,
        };
        let difference = match self.runner().journey(&prepared.compiled, &mut journey).await {
            Ok(ending) => ending.difference(&prepared.straight.ending),
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(difference) = difference {
            let message = format!("after {ways:?}: {difference}");
            report.differences.push(Difference { subject: prepared.compiled.subject.clone(), message });
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
    straight: Straight,
}
