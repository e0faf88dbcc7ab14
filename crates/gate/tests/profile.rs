//! `gate run --profile`: what is written down of where a program spends its time.

mod command;

use command::{finish, gate, program, run, wait_within};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// Samples by function, and in it by the whole stack.
fn shares(stacks: &HashMap<String, u64>) -> (u64, u64) {
    let of = |stack: &str| stacks.get(stack).copied().unwrap_or(0);
    (of("_start;work;three"), of("_start;work;one"))
}

/// A sample is taken each 10 ms at the worst, and which function it hits is left to chance.
#[track_caller]
fn assert_shares(stacks: &HashMap<String, u64>) {
    let (three, one) = shares(stacks);
    let all: u64 = stacks.values().sum();
    assert!(three + one >= 30, "{stacks:?}");
    assert!(three + one >= all * 9 / 10, "{stacks:?}");
    assert!(three * 10 >= (three + one) * 6 && one * 10 >= three + one, "{stacks:?}");
}

#[test]
fn collapsed_stacks_have_the_functions_shares() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shares.folded");
    finish(&mut run(&["--profile", path.to_str().unwrap()], "shares.wat", &[]), b"").quietly(0);
    let text = fs::read_to_string(&path).unwrap();
    let line = |line: &str| {
        let (stack, count) = line.rsplit_once(' ').unwrap();
        (stack.to_owned(), count.parse().unwrap())
    };
    assert_shares(&text.lines().map(line).collect());
}

#[test]
fn cpu_profiles_have_the_functions_shares() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shares.cpuprofile");
    finish(&mut run(&["--profile", path.to_str().unwrap()], "shares.wat", &[]), b"").quietly(0);
    let profile: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let nodes = profile["nodes"].as_array().unwrap();
    let mut names = HashMap::from([(1, String::new())]);
    let mut counts = HashMap::new();
    for node in nodes {
        let id = node["id"].as_u64().unwrap();
        // Callers come first.
        let name = names[&id].clone();
        counts.insert(name.clone(), node["hitCount"].as_u64().unwrap());
        for child in node["children"].as_array().unwrap() {
            let child = child.as_u64().unwrap();
            let found = nodes.iter().find(|node| node["id"] == child).unwrap();
            let function = found["callFrame"]["functionName"].as_str().unwrap();
            let separator = if name.is_empty() { "" } else { ";" };
            names.insert(child, format!("{name}{separator}{function}"));
        }
    }
    assert_eq!(names.len(), nodes.len());
    assert_shares(&counts);
    // One sample after the other.
    let samples = profile["samples"].as_array().unwrap();
    assert_eq!(samples.len() as u64, counts.values().sum::<u64>());
    assert!(samples.iter().all(|id| names.contains_key(&id.as_u64().unwrap())));
    let deltas: u64 = profile["timeDeltas"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap()).sum();
    let time = |name: &str| profile[name].as_u64().unwrap();
    assert_eq!(deltas, time("endTime") - time("startTime"));
    assert!(deltas > 100_000, "{deltas} us");
}

#[test]
fn what_is_interrupted_has_a_profile_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("forever.folded");
    let mut command = gate(&["run", "--profile", path.to_str().unwrap(), "--invoke", "forever"]);
    command.arg(program("shares.wat")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // It has used some processor time by then.
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(wait_within(&mut child, SOON), Some(130));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("forever;work;three "), "{text:?}");
}

#[test]
fn a_profile_that_cannot_be_written_is_told() {
    let ended = finish(&mut run(&["--profile", "/does/not/exist"], "exit.wat", &[]), b"");
    ended.with_line(125, &["write /does/not/exist", "No such file"]);
}
