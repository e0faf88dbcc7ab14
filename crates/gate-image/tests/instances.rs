//! Instances, before and after they run.

use gate_compiler::Value::{self, F32, FuncRef, I32, I64};
use gate_compiler::{CompiledModule, Options, WasiImports};
use gate_image::{
    Exit, ImageError, Instance, InstanceError, InstanceOptions, MemoryError, Program, ProgramError, Purpose,
};
use gate_wire::load::{MemoryMap, STATE_FILE_STRIDE};
use gate_wire::trap::TrapId;

fn compile(wat: &str) -> CompiledModule {
    let options = Options { threads: Some(1), ..Options::default() };
    gate_compiler::compile(&wat::parse_str(wat).unwrap(), &options, &WasiImports).unwrap()
}

fn program(wat: &str) -> Program {
    Program::new(compile(wat)).unwrap()
}

fn instance(wat: &str) -> Instance {
    Instance::new(&program(wat), &InstanceOptions::default()).unwrap()
}

fn program_error<T: std::fmt::Debug>(result: Result<T, InstanceError>) -> ProgramError {
    match result.unwrap_err() {
        InstanceError::Program(error) => error,
        error => panic!("{error}"),
    }
}

#[test]
fn text_is_sealed() {
    use rustix::fs::{SealFlags, fcntl_get_seals};
    let program = program("(module (func (export \"f\")))");
    let seals = fcntl_get_seals(program.text()).unwrap();
    assert!(seals.contains(SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL));
    assert!(rustix::io::pwrite(program.text(), &[0], 0).is_err());
    assert!(rustix::fs::ftruncate(program.text(), 0).is_err());
    assert_eq!(rustix::fs::fstat(program.text()).unwrap().st_size as u64, program.text_size());
}

#[test]
fn a_new_instance_has_its_data_and_takes_little_space() {
    let mut instance = instance(
        r#"(module (memory 100 200)
            (data (i32.const 70000) "hello\00\00\00")
            (data (i32.const 6553590) "0123456789")
            (data (i32.const 6553592) "xy")
            (func (export "f")))"#,
    );
    let memory = instance.memory(0).unwrap();
    assert!(instance.memory(1).is_none());
    assert_eq!(memory.size().unwrap(), 100 * 65536);
    let mut buf = [0xff; 8];
    memory.read(70000, &mut buf).unwrap();
    assert_eq!(&buf, b"hello\0\0\0");
    let mut buf = [0; 10];
    memory.read(6_553_590, &mut buf).unwrap();
    assert_eq!(&buf, b"01xy456789");

    let offset = STATE_FILE_STRIDE;
    let map = MemoryMap { size: 100 * 65536, max: 200 * 65536, offset, base_size: 0, base_offset: 0 };
    assert_eq!(instance.memory_maps().unwrap(), [map]);

    instance.set_entry("f", &[]).unwrap();
    let launch = instance.launch(4096, Purpose::Run).unwrap();
    let request = launch.request;
    assert_eq!(request.state_offset, offset - instance.stack_size() - instance.instance_size());
    assert_eq!(launch.memories, [map]);
    let mutation = launch.mutation;
    let stat = rustix::fs::fstat(mutation.file()).unwrap();
    assert_eq!(stat.st_size as u64, offset + 200 * 65536);
    assert!(stat.st_blocks * 512 <= 5 * 4096, "{}", stat.st_blocks);
    assert!(rustix::fs::ftruncate(mutation.file(), 0).is_err());
}

#[test]
fn guest_memory_is_bounded() {
    let instance = instance("(module (memory 1))");
    let memory = instance.memory(0).unwrap();
    memory.write(65535, &[1]).unwrap();
    memory.write(65536, &[]).unwrap();
    for (addr, len) in [(65536, 1), (65535, 2), (u64::MAX, 1), (0, 65537), (1 << 32, 1)] {
        let error = memory.write(addr, &vec![1; len]).unwrap_err();
        assert!(matches!(error, MemoryError::OutOfBounds { size: 65536, .. }), "{error}");
        assert!(memory.read(addr, &mut vec![0; len]).is_err());
        assert!(memory.check(addr, len as u64).is_err());
    }
    assert_eq!(gate_image::GuestMemory::empty().size().unwrap(), 0);
    assert!(gate_image::GuestMemory::empty().read(0, &mut [0]).is_err());
}

#[test]
fn limits_name_both_numbers() {
    let program = program("(module (memory 3))");
    let limit = |max_memory| Instance::new(&program, &InstanceOptions { max_memory, ..Default::default() });
    let error = program_error(limit(Some(3 * 65536 - 1)));
    assert!(error.to_string().contains("196608") && error.to_string().contains("196607"), "{error}");
    assert_eq!(limit(Some(3 * 65536)).unwrap().memory_maps().unwrap()[0].max, 3 * 65536);
    assert_eq!(limit(Some(5 * 65536 - 1)).unwrap().memory_maps().unwrap()[0].max, 4 * 65536);
    assert_eq!(limit(None).unwrap().memory_maps().unwrap()[0].max, 1 << 32);
    for stack_size in [0, 1 << 12, (1 << 30) + 1, u64::MAX] {
        let error =
            Instance::new(&program, &InstanceOptions { stack_size, ..Default::default() }).unwrap_err();
        assert!(matches!(error, InstanceError::Host(ImageError::Option { .. })), "{error}");
    }
    let options = InstanceOptions { stack_size: 200_001, ..Default::default() };
    assert_eq!(Instance::new(&program, &options).unwrap().stack_size(), 49 * 4096);
}

