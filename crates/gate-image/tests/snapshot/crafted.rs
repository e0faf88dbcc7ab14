//! Snapshots by someone malicious who knows the format.

use crate::hostile::{custom, find, good, join, number, push, refused, split};
use crate::{Subject, read};
use gate_image::{Restored, SnapshotLimits};
use std::io::{self, Read};

/// The frames in a stack section's contents, as bytes.
fn frames(contents: &[u8]) -> Vec<Vec<u8>> {
    let size = |ty: u8| match ty {
        0x7f | 0x7d | 0x70 | 0x6f => 5,
        0x7e | 0x7c => 9,
        _ => 17,
    };
    let (count, mut rest) = number(contents);
    let frame = |_| {
        let start = rest;
        let (_function, after) = number(rest);
        let (_offset, after) = number(after);
        let (locals, mut after) = number(&after[1..]);
        for _ in 0..locals {
            after = number(after).1;
            after = &after[size(after[0])..];
        }
        let (operands, mut after) = number(after);
        for _ in 0..operands {
            after = &after[size(after[0])..];
        }
        rest = after;
        start[..start.len() - after.len()].to_vec()
    };
    (0..count).map(frame).collect()
}

#[test]
fn each_frame_calls_the_next_inner_one() {
    let (subject, snapshot) = good();
    let sections = split(&snapshot);
    let stack = find(&sections, "gate.stack");
    let all = frames(&sections[stack].1[11..]);
    // In the loop; calls it indirectly; calls itself; calls that.
    assert_eq!(all.len(), 4);
    let refuse = |order: &[usize], message: &str| {
        let mut contents = Vec::new();
        push(&mut contents, order.len() as u64);
        order.iter().for_each(|&index| contents.extend(&all[index]));
        let mut sections = sections.clone();
        sections[stack] = custom("gate.stack", &contents);
        refused(&subject, &join(&sections), message);
    };
    refuse(&[0, 2, 3], "section gate.stack: frame 1: function 4 at code offset");
    refuse(&[0, 2, 3], "does not call function 2");
    refuse(&[0, 1, 1, 2, 3], "frame 2: function 4 at code offset");
    refuse(&[0, 0, 1, 2, 3], "not innermost, but doesn't call another one");
    refuse(&[1, 2, 3], "innermost, but calls another one");
    refuse(&[0, 3], "does not call function 2");
    refuse(&[0, 1, 2], "outermost function is 4");
    refuse(&[0, 1, 2, 3, 3], "does not call function 3");
}

#[test]
fn numbers_have_one_size() {
    let (subject, snapshot) = good();
    let sections = split(&snapshot);
    // The version, which is 1, behind the size of the name, and the name.
    let version = |bytes: &[u8]| {
        let mut sections = sections.clone();
        sections[0].1.splice(14..15, bytes.iter().copied());
        join(&sections)
    };
    // Longer than need be is all right.
    read(&version(&[0x81, 0x80, 0x80, 0x80, 0])).unwrap();
    for bytes in [
        &[0x81, 0x80, 0x80, 0x80, 0x80, 0][..],
        &[0x81, 0x80, 0x80, 0x80, 0x10],
        &[0xff, 0xff, 0xff, 0xff, 0x7f],
    ] {
        refused(&subject, &version(bytes), "section gate.snapshot: invalid number");
    }
    refused(&subject, &version(&[0xff, 0xff, 0xff, 0xff, 0xf]), "format version 4294967295");
    // 64-bit ones: the offset of a part of memory 0.
    let state = find(&sections, "gate.state");
    let offset = |bytes: &[u8]| {
        let mut sections = sections.clone();
        sections.insert(state, custom("gate.memory", &[&[0], bytes, &[1, 9]].concat()));
        join(&sections)
    };
    read(&offset(&[0xff, 0xff, 0x87, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0])).unwrap();
    let tail = [0xff; 9];
    refused(&subject, &offset(&[&tail[..], &[2]].concat()), "section gate.memory: invalid number");
    refused(&subject, &offset(&[&tail[..], &[0x81]].concat()), "section gate.memory: invalid number");
}

