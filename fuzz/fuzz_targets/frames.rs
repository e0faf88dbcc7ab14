//! Whatever a process leaves as its frames, they are ones of the program, or there is an error.
#![no_main]

use gate_fuzz::Subject;
use gate_image::{Instance, Purpose};
use gate_wire::frames::{FRAMES_COMPLETE, FRAMES_START};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;

const MAX_SIZE: u64 = 1 << 20;

thread_local!(static SUBJECTS: RefCell<Vec<(Subject, Instance)>> = RefCell::new(
    Subject::all().into_iter().map(|subject| (subject.clone(), subject.frozen())).collect(),
));

fuzz_target!(|data: &[u8]| {
    let [choice, structured, data @ ..] = data else { return };
    SUBJECTS.with_borrow_mut(|subjects| {
        let count = subjects.len();
        let (subject, instance) = &mut subjects[usize::from(*choice) % count];
        let frames = if *structured == 0 { data.to_vec() } else { arrange(subject, data) };
        let launch =
            instance.launch(gate_fuzz::RT_SPAN, Purpose::Export { max_size: MAX_SIZE }).expect("launch");
        let header = [FRAMES_COMPLETE.to_le_bytes(), (frames.len() as u64).to_le_bytes()].concat();
        let file = launch.files()[2];
        rustix::io::pwrite(file, &header, 0).expect("write");
        rustix::io::pwrite(file, &frames, FRAMES_START).expect("write");
        let accepted = launch.mutation.finish_export().is_ok();
        drop(launch);
        if accepted {
            let fork = instance.fork().expect("fork");
            // The original is frozen still.
            let exported = fork.frames().expect("frames");
            assert!(exported.iter().expect("frames").len() > 0);
            subject.exercise(fork, &[]);
            *instance = subject.frozen();
        }
    });
});

/// Makes frames of places where the program can stop: two bytes say where, the values follow.
fn arrange(subject: &Subject, mut data: &[u8]) -> Vec<u8> {
    let safepoints = &subject.program.maps().expect("maps").safepoints;
    let mut frames = Vec::new();
    while let [low, high, rest @ ..] = data {
        let index = usize::from(u16::from_le_bytes([*low, *high])) % safepoints.len();
        let safepoint = &safepoints[index];
        frames.extend(safepoint.function.to_le_bytes());
        frames.extend(safepoint.code_offset.to_le_bytes());
        let types = safepoint.locals.iter().map(|(_, ty)| ty).chain(&safepoint.operands);
        let size: u32 = types.map(|ty| ty.slot_size()).sum();
        let (values, rest) = rest.split_at(rest.len().min(size as usize));
        frames.extend(values);
        frames.extend(vec![0; size as usize - values.len()]);
        data = rest;
    }
    frames
}
