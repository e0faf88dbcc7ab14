//! Traps as Cranelift numbers them.

use cranelift_codegen::ir::TrapCode;
use gate_wire::trap::TrapId;

/// The code of an explicit trap.
pub(crate) const fn code(trap: TrapId) -> TrapCode {
    TrapCode::unwrap_user(trap as u8)
}

/// The trap that a code in the compiled function means.
pub(crate) fn id(code: TrapCode) -> TrapId {
    match code {
        TrapCode::STACK_OVERFLOW => TrapId::CallStackExhausted,
        TrapCode::INTEGER_OVERFLOW => TrapId::IntegerOverflow,
        TrapCode::HEAP_OUT_OF_BOUNDS => TrapId::MemoryAccessOutOfBounds,
        TrapCode::INTEGER_DIVISION_BY_ZERO => TrapId::IntegerDivideByZero,
        TrapCode::BAD_CONVERSION_TO_INTEGER => TrapId::InvalidConversionToInteger,
        _ => TrapId::from_number(code.as_raw().get().into()).unwrap_or(TrapId::InternalError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_map_back() {
        for &trap in TrapId::ALL.iter().filter(|&&trap| trap != TrapId::Exit) {
            assert_eq!(id(code(trap)), trap);
        }
    }
}
