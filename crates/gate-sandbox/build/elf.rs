//! Executables made from images.

/// Size of what precedes the image in the file and in memory: the file header and two program headers, and then what
/// aligns the image.
pub(crate) const HEADER_SIZE: usize = 192;

const FILE_HEADER_SIZE: u16 = 64;
const PROGRAM_HEADER_SIZE: u16 = 56;

/// Makes an executable with one segment, which is not writable, and a stack, which is not executable. It is at the
/// given address.
///
/// One segment is one mapping: each takes time whenever the program is started.
pub(crate) fn wrap(machine: u16, addr: u64, image: &[u8]) -> Vec<u8> {
    const ET_EXEC: u16 = 2;
    const PT_LOAD: u32 = 1;
    const PT_GNU_STACK: u32 = 0x6474_e551;
    const EXECUTE: u32 = 1;
    const WRITE: u32 = 2;
    const READ: u32 = 4;

    let size = (HEADER_SIZE + image.len()) as u64;
    let mut file = Vec::new();
    // 64-bit, little-endian, version 1, System V.
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend(ET_EXEC.to_le_bytes());
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend((addr + HEADER_SIZE as u64).to_le_bytes()); // Entry.
    file.extend(u64::from(FILE_HEADER_SIZE).to_le_bytes()); // Offset of the program headers.
    file.extend(0u64.to_le_bytes()); // There are no section headers.
    file.extend(0u32.to_le_bytes()); // Flags.
    for number in [FILE_HEADER_SIZE, PROGRAM_HEADER_SIZE, 2, 0, 0, 0] {
        file.extend(number.to_le_bytes());
    }
    // Flags; then offset, virtual and physical address, size in the file, size in memory, alignment.
    let mut segment = |kind: u32, flags: u32, numbers: [u64; 6]| {
        file.extend(kind.to_le_bytes());
        file.extend(flags.to_le_bytes());
        numbers.iter().for_each(|n| file.extend(n.to_le_bytes()));
    };
    segment(PT_LOAD, READ | EXECUTE, [0, addr, addr, size, size, crate::PAGE_SIZE as u64]);
    segment(PT_GNU_STACK, READ | WRITE, [0, 0, 0, 0, 0, 16]);
    file.resize(HEADER_SIZE, 0);
    file.extend(image);
    file
}
