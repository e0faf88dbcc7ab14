//! A module that is made of the input ends in a real process as it does in wasmi, without suspensions and with some.
#![no_main]

use gate_moves::{Journeys, Subject};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use tokio::runtime::{Builder, Runtime};

thread_local!(static ENGINE: RefCell<Option<(Runtime, Journeys)>> = const { RefCell::new(None) });

/// Greatest number of suspensions of a run.
const SUSPENSIONS: usize = 3;

fuzz_target!(|data: &[u8]| {
    let Some(subject) = Subject::from_bytes(data) else { return };
    ENGINE.with_borrow_mut(|engine| {
        let (runtime, journeys) = engine.get_or_insert_with(|| {
            let runtime = Builder::new_current_thread().enable_all().build().expect("runtime");
            let journeys = runtime.block_on(Journeys::new()).expect("executor");
            (runtime, journeys)
        });
        let report = runtime.block_on(journeys.examine(&subject, SUSPENSIONS, data.len() as u64));
        let report = report.expect("the module is compiled and run");
        assert!(report.differences.is_empty(), "{report}");
    });
});
