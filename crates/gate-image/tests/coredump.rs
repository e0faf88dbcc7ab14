//! Core dumps, read by the tools' own readers.

use gate_compiler::Value;
use gate_image::{CoreDump, CoreDumpError, CoreFrame, CoreMemory, MemoryContents};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::iter;
use std::ops::Range;
use wasmparser::{
    BinaryReader, CoreDumpInstancesSection, CoreDumpModulesSection, CoreDumpSection, CoreDumpStackSection,
    CoreDumpValue, Parser, Payload, Validator, WasmFeatures,
};

/// A memory with some pages that are not zero.
#[derive(Default)]
struct Memory {
    pages: BTreeMap<u64, Vec<u8>>,
}

const PAGE: u64 = 4096;

impl Memory {
    fn with(mut self, page: u64, byte: u8) -> Self {
        self.pages.insert(page, vec![byte; PAGE as usize]);
        self
    }
}

impl MemoryContents for Memory {
    fn extents(&self) -> io::Result<Vec<Range<u64>>> {
        Ok(self.pages.keys().map(|page| page * PAGE..(page + 1) * PAGE).collect())
    }

    fn read(&self, addr: u64, buf: &mut [u8]) -> io::Result<()> {
        for (i, byte) in buf.iter_mut().enumerate() {
            let addr = addr + i as u64;
            *byte = self.pages.get(&(addr / PAGE)).map_or(0, |page| page[(addr % PAGE) as usize]);
        }
        Ok(())
    }
}

fn write(dump: &CoreDump<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    dump.write(&mut out).expect("write");
    Validator::new_with_features(WasmFeatures::all()).validate_all(&out).expect("a valid module");
    out
}

