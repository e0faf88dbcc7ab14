//! Which parts of WebAssembly beyond version 2.0 there are.

use crate::value::{HeapType, ValType};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! features {
    ($($field:ident = $variant:ident, $name:literal, $text:literal;)*) => {
        /// Parts of WebAssembly beyond version 2.0: those which modules may use, or those which a module uses.
        ///
        /// By default all are on: a program that uses any of them can be stopped everywhere, and goes on anywhere.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub struct Features {
            $(#[doc = $text] pub $field: bool,)*
        }

        /// A part of WebAssembly beyond version 2.0.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Feature {
            $(#[doc = $text] $variant,)*
        }

        impl Features {
            /// WebAssembly 2.0.
            pub const NONE: Self = Self { $($field: false,)* };

            /// All that there are.
            pub const ALL: Self = Self { $($field: true,)* };

            /// Whether a feature is one of them.
            pub const fn has(&self, feature: Feature) -> bool {
                match feature {
                    $(Feature::$variant => self.$field,)*
                }
            }

            /// Adds a feature, or takes it away.
            pub const fn set(&mut self, feature: Feature, on: bool) {
                match feature {
                    $(Feature::$variant => self.$field = on,)*
                }
            }
        }

        impl Feature {
            /// All features.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name, mostly that of the proposal by which it came to WebAssembly.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What it is, in a few words.
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

features! {
    tail_calls = TailCalls, "tail-call", "Calls that take the caller's place.";
    exceptions = Exceptions, "exception-handling", "Exceptions that are thrown and caught.";
    legacy_exceptions = LegacyExceptions, "legacy-exceptions",
        "The encoding of exception handling that compilers used before there was a standard one.";
    function_references = FunctionReferences, "function-references",
        "Typed references to functions, and references that are not null.";
    multi_memory = MultiMemory, "multi-memory", "More than one linear memory.";
    extended_const = ExtendedConst, "extended-const", "Arithmetic in constant expressions.";
    const_globals = ConstGlobals, "const-globals",
        "Constant expressions that read any earlier immutable global, not only imported ones.";
    memory64 = Memory64, "memory64", "Linear memories and tables with 64-bit addresses.";
    relaxed_simd = RelaxedSimd, "relaxed-simd", "Relaxed vector instructions, with the results of the deterministic profile.";
}

impl Features {
    /// The features without which there is no value of a type.
    pub(crate) fn of_type(ty: ValType) -> Self {
        let heap = ty.as_reference().map(|ty| ty.heap);
        Self {
            exceptions: heap == Some(HeapType::Exn),
            function_references: matches!(ty, ValType::Ref(_)),
            ..Self::NONE
        }
    }

    /// The features that are in both or in one of them.
    pub fn union(mut self, other: Self) -> Self {
        for feature in other.iter() {
            self.set(feature, true);
        }
        self
    }

    /// The features, in a fixed order.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.iter().copied().filter(move |&feature| self.has(feature))
    }
}

impl Default for Features {
    fn default() -> Self {
        Self::ALL
    }
}

impl Feature {
    /// Whether a program that uses it can be stopped wherever it is, and goes on by a snapshot. What is not is off by default.
    pub const fn is_portable(self) -> bool {
        true
    }

    /// The feature with a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|feature| feature.name() == name)
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sets() {
        for &feature in Feature::ALL {
            assert_eq!(Feature::from_name(feature.name()), Some(feature));
            let mut one = Features::NONE;
            one.set(feature, true);
            assert!(one.has(feature) && one.iter().eq([feature]));
            assert_eq!(Features::NONE.union(one), one);
        }
        assert_eq!(Feature::from_name("threads"), None);
        assert_eq!(Features::ALL.iter().count(), Feature::ALL.len());
    }
}
