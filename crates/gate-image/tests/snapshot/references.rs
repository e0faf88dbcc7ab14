//! References to exceptions, and to functions of a type.

use crate::Subject;
use crate::hostile::{custom, find, join, refused, split};
use crate::process::leave;
use gate_compiler::Value;
use gate_image::{Instance, Problem, Snapshot, SnapshotError};
use gate_wire::context::EXCEPTION_REFERENCE;

const SECTION: &str = "gate.exceptions";

/// Has an exception in a global, which has another one in it.
fn with_exceptions() -> (Subject, Instance) {
    let subject = Subject::new(
        r#"(module
            (tag $number (param i64))
            (tag $nested (param exnref i32))
            (global (mut exnref) (ref.null exn))
            (table 3 exnref)
            (func (export "run")))"#,
    );
    let mut instance = subject.instance();
    let info = subject.program.info();
    let exceptions = info.exceptions.as_ref().unwrap();
    let record = |number: u32| exceptions.distance - number * exceptions.record_size;
    let reference = |number: u32| u64::from(EXCEPTION_REFERENCE + number);
    let number = [1, 0x1234_5678_9abc_def0_u64].map(u64::to_le_bytes).concat();
    let nested = [2, reference(7), 5].map(u64::to_le_bytes).concat();
    leave(&mut instance, "run", record(7), &number);
    leave(&mut instance, "run", record(9), &nested);
    leave(&mut instance, "run", info.globals[0].distance, &reference(9).to_le_bytes());
    let element = info.tables[0].distance - 4;
    leave(&mut instance, "run", element, &(reference(7) as u32).to_le_bytes());
    (subject, instance)
}

#[test]
fn exceptions_are_kept() {
    let (subject, instance) = with_exceptions();
    let snapshot = subject.snapshot(&instance, &[]);
    let restored = subject.restore(&snapshot);
    // The same ones, in records of other numbers.
    assert_eq!(subject.snapshot(&restored, &[]), snapshot);
    let sections = split(&snapshot);
    let contents = &sections[find(&sections, SECTION)].1;
    let nested = [1, 2, 0x69, 2, 0, 0, 0, 0x7f, 5, 0, 0, 0];
    let number = [0, 1, 0x7e, 0xf0, 0xde, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12];
    assert!(contents.ends_with(&[&[2][..], &nested, &number].concat()));
}

#[test]
fn exceptions_are_those_of_the_module() {
    let (subject, instance) = with_exceptions();
    let snapshot = subject.snapshot(&instance, &[]);
    let changed = |contents: Option<&[u8]>| {
        let mut sections = split(&snapshot);
        let index = find(&sections, SECTION);
        match contents {
            Some(contents) => sections[index] = custom(SECTION, contents),
            None => drop(sections.remove(index)),
        }
        join(&sections)
    };
    let number = [0, 1, 0x7e, 0, 0, 0, 0, 0, 0, 0, 0];
    let list = |first: &[u8]| [&[2][..], first, &number].concat();
    for (contents, message) in [
        // No such tag; too few values; a value of another type; a reference to what there is not.
        (list(&[2, 0]), "no exception 1"),
        (list(&[0, 0]), "no exception 1"),
        (list(&[0, 1, 0x7f, 0, 0, 0, 0]), "no exception 1"),
        (list(&[1, 2, 0x69, 3, 0, 0, 0, 0x7f, 5, 0, 0, 0]), "no exception 1"),
        (list(&[1, 2, 0x69, 3]), "invalid exception"),
        ([2].to_vec(), "invalid exception"),
        ([0].to_vec(), "invalid reference in a global"),
    ] {
        refused(&subject, &changed(Some(&contents)), message);
    }
    refused(&subject, &changed(None), "invalid reference in a global");
}

#[test]
fn what_a_process_leaves_is_checked() {
    let (subject, mut instance) = with_exceptions();
    let exceptions = subject.program.info().exceptions.as_ref().unwrap();
    let tag = exceptions.distance - 7 * exceptions.record_size;
    leave(&mut instance, "run", tag, &[9]);
    let error = Snapshot::new(&instance, &subject.wasm, &[]).unwrap_err();
    assert!(matches!(error, SnapshotError::Unfit(Problem::Exception(7))), "{error}");
    leave(&mut instance, "run", subject.program.info().globals[0].distance, &[0; 8]);
    leave(&mut instance, "run", subject.program.info().tables[0].distance - 4, &[1, 0, 0, 0]);
    assert!(Snapshot::new(&instance, &subject.wasm, &[]).is_err());
}

#[test]
fn functions_are_of_the_type_of_the_reference() {
    let subject = Subject::new(
        r#"(module
            (type $t (func (param i32)))
            (func $other (export "run"))
            (func $right (type $t))
            (global (mut (ref null $t)) (ref.null $t))
            (global (mut (ref $t)) (ref.func $right))
            (table 2 9 (ref $t) (ref.func $right)))"#,
    );
    let mut instance = subject.instance();
    let snapshot = subject.snapshot(&instance, &[]);
    subject.restore(&snapshot);
    let info = subject.program.info();
    let (global, table) = (info.globals[0].distance, info.tables[0].distance);
    let right = Value::FuncRef(Some(1)).to_slot().to_le_bytes();
    let wrong = Value::FuncRef(Some(0)).to_slot().to_le_bytes();
    leave(&mut instance, "run", global, &right[..8]);
    subject.restore(&subject.snapshot(&instance, &[]));
    for (place, size) in [(global, 8), (table, 4), (info.globals[1].distance, 8)] {
        leave(&mut instance, "run", place, &wrong[..size]);
        let error = Snapshot::new(&instance, &subject.wasm, &[]).unwrap_err();
        assert!(matches!(error, SnapshotError::Unfit(Problem::ReferenceType { .. })), "{error}");
        leave(&mut instance, "run", place, &right[..size]);
    }
    // Nor may it be null if its type says so.
    for (place, size) in [(table, 4), (info.globals[1].distance, 8)] {
        leave(&mut instance, "run", place, &[0; 8][..size]);
        assert!(Snapshot::new(&instance, &subject.wasm, &[]).is_err());
        leave(&mut instance, "run", place, &right[..size]);
    }
    // What is added to a table keeps what it was given.
    leave(&mut instance, "run", info.tables[0].desc_distance - 8, &[5, 0, 0, 0]);
    leave(&mut instance, "run", table - 8, &[&right[..4], &right[..4], &right[..4]].concat());
    subject.restore(&subject.snapshot(&instance, &[]));
}
