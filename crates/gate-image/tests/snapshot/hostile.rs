//! Snapshots by someone malicious.

use crate::suspended::{MODULE, suspended};
use crate::{Subject, read};
use gate_image::{InstanceOptions, Restored, ServiceState, SnapshotError, SnapshotLimits};

/// A module's sections: numbers and contents.
pub(crate) type Sections = Vec<(u8, Vec<u8>)>;

pub(crate) fn split(mut module: &[u8]) -> Sections {
    let mut sections = Vec::new();
    module = &module[8..];
    while let Some((&id, rest)) = module.split_first() {
        let (size, rest) = number(rest);
        let (contents, rest) = rest.split_at(size as usize);
        sections.push((id, contents.to_vec()));
        module = rest;
    }
    sections
}

pub(crate) fn join(sections: &Sections) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    for (id, contents) in sections {
        module.push(*id);
        push(&mut module, contents.len() as u64);
        module.extend(contents);
    }
    module
}

pub(crate) fn number(bytes: &[u8]) -> (u64, &[u8]) {
    let size = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let value = bytes[..size].iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
    (value, &bytes[size..])
}

pub(crate) fn push(buf: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buf.push(value as u8 | 0x80);
        value >>= 7;
    }
    buf.push(value as u8);
}

pub(crate) fn custom(name: &str, contents: &[u8]) -> (u8, Vec<u8>) {
    let mut section = vec![name.len() as u8];
    section.extend(name.as_bytes());
    section.extend(contents);
    (0, section)
}

/// Index of a custom section.
pub(crate) fn find(sections: &Sections, name: &str) -> usize {
    sections.iter().position(|(id, contents)| *id == 0 && contents[1..].starts_with(name.as_bytes())).unwrap()
}

/// A suspended instance's snapshot with a service.
pub(crate) fn good() -> (Subject, Vec<u8>) {
    let subject = Subject::new(MODULE);
    let instance = suspended(&subject, 1);
    instance.memory(0).unwrap().write(300, &[1; 40]).unwrap();
    instance.memory(0).unwrap().write(3000, &[2; 40]).unwrap();
    let services = [ServiceState { name: "wasi".into(), state: vec![1, 2, 3] }];
    let snapshot = subject.snapshot(&instance, &services);
    (subject, snapshot)
}

fn restore(subject: &Subject, snapshot: &[u8]) -> Result<(), SnapshotError> {
    let restored = read(snapshot)?;
    if restored.module() != subject.wasm {
        return Err(SnapshotError::Contradiction(gate_image::Problem::Hash));
    }
    restored.instance(&subject.program, &InstanceOptions::default()).map(drop)
}