#[test]
fn readers_find_what_was_written() {
    let frames = [
        CoreFrame {
            function: 7,
            body_offset: 0x1234,
            locals: vec![(1, Value::I32(-5)), (3, Value::F64(0x7ff8_0000_0000_0001)), (4, Value::V128(1))],
            operands: vec![Value::I64(i64::MIN), Value::F32(0x7fc0_0001), Value::FuncRef(Some(2))],
        },
        CoreFrame { function: 0, body_offset: 0, locals: vec![], operands: vec![] },
    ];
    let globals = [
        (Value::I32(-1), true),
        (Value::I64(1 << 40), false),
        (Value::F32(0xffc0_0001), true),
        (Value::F64(0x4000_0000_0000_0000), false),
        (Value::V128(3), true),
        (Value::FuncRef(Some(9)), false),
        (Value::ExternRef(None), true),
    ];
    let (first, second) =
        (Memory::default().with(1, 7).with(2, 8).with(1_048_575, 9), Memory::default().with(0, 1));
    let memories = [
        CoreMemory { size: 4 << 30, max_pages: Some(65536), memory64: false, contents: &first },
        CoreMemory { size: 1 << 16, max_pages: None, memory64: false, contents: &second },
    ];
    let wasm = write(&CoreDump { name: "a.wasm", frames: &frames, globals: &globals, memories: &memories });

    let mut seen = Vec::new();
    for payload in Parser::new(0).parse_all(&wasm) {
        match payload.unwrap() {
            Payload::CustomSection(section) => {
                let reader = BinaryReader::new(section.data(), 0);
                seen.push(section.name().to_owned());
                match section.name() {
                    "core" => assert_eq!(CoreDumpSection::new(reader).unwrap().name, "a.wasm"),
                    "coremodules" => {
                        assert_eq!(CoreDumpModulesSection::new(reader).unwrap().modules, ["a.wasm"]);
                    }
                    "coreinstances" => {
                        let instances = CoreDumpInstancesSection::new(reader).unwrap().instances;
                        assert_eq!(instances.len(), 1);
                        assert_eq!(instances[0].module_index, 0);
                        assert_eq!(instances[0].memories, [0, 1]);
                        assert_eq!(instances[0].globals, [0, 1, 2, 3, 4, 5, 6]);
                    }
                    "corestack" => check_stack(&CoreDumpStackSection::new(reader).unwrap()),
                    other => panic!("{other}"),
                }
            }
            Payload::MemorySection(section) => {
                let sizes: Vec<_> =
                    section.into_iter().map(|m| m.map(|m| (m.initial, m.maximum)).unwrap()).collect();
                assert_eq!(sizes, [(65536, Some(65536)), (1, None)]);
                seen.push("memory".into());
            }
            Payload::GlobalSection(section) => {
                let mutable: Vec<_> = section.into_iter().map(|g| g.unwrap().ty.mutable).collect();
                assert_eq!(mutable, [true, false, true, false, true, false, true]);
                seen.push("global".into());
            }
            Payload::DataSection(section) => {
                let data: Vec<_> = section.into_iter().map(|d| segment(&d.unwrap())).collect();
                assert_eq!(
                    data,
                    [(0, PAGE as i32, 2 * PAGE, 7), (0, -(PAGE as i32), PAGE, 9), (1, 0, PAGE, 1)],
                    "memory, offset, size and first byte"
                );
                seen.push("data".into());
            }
            Payload::Version { .. } | Payload::End(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["core", "coremodules", "coreinstances", "corestack", "memory", "global", "data"]);
}

fn check_stack(stack: &CoreDumpStackSection<'_>) {
    assert_eq!((stack.name, stack.frames.len()), ("main", 2));
    let frame = &stack.frames[0];
    assert_eq!((frame.instanceidx, frame.funcidx, frame.codeoffset), (0, 7, 0x1234));
    let [
        CoreDumpValue::Missing,
        CoreDumpValue::I32(-5),
        CoreDumpValue::Missing,
        CoreDumpValue::F64(nan),
        CoreDumpValue::Missing,
    ] = frame.locals.as_slice()
    else {
        panic!("{:?}", frame.locals)
    };
    assert_eq!(nan.bits(), 0x7ff8_0000_0000_0001);
    let [CoreDumpValue::I64(i64::MIN), CoreDumpValue::F32(nan), CoreDumpValue::Missing] =
        frame.stack.as_slice()
    else {
        panic!("{:?}", frame.stack)
    };
    assert_eq!(nan.bits(), 0x7fc0_0001);
    assert_eq!((stack.frames[1].funcidx, stack.frames[1].locals.len()), (0, 0));
}

fn segment(data: &wasmparser::Data<'_>) -> (u32, i32, u64, u8) {
    let wasmparser::DataKind::Active { memory_index, offset_expr } = &data.kind else {
        panic!("a passive segment");
    };
    let Ok(wasmparser::Operator::I32Const { value }) = offset_expr.get_operators_reader().read() else {
        panic!("not a constant");
    };
    (*memory_index, value, data.data.len() as u64, data.data[0])
}

#[test]
fn scattered_memory_makes_no_more_segments_than_tools_read() {
    // Every other page of 1 GiB.
    struct Scattered;
    impl MemoryContents for Scattered {
        fn extents(&self) -> io::Result<Vec<Range<u64>>> {
            Ok(iter::once(0..1 << 30).collect())
        }
        fn read(&self, addr: u64, buf: &mut [u8]) -> io::Result<()> {
            buf.fill(0);
            for (i, block) in buf.chunks_mut(PAGE as usize).enumerate() {
                block[0] = ((addr / PAGE + i as u64) % 2) as u8;
            }
            Ok(())
        }
    }
    /// Reads along, without keeping it.
    #[derive(Default)]
    struct Sizes(u64);
    impl Write for Sizes {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0 += buf.len() as u64;
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let memories = [CoreMemory { size: 1 << 30, max_pages: None, memory64: false, contents: &Scattered }];
    let mut sizes = Sizes::default();
    CoreDump { name: "x", frames: &[], globals: &[], memories: &memories }.write(&mut sizes).unwrap();
    // Had the gaps been left out, it would be half as much.
    assert!(sizes.0 > (1 << 30) - (1 << 20), "{}", sizes.0);
}

#[test]
fn what_cannot_be_read_or_written_is_told() {
    struct Broken;
    impl MemoryContents for Broken {
        fn extents(&self) -> io::Result<Vec<Range<u64>>> {
            Ok(iter::once(0..1 << 16).collect())
        }
        fn read(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
    let memories = [CoreMemory { size: 1 << 16, max_pages: None, memory64: false, contents: &Broken }];
    let dump = CoreDump { name: "x", frames: &[], globals: &[], memories: &memories };
    assert!(matches!(dump.write(&mut Vec::new()), Err(CoreDumpError::Read(_))));
    let dump = CoreDump { name: "x", frames: &[], globals: &[], memories: &[] };
    let mut small = [0; 20];
    assert!(matches!(dump.write(&mut small.as_mut_slice()), Err(CoreDumpError::Write(_))));
    // More frames' worth of locals than a section can hold.
    let frame = CoreFrame {
        function: 0,
        body_offset: 0,
        locals: vec![(40_000_000, Value::I32(0))],
        operands: vec![],
    };
    let frames = vec![frame; 110];
    let dump = CoreDump { name: "x", frames: &frames, globals: &[], memories: &[] };
    assert!(matches!(
        dump.write(&mut io::sink()),
        Err(CoreDumpError::TooLarge { section: "corestack", size }) if size > u32::MAX.into()
    ));
}
