//! Why a program stopped.

use core::fmt;

macro_rules! traps {
    ($($(#[$doc:meta])* $variant:ident = $id:literal, $name:literal, $message:literal;)*) => {
        /// Reason why a program stopped running.
        ///
        /// The numbers are part of the guest ABI. Numbers 11 to 13 refine what the original reported as 5 to 9; 14 to 16
        /// are of instructions that it did not have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum TrapId {
            $($(#[$doc])* $variant = $id,)*
        }

        impl TrapId {
            /// All traps, by ascending number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The trap with the given number.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($id => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Identifier for logs and interfaces, such as `memory_access_out_of_bounds`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What happened, in words.
            pub const fn message(self) -> &'static str {
                match self {
                    $(Self::$variant => $message,)*
                }
            }
        }
    };
}

traps! {
    /// No trap: the program returned or exited.
    Exit = 0, "exit", "exit";
    /// There is no function to run.
    NoFunction = 1, "no_function", "no function to run";
    /// The program was suspended and can go on.
    Suspended = 2, "suspended", "suspended";
    /// An `unreachable` instruction was executed.
    Unreachable = 3, "unreachable", "unreachable instruction executed";
    /// The stack is full.
    CallStackExhausted = 4, "call_stack_exhausted", "call stack exhausted";
    /// A load, store or bulk operation went beyond a linear memory.
    MemoryAccessOutOfBounds = 5, "memory_access_out_of_bounds", "out of bounds memory access";
    /// An indirect call's index is beyond its table.
    IndirectCallIndexOutOfBounds = 6, "indirect_call_index_out_of_bounds", "undefined element";
    /// An indirect call's function has another type than the call.
    IndirectCallSignatureMismatch = 7, "indirect_call_signature_mismatch", "indirect call type mismatch";
    /// Integer division or remainder by zero.
    IntegerDivideByZero = 8, "integer_divide_by_zero", "integer divide by zero";
    /// The result of a division or conversion does not fit its type.
    IntegerOverflow = 9, "integer_overflow", "integer overflow";
    /// A breakpoint was reached.
    Breakpoint = 10, "breakpoint", "breakpoint";
    /// `table.get`, `table.set` or a bulk operation went beyond a table.
    TableAccessOutOfBounds = 11, "table_access_out_of_bounds", "out of bounds table access";
    /// An indirect call's table element is null.
    IndirectCallToNull = 12, "indirect_call_to_null", "uninitialized element";
    /// A NaN was converted to an integer.
    InvalidConversionToInteger = 13, "invalid_conversion_to_integer", "invalid conversion to integer";
    /// No function on the stack catches an exception that was thrown.
    UncaughtException = 14, "uncaught_exception", "uncaught exception";
    /// A null reference was used as something.
    NullReference = 15, "null_reference", "null reference";
    /// The program refers to more exceptions at the same time than there is room for.
    TooManyExceptions = 16, "too_many_exceptions", "too many exceptions";
    /// The program used something that its policy does not support.
    AbiDeficiency = 27, "abi_deficiency", "unsupported host function behavior";
    /// The program broke a rule of the guest ABI.
    AbiViolation = 28, "abi_violation", "guest ABI violated";
    /// Gate or the host is at fault.
    InternalError = 29, "internal_error", "internal error";
    /// The program was killed.
    Killed = 30, "killed", "killed";
}

impl fmt::Display for TrapId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

#[cfg(test)]
mod tests {
    use super::TrapId;

    #[test]
    fn numbers_map_back() {
        for &trap in TrapId::ALL {
            assert_eq!(TrapId::from_number(trap as u32), Some(trap));
        }
        assert_eq!(TrapId::from_number(17), None);
        assert_eq!(TrapId::from_number(u32::MAX), None);
    }
}