#[track_caller]
pub(crate) fn refused(subject: &Subject, snapshot: &[u8], message: &str) {
    let error = restore(subject, snapshot).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn sections_are_there_once_and_in_order() {
    let (subject, snapshot) = good();
    let sections = split(&snapshot);
    assert_eq!(join(&sections), snapshot);
    let refuse = |change: &dyn Fn(&mut Sections), message: &str| {
        let mut sections = sections.clone();
        change(&mut sections);
        refused(&subject, &join(&sections), message);
    };
    let (state, stack) = (find(&sections, "gate.state"), find(&sections, "gate.stack"));
    let service = find(&sections, "gate.service");
    refuse(&|s| drop(s.remove(0)), "not a snapshot");
    refuse(&|s| s.swap(0, 1), "not a snapshot");
    refuse(&|s| drop(s.remove(state)), "no gate.state section");
    refuse(&|s| drop(s.remove(stack)), "no gate.stack section");
    refuse(&|s| s.insert(state, s[state].clone()), "gate.state section out of order");
    refuse(&|s| s.insert(stack, s[stack].clone()), "gate.stack section out of order");
    refuse(&|s| s.swap(state, stack), "gate.state section out of order");
    refuse(&|s| s.insert(service, s[service].clone()), "two states of service \"wasi\"");
    refuse(&|s| drop(s.remove(service)), "number of services is 0, but should be 1");
    refuse(&|s| s.push(custom("gate.memory", &[])), "gate.memory section out of order");
    refuse(&|s| s.push(custom("gate.other", &[])), "unexpected section \"gate.other\"");
    refuse(&|s| s.push(custom("name", &[])), "unexpected section \"name\"");
    refuse(&|s| s.push((12, vec![0])), "out of order");
    refuse(&|s| s.push((200, vec![])), "out of order");
    refuse(&|s| s.push((0, vec![0xff, 0xff, 3])), "size of a section's name");
    let data = sections.iter().position(|(id, _)| *id == 11).unwrap();
    refuse(&|s| s.insert(data, s[data].clone()), "invalid snapshot");
    for index in 1..state {
        refuse(&|s| drop(s.remove(index)), "invalid snapshot");
    }
}

#[test]
fn what_is_no_snapshot_is_called_that() {
    let (subject, snapshot) = good();
    refused(&subject, &subject.wasm, "not a snapshot");
    refused(&subject, b"", "not a WebAssembly module");
    refused(&subject, b"#!/bin/sh\n", "not a WebAssembly module");
    assert!(!gate_image::is_snapshot(&subject.wasm) && !gate_image::is_snapshot(b""));
    let mut later = split(&snapshot);
    later[0].1[14] = 2;
    refused(&subject, &join(&later), "format version 2 is not known");
    for size in 0..snapshot.len() {
        refused(&subject, &snapshot[..size], "");
    }
}

#[test]
fn the_module_is_the_one_that_was_written() {
    let (subject, snapshot) = good();
    let mut sections = split(&snapshot);
    let code = sections.iter().position(|(id, _)| *id == 10).unwrap();
    *sections[code].1.last_mut().unwrap() ^= 1;
    refused(&subject, &join(&sections), "hash of the module is wrong");
    let mut sections = split(&snapshot);
    sections[0].1[14 + 1 + 2] ^= 1;
    refused(&subject, &join(&sections), "hash of the module is wrong");
    let mut sections = split(&snapshot);
    sections[0].1[15] += 1;
    refused(&subject, &join(&sections), "size of the module");
}

#[test]
fn limits_hold_before_anything_is_allocated() {
    let (subject, snapshot) = good();
    let refused = |limits: SnapshotLimits, message: &str| {
        let error = Restored::read(&snapshot[..], &limits).err().map(|error| error.to_string());
        assert!(error.as_ref().is_some_and(|error| error.contains(message)), "{message}: {error:?}");
    };
    let limits = SnapshotLimits::default();
    refused(SnapshotLimits { module_size: subject.wasm.len() as u64 - 1, ..limits }, "size of the module");
    refused(SnapshotLimits { memory: 2 * 65536 - 1, ..limits }, "size of all memories");
    refused(SnapshotLimits { stack_size: 50, ..limits }, "size of the section");
    refused(SnapshotLimits { services_size: 7, ..limits }, "size of the states of services");
    Restored::read(&snapshot[..], &SnapshotLimits { memory: 2 * 65536, ..limits }).unwrap();
}

#[test]
fn memory_stays_within_memory() {
    let (subject, snapshot) = good();
    let sections = split(&snapshot);
    let state = find(&sections, "gate.state");
    let with = |contents: &[u8]| {
        let mut sections = sections.clone();
        sections.insert(state, custom("gate.memory", contents));
        join(&sections)
    };
    // Memory, offset, size, and as many bytes.
    restore(&subject, &with(&[0, 0xff, 0xff, 7, 1, 9])).unwrap();
    refused(&subject, &with(&[0, 0xff, 0xff, 7, 2, 9, 9]), "exceeds its size of 0x20000");
    refused(&subject, &with(&[0, 0x80, 0x80, 8, 1, 9]), "exceeds its size");
    refused(&subject, &with(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 9]), "exceeds");
    refused(&subject, &with(&[1, 0, 1, 9]), "memory of a data segment");
    refused(&subject, &with(&[0, 0, 1, 9]), "overlapping or unordered parts of a memory");
    refused(&subject, &with(&[0, 0xff, 0xff, 7, 2, 9]), "exceeds");
    refused(&subject, &with(&[0, 0xfe, 0xff, 7, 2, 9]), "section too short");
    refused(&subject, &with(&[0x80]), "section too short");
}

