//! Instructions of a module.

use wasmparser::{Parser, Payload};

/// Offset of the instruction which the byte at the offset is part of.
pub(crate) fn instruction_at(wasm: &[u8], offset: u32) -> Option<u32> {
    let offset = u64::from(offset);
    for payload in Parser::new(0).parse_all(wasm) {
        let Payload::CodeSectionEntry(body) = payload.ok()? else { continue };
        let range = body.range();
        if !(range.start..range.end).contains(&offset) {
            continue;
        }
        let operators = body.get_operators_reader().ok()?.into_iter_with_offsets();
        let starts = operators.map_while(Result::ok).map(|(_, start)| start);
        return starts
            .take_while(|&start| start <= offset)
            .last()
            .and_then(|start| u32::try_from(start).ok());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_have_starts() {
        let wasm = wat::parse_str("(module (func $f nop call $f i32.const 1000 drop))").unwrap();
        let nop = wasm.windows(3).position(|bytes| bytes == [0x01, 0x10, 0x00]).unwrap() as u32;
        let starts: Vec<_> = (nop - 1..nop + 9).map(|offset| instruction_at(&wasm, offset)).collect();
        let [call, constant, drop, end] = [nop + 1, nop + 3, nop + 6, nop + 7].map(Some);
        assert_eq!(starts, [None, Some(nop), call, call, constant, constant, constant, drop, end, None]);
        assert_eq!(instruction_at(&wasm, 0), None);
        assert_eq!(instruction_at(b"\0asm", 0), None);
    }
}
