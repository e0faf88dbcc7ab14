//! What is compared.

use crate::subject::Subject;
use gate_compiler::Value;
use gate_image::{Inspector, Instance};
use gate_runtime::{Outcome, TrapId};
use std::fmt;

/// Text of values, without the numbers of exceptions, which may change when a program is moved.
fn without_numbers(text: &str) -> String {
    const WHAT: &str = "exception ";
    let mut parts = text.split(WHAT);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, rest| text + WHAT + rest.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// How a program ended, and what it has left.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    trap: TrapId,
    /// Its trap, or its exit code.
    pub(crate) outcome: String,
    pub(crate) results: Vec<Value>,
    pub(crate) stdout: Vec<u8>,
    /// Size and hash of each linear memory, if it can be foreseen.
    pub(crate) memories: Vec<(u64, blake3::Hash)>,
    /// Each global and table, as text.
    pub(crate) others: Vec<String>,
}

impl Ending {
    pub(crate) fn new(
        outcome: &Outcome,
        instance: &Instance,
        subject: &Subject,
        stdout: Vec<u8>,
    ) -> anyhow::Result<Self> {
        let memories = (0..).map_while(|index| instance.memory(index)).filter(|_| !subject.keeps_time);
        let memories = memories.map(|memory| {
            let size = memory.size()?;
            let mut hasher = blake3::Hasher::new();
            let mut buf = vec![0; 1 << 16];
            for at in (0..size).step_by(buf.len()) {
                memory.read(at, &mut buf)?;
                hasher.update(&buf);
            }
            Ok((size, hasher.finalize()))
        });
        let inspector = Inspector::new(instance, &subject.wasm);
        let mut others: Vec<_> =
            inspector.globals()?.iter().map(|global| without_numbers(&format!("{global:?}"))).collect();
        for index in 0..inspector.tables()?.len() {
            let elements = without_numbers(&format!("{:?}", inspector.table_elements(index, None)?));
            others.push(format!("table {index}: {}", blake3::hash(elements.as_bytes())));
        }
        Ok(Self {
            trap: outcome.trap,
            outcome: outcome.to_string(),
            results: instance.results()?,
            stdout,
            memories: memories.collect::<anyhow::Result<_>>()?,
            others,
        })
    }

    /// Whether the program has recursed too deep.
    pub(crate) fn exhausts_stack(&self) -> bool {
        self.trap == TrapId::CallStackExhausted
    }

    /// In what it differs from the other one, if it does.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        let differ = |what: &str, ours: &dyn fmt::Debug, theirs: &dyn fmt::Debug| {
            Some(format!("{what}: {ours:?} instead of {theirs:?}"))
        };
        match () {
            () if self.outcome != other.outcome => differ("outcome", &self.outcome, &other.outcome),
            () if self.results != other.results => differ("results", &self.results, &other.results),
            () if self.stdout != other.stdout => {
                let at = self.stdout.iter().zip(&other.stdout).take_while(|(a, b)| a == b).count();
                differ(
                    &format!("output of different bytes, at {at}; sizes"),
                    &self.stdout.len(),
                    &other.stdout.len(),
                )
            }
            () if self.memories != other.memories => differ("memories", &self.memories, &other.memories),
            () if self.others != other.others => {
                let differing = |ours: &Self, theirs: &Self| -> Vec<String> {
                    ours.others.iter().filter(|item| !theirs.others.contains(item)).cloned().collect()
                };
                let what = format!("{}, globals and tables", self.outcome);
                differ(&what, &differing(self, other), &differing(other, self))
            }
            () => None,
        }
    }
}
