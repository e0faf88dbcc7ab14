//! Large memories of which little is used.

use crate::Subject;
use gate_image::{InstanceOptions, Restored, Snapshot, SnapshotLimits};

/// The greatest resident size that the test's process ever had, in KiB.
fn high_water_mark() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn four_gibibytes_take_little_time_and_memory() {
    let subject = Subject::new("(module (memory 65536 65536) (data (i32.const 100) \"abc\"))");
    let instance = subject.instance();
    let memory = instance.memory(0).unwrap();
    let places = [0, 1 << 20, (1 << 31) - 3, 3 << 30, (1 << 32) - 8];
    for place in places {
        memory.write(place, b"contents").unwrap();
    }
    let snapshot = subject.snapshot(&instance, &[]);
    assert!(snapshot.len() < 600, "{}", snapshot.len());
    let restored = subject.restore(&snapshot);
    for place in places {
        let mut buf = [0; 8];
        restored.memory(0).unwrap().read(place, &mut buf).unwrap();
        assert_eq!(&buf, b"contents");
    }
}

#[test]
fn contents_are_never_in_the_hosts_memory() {
    // So much that it would be noticed, whatever other tests take at the same time.
    const SIZE: u64 = 256 << 20;

    let subject = Subject::new("(module (memory 5000))");
    let instance = subject.instance();
    let memory = instance.memory(0).unwrap();
    let block = vec![0x5a; 1 << 20];
    for offset in (0..SIZE).step_by(block.len()) {
        memory.write(offset, &block).unwrap();
    }
    let file = tempfile::tempfile().unwrap();
    Snapshot::new(&instance, &subject.wasm, &[]).unwrap().write(&file).unwrap();
    assert!(file.metadata().unwrap().len() > SIZE);
    std::io::Seek::rewind(&mut &file).unwrap();
    drop((memory, instance));
    let restored = Restored::read(&file, &SnapshotLimits::default()).unwrap();
    let instance = restored.instance(&subject.program, &InstanceOptions::default()).unwrap();
    let mut last = [0; 2];
    instance.memory(0).unwrap().read(SIZE - 1, &mut last).unwrap();
    assert_eq!(last, [0x5a, 0]);
    assert!(high_water_mark() < 200 << 10, "{} KiB", high_water_mark());
}