#[test]
fn entries_are_checked() {
    let mut instance = instance(
        r#"(module
            (memory (export "memory") 1)
            (func (export "two") (param i32 f32))
            (func (export "none"))
            (func (export "i32") (result i32) (i32.const 1))
            (func (export "i64") (result i64) (i64.const 1))
            (func (export "ref") (param funcref))
            (func))"#,
    );
    let mut check = |name: &str, args: &[Value]| instance.set_entry(name, args);
    check("two", &[I32(1), F32(2)]).unwrap();
    check("ref", &[FuncRef(Some(5))]).unwrap();
    check("ref", &[FuncRef(None)]).unwrap();
    assert!(matches!(program_error(check("absent", &[])), ProgramError::NoExport { .. }));
    assert!(matches!(program_error(check("memory", &[])), ProgramError::NotFunction { .. }));
    assert!(matches!(program_error(check("ref", &[FuncRef(Some(6))])), ProgramError::NoSuchFunction { .. }));
    for args in [&[][..], &[I32(1)], &[I32(1), I32(2)], &[I32(1), F32(2), I64(3)]] {
        let error = program_error(check("two", args));
        assert!(error.to_string().contains("(i32 f32) -> ()"), "{error}");
    }

    instance.set_program_entry("none").unwrap();
    instance.set_program_entry("i32").unwrap();
    for name in ["two", "i64"] {
        let error = program_error(instance.set_program_entry(name));
        assert!(error.to_string().starts_with("wrong entry signature"), "{error}");
    }
    instance.set_entry_function(1, &[]).unwrap();
    for function in [5, 6, u32::MAX] {
        let error = program_error(instance.set_entry_function(function, &[]));
        assert!(matches!(error, ProgramError::NotCallable { .. }), "{error}");
    }
}

#[test]
fn segments_that_do_not_fit_are_a_trap() {
    let program = program("(module (memory 1) (data (i32.const 65536) \"x\"))");
    let error = program_error(Instance::new(&program, &InstanceOptions::default()));
    assert!(
        matches!(error, ProgramError::Instantiation { trap: TrapId::MemoryAccessOutOfBounds, .. }),
        "{error}"
    );
}

#[test]
fn a_state_belongs_to_one_process_at_a_time() {
    let mut instance = instance("(module (func (export \"f\")))");
    instance.set_entry("f", &[]).unwrap();
    let launch = instance.launch(4096, Purpose::Run).unwrap();
    assert_eq!(program_error(instance.set_entry("f", &[])), ProgramError::Running);
    assert_eq!(program_error(instance.launch(4096, Purpose::Run)), ProgramError::Running);
    drop(launch);
    // It has never said that it ended.
    assert_eq!(instance.exit().unwrap(), Exit::None);
    assert!(instance.results().unwrap().is_empty());
    assert!(matches!(program_error(instance.launch(4096, Purpose::Run)), ProgramError::Ended { .. }));
    assert_eq!(program_error(instance.launch(4096, Purpose::EXPORT)), ProgramError::NotFrozen);
}

#[test]
fn inconsistent_modules_are_refused() {
    let good = compile("(module (memory 1) (data (i32.const 0) \"abc\") (func (export \"f\") (param i32)))");
    let refused = |change: &dyn Fn(&mut CompiledModule)| {
        let mut module = good.clone();
        change(&mut module);
        let result = Program::new(module).map_err(InstanceError::from).and_then(|program| {
            Instance::new(&program, &InstanceOptions::default())?.set_entry("f", &[I32(1)])
        });
        assert!(matches!(result, Err(InstanceError::Host(ImageError::Image { .. }))), "{result:?}");
    };
    refused(&|m| m.text.clear());
    refused(&|m| m.text.truncate(100));
    refused(&|m| m.info.trampolines[0].text_offset = u32::MAX);
    refused(&|m| m.info.layout.instance_size = 0);
    refused(&|m| m.info.layout.instance_size += 1);
    refused(&|m| m.info.layout.entry_distance = u32::MAX);
    refused(&|m| m.info.layout.entry_size = 0);
    refused(&|m| m.info.memories[0].min_pages = u64::MAX);
    refused(&|m| m.info.memories[0].desc_distance = 0);
    refused(&|m| m.info.memories[0].desc_distance = u32::MAX);
    refused(&|m| m.info.initial.memory[0].memory = 1);
    refused(&|m| m.info.initial.memory[0].offset = 65534);
    refused(&|m| m.info.initial.memory[0].offset = u64::MAX);
    refused(&|m| m.info.memories = vec![m.info.memories[0]; 101]);
}