#[test]
fn signed_numbers_have_no_bits_to_spare() {
    let subject = Subject::new("(module (global i64 (i64.const 0)) (global (mut i32) (i32.const 0)))");
    let snapshot = subject.snapshot(&subject.instance(), &[]);
    let sections = split(&snapshot);
    let index = sections.iter().position(|(id, _)| *id == 6).unwrap();
    // Behind the number of globals, type, mutability and opcode.
    assert_eq!(sections[index].1, [2, 0x7e, 0, 0x42, 0, 0xb, 0x7f, 1, 0x41, 0, 0xb]);
    let with = |long: &[u8], short: &[u8]| {
        let contents = [&[2, 0x7e, 0, 0x42], long, &[0xb, 0x7f, 1, 0x41], short, &[0xb]].concat();
        // How the module is made again says how large the section is.
        let mut changed = sections.clone();
        let grown = contents.len() - changed[index].1.len();
        changed[index].1 = contents;
        let skip = changed[0].1.len() - 1;
        let at = (0..=skip).rev().find(|&at| usize::from(changed[0].1[at]) == 13).unwrap();
        changed[0].1[at] += grown as u8;
        join(&changed)
    };
    let lowest = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f];
    read(&with(&lowest, &[0x80, 0x80, 0x80, 0x80, 0x78])).unwrap();
    for last in [1, 2, 0x7e, 0xff] {
        let long = [&lowest[..9], &[last]].concat();
        refused(&subject, &with(&long, &[0]), "section 6: invalid number");
    }
    for last in [8, 0x70, 0x40, 0xf8] {
        refused(&subject, &with(&[0], &[0x80, 0x80, 0x80, 0x80, last]), "section 6: invalid number");
    }
}

#[test]
fn there_are_not_too_many_of_anything() {
    let (subject, snapshot) = good();
    let sections = split(&snapshot);
    let service = find(&sections, "gate.service");
    let mut many = sections.clone();
    for index in 0..1000 {
        let name = format!("{index:03}");
        many.insert(service, custom("gate.service", &[&[3], name.as_bytes()].concat()));
    }
    refused(&subject, &join(&many), "section gate.service: number of services is 1001, but at most 1000");

    let mut edits = sections.clone();
    edits[0].1.truncate(14);
    edits[0].1.extend([1, 0x10]);
    edits[0].1.extend([0; 32]);
    edits[0].1.extend([0, 0, 0xff, 0xff, 3]);
    edits[0].1.extend([0; 3 * 0xffff]);
    refused(&subject, &join(&edits), "section gate.snapshot: invalid description of the module");
}

#[test]
fn parts_of_memories_are_bounded() {
    // Single bytes with gaps: more than are ever written, and none is large.
    let subject = Subject::new("(module (memory 100))");
    let snapshot = subject.snapshot(&subject.instance(), &[]);
    let sections = split(&snapshot);
    let state = find(&sections, "gate.state");
    let mut contents = Vec::new();
    for index in 0..1_000_001 {
        push(&mut contents, 0);
        push(&mut contents, 2 * index);
        contents.extend([1, 9]);
    }
    let mut many = sections.clone();
    many.insert(state, custom("gate.memory", &contents));
    refused(&subject, &join(&many), "number of parts of memories is 1000001, but at most 1000000");
}

#[test]
fn nothing_is_allocated_for_what_is_only_announced() {
    /// Ends, and counts.
    struct Counted<'a>(&'a [u8], usize);
    impl Read for Counted<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let size = self.0.read(buf)?;
            self.1 += size;
            Ok(size)
        }
    }
    // A section of 4 GiB of which there is nothing: its size comes first, so that reading ends at once.
    let (_, snapshot) = good();
    let mut sections = split(&snapshot);
    sections.truncate(find(&sections, "gate.state"));
    for name in ["gate.state", "gate.stack", "gate.service"] {
        let mut announced = join(&sections);
        announced.extend([0, 0xff, 0xff, 0xff, 0xff, 0xf, name.len() as u8]);
        announced.extend(name.as_bytes());
        let mut input = Counted(&announced, 0);
        let error = Restored::read(&mut input, &SnapshotLimits::default()).map(drop).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("at most"), "{error}");
        let limits = SnapshotLimits { stack_size: u64::MAX, services_size: u64::MAX, ..Default::default() };
        let error = Restored::read(&announced[..], &limits).map(drop).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("unexpected end"), "{error}");
    }
}