#[test]
fn frames_are_those_of_the_module() {
    let (subject, snapshot) = good();
    let sections = split(&snapshot);
    let stack = find(&sections, "gate.stack");
    let refuse = |change: &dyn Fn(&mut Vec<u8>), message: &str| {
        let mut sections = sections.clone();
        let mut contents = sections[stack].1[11..].to_vec();
        change(&mut contents);
        sections[stack] = custom("gate.stack", &contents);
        refused(&subject, &join(&sections), message);
    };
    // Number of frames; function, code offset, kind, number of locals; index and type of the first local.
    let offset_size = sections[stack].1[11 + 2..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let kind = 2 + offset_size;
    refuse(&|s| s[0] = 0, "no frames");
    refuse(&|s| s[0] -= 1, "behind the last frame");
    refuse(&|s| s[0] += 1, "cut short");
    refuse(&|s| s.push(0), "1 bytes behind the last frame");
    refuse(&|s| s[1] = 3, "cannot stop at code offset");
    refuse(&|s| s[2] ^= 1, "cannot stop at code offset");
    refuse(&|s| s[kind] = 2, "values are not those");
    refuse(&|s| s[kind] = 9, "invalid kind of safepoint");
    refuse(&|s| s[kind + 1] = 3, "no value for local 3");
    refuse(&|s| s[kind + 2] = 1, "no value for local 0");
    refuse(&|s| s[kind + 8] = 0, "order of locals");
    refuse(&|s| s[kind + 3] = 0x7d, "local 0 has type f32, not i32");
    refuse(&|s| s[kind + 3] = 0x40, "invalid value");
    refuse(&|s| s.splice(kind + 1..kind + 2, [0xff, 0xff, 0xff, 0x7f]).for_each(drop), "number of locals");
    refuse(&|s| s.truncate(40), "frame 0");
}

#[test]
fn the_state_is_one_that_there_can_be() {
    let (subject, snapshot) = good();
    let sections = split(&snapshot);
    let state = find(&sections, "gate.state");
    let refuse = |change: &dyn Fn(&mut Vec<u8>), message: &str| {
        let mut sections = sections.clone();
        let mut contents = sections[state].1[11..].to_vec();
        change(&mut contents);
        sections[state] = custom("gate.state", &contents);
        refused(&subject, &join(&sections), message);
    };
    // Progress; entry function; next entry function; number of values; host call.
    assert_eq!(sections[state].1[11..][..6], [1, 1, 3, 0, 0, 0]);
    refuse(&|s| s[0] = 7, "invalid progress");
    refuse(&|s| s[0] = 0, "gate.stack");
    refuse(&|s| s[0] = 2, "number of values is 0, but should be 1");
    refuse(&|s| s[2] = 2, "function 2 is not exported");
    refuse(&|s| s[2] = 4, "outermost function is 3");
    refuse(&|s| s[2] = 99, "function 99 is not exported");
    refuse(&|s| s.splice(3..4, [1, 4]).for_each(drop), "is to be called");
    refuse(&|s| s.splice(4..5, [1, 0x7f, 1, 0, 0, 0]).for_each(drop), "number of values is 1");
    refuse(&|s| s.splice(5..6, [1, 7, 0, 0]).for_each(drop), "host call don't go together");
    refuse(&|s| s.splice(5..6, [1, 7, 1, 0]).for_each(drop), "invalid host call");
    refuse(&|s| s.splice(5..6, [3, 7, 99, 0]).for_each(drop), "invalid host call");
    refuse(&|s| s.splice(5..6, [4, 7, 0, 0]).for_each(drop), "invalid host call");
    refuse(&|s| s.splice(5..6, [1, 7, 0, 13]).for_each(drop), "number of arguments");
    refuse(&|s| s.push(0), "too many in the section");
    refuse(&|s| s.truncate(s.len() - 1), "invalid");
}

#[test]
fn whatever_is_changed_nothing_breaks() {
    let (subject, snapshot) = good();
    let mut accepted = 0;
    for bit in 0..snapshot.len() * 8 {
        let mut changed = snapshot.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        accepted += usize::from(restore(&subject, &changed).is_ok());
    }
    // Contents of memories, values and services can be anything.
    assert!(accepted > 300 && accepted < snapshot.len() * 4, "{accepted}");

    let mut random = 0x1234_5678_9abc_def0_u64;
    let mut next = |limit: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % limit
    };
    for _ in 0..10_000 {
        let mut changed = snapshot.clone();
        for _ in 0..1 + next(3) {
            let (from, to) = (next(changed.len()), next(changed.len()));
            let part = changed[from..(from + next(20)).min(changed.len())].to_vec();
            let end = (to + next(20)).min(changed.len());
            changed.splice(to..end, part);
        }
        drop(restore(&subject, &changed));
    }
}
