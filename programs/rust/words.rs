//! Counts the words of standard input with the standard library's collections.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::io::{BufRead, Write};

fn main() {
    let mut counts: HashMap<String, u32> = HashMap::new();
    let mut lengths: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    let mut recent = VecDeque::new();
    let stdin = std::io::stdin();
    for line in stdin.lock().split(b'\n') {
        let line = line.expect("read standard input");
        for word in String::from_utf8_lossy(&line).split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
            let word = word.to_lowercase();
            *counts.entry(word.clone()).or_default() += 1;
            lengths.entry(word.chars().count()).or_default().insert(word.clone());
            recent.push_back(word);
            if recent.len() > 5 {
                recent.pop_front();
            }
        }
    }
    let mut heap: BinaryHeap<_> = counts.iter().map(|(word, count)| (*count, std::cmp::Reverse(word))).collect();
    let mut out = std::io::stdout().lock();
    for _ in 0..10 {
        if let Some((count, std::cmp::Reverse(word))) = heap.pop() {
            writeln!(out, "{:5} {}", count, word).expect("write");
        }
    }
    for (length, words) in lengths.iter().rev().take(3) {
        writeln!(out, "{} letters: {:?}", length, words.iter().take(3).collect::<Vec<_>>()).expect("write");
    }
    writeln!(out, "last: {:?}", recent).expect("write");
}
