//! Sets of locals.

use std::rc::Rc;

/// A set of small numbers. Clones share their elements until one of them is changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    words: Rc<Vec<u64>>,
}

/// How much memory and time an analysis may still take.
pub(super) struct Budget {
    per_pass: usize,
    /// Words that may be copied in this pass: a bound of the memory in use.
    copies: usize,
    /// Words that may be looked at in all passes.
    work: usize,
}

/// An analysis would take too much time or memory.
#[derive(Debug)]
pub(super) struct OverBudget;

impl Budget {
    /// 128 MiB, a second.
    pub(super) fn new() -> Self {
        Self { work: 1 << 30, ..Self::with_words(16 << 20) }
    }

    pub(super) fn with_words(words: usize) -> Self {
        Self { per_pass: words, copies: words, work: words }
    }

    pub(super) fn start_pass(&mut self) {
        self.copies = self.per_pass;
    }

    fn copy(&mut self, words: usize) -> Result<(), OverBudget> {
        self.copies = self.copies.checked_sub(words).ok_or(OverBudget)?;
        self.work(words)
    }

    fn work(&mut self, words: usize) -> Result<(), OverBudget> {
        self.work = self.work.checked_sub(words).ok_or(OverBudget)?;
        Ok(())
    }
}

impl Set {
    pub(super) fn insert(&mut self, element: u32, budget: &mut Budget) -> Result<(), OverBudget> {
        let (word, bit) = position(element);
        if self.words.get(word).is_none_or(|bits| bits & bit == 0) {
            let words = self.make_mut(word + 1, budget)?;
            words[word] |= bit;
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, element: u32, budget: &mut Budget) -> Result<(), OverBudget> {
        let (word, bit) = position(element);
        if self.words.get(word).is_some_and(|bits| bits & bit != 0) {
            let words = self.make_mut(word + 1, budget)?;
            words[word] &= !bit;
        }
        Ok(())
    }

    /// Adds the elements of another set. Returns whether that changed anything.
    pub(super) fn union(&mut self, other: &Self, budget: &mut Budget) -> Result<bool, OverBudget> {
        if Rc::ptr_eq(&self.words, &other.words) {
            return Ok(false);
        }
        budget.work(other.words.len())?;
        let missing =
            |(index, &bits): (usize, &u64)| bits & !self.words.get(index).copied().unwrap_or(0) != 0;
        if !other.words.iter().enumerate().any(missing) {
            return Ok(false);
        }
        let words = self.make_mut(other.words.len(), budget)?;
        for (word, bits) in words.iter_mut().zip(other.words.iter()) {
            *word |= bits;
        }
        Ok(true)
    }

    fn make_mut(&mut self, len: usize, budget: &mut Budget) -> Result<&mut Vec<u64>, OverBudget> {
        if Rc::get_mut(&mut self.words).is_none() {
            budget.copy(self.words.len())?;
        }
        let words = Rc::make_mut(&mut self.words);
        if words.len() < len {
            budget.copy(len - words.len())?;
            words.resize(len, 0);
        }
        Ok(words)
    }

    /// Elements, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(index as u32 * 64 + bit)
            })
        })
    }
}

fn position(element: u32) -> (usize, u64) {
    (element as usize / 64, 1 << (element % 64))
}
