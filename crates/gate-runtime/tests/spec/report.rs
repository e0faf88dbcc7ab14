//! What passed, what failed, and what was left out.

use std::collections::BTreeMap;
use std::fmt;

/// Kinds of assertions, in the order of the report's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Category {
    /// A call returned what it should, or a global is what it should be.
    Return,
    /// A call or an instantiation trapped as it should.
    Trap,
    /// A call exhausted the stack.
    Exhaustion,
    /// The compiler found a module invalid.
    Invalid,
    /// The compiler found a module malformed.
    Malformed,
    /// The parser of the text format, which is not Gate's, found a module malformed.
    Text,
    /// A module could not be linked.
    Unlinkable,
    /// Instantiations and calls without an assertion about their results.
    Action,
}

impl Category {
    const ALL: [Self; 8] = [
        Self::Return,
        Self::Trap,
        Self::Exhaustion,
        Self::Invalid,
        Self::Malformed,
        Self::Text,
        Self::Unlinkable,
        Self::Action,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::Return => "return",
            Self::Trap => "trap",
            Self::Exhaustion => "exhaust",
            Self::Invalid => "invalid",
            Self::Malformed => "malform",
            Self::Text => "text",
            Self::Unlinkable => "unlink",
            Self::Action => "(action)",
        }
    }
}

/// What became of the suite, or of a part of it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: BTreeMap<String, BTreeMap<Category, usize>>,
    failures: Vec<String>,
    exclusions: Vec<String>,
}

impl Report {
    /// Counts one assertion of a script.
    pub(crate) fn record(
        &mut self,
        script: &str,
        line: usize,
        category: Category,
        result: Result<(), String>,
    ) {
        match result {
            Ok(()) => *self.passed.entry(script.into()).or_default().entry(category).or_default() += 1,
            Err(problem) => self.failures.push(format!("{script}:{line}: {problem}")),
        }
    }

    /// Notes what is left out of the suite, and why.
    pub(crate) fn exclude(&mut self, what: impl fmt::Display, reason: impl fmt::Display) {
        self.exclusions.push(format!("{what}: {reason}"));
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        for (script, counts) in other.passed {
            let passed = self.passed.entry(script).or_default();
            for (category, count) in counts {
                *passed.entry(category).or_default() += count;
            }
        }
        self.failures.append(&mut other.failures);
        self.exclusions.append(&mut other.exclusions);
    }

    pub(crate) fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Number of assertions and actions that passed or failed.
    pub(crate) fn recorded(&self) -> usize {
        Category::ALL.into_iter().map(|category| self.passed(category)).sum::<usize>() + self.failures.len()
    }

    /// Number of assertions that passed in a category.
    pub(crate) fn passed(&self, category: Category) -> usize {
        self.passed.values().filter_map(|counts| counts.get(&category)).sum()
    }

    /// Number of assertions that passed, without what asserts nothing and what others than Gate saw to.
    pub(crate) fn passed_by_gate(&self) -> usize {
        let others = [Category::Action, Category::Text];
        Category::ALL.into_iter().filter(|c| !others.contains(c)).map(|c| self.passed(c)).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, cells: Vec<String>| {
            write!(f, "{name:40}")?;
            cells.iter().try_for_each(|cell| write!(f, "{cell:>9}"))?;
            writeln!(f)
        };
        row(f, "script", Category::ALL.iter().map(|category| category.title().into()).collect())?;
        for (script, counts) in &self.passed {
            let cell = |category| counts.get(category).map(usize::to_string).unwrap_or_default();
            row(f, script, Category::ALL.iter().map(cell).collect())?;
        }
        row(f, "total", Category::ALL.iter().map(|&category| self.passed(category).to_string()).collect())?;
        writeln!(
            f,
            "{} assertions passed through Gate, {} failed",
            self.passed_by_gate(),
            self.failures.len()
        )?;
        writeln!(f, "{} more were met by the parser of the text format", self.passed(Category::Text))?;
        self.exclusions.iter().try_for_each(|exclusion| writeln!(f, "excluded: {exclusion}"))?;
        self.failures.iter().take(200).try_for_each(|failure| writeln!(f, "FAILED {failure}"))
    }
}
