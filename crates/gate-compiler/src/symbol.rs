//! What compiled code refers to in the text.

use cranelift_codegen::ir::{ExternalName, Function, UserExternalName};

/// Something in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Symbol {
    /// A function, or the thunk of an imported one, by function index.
    Function(u32),
    /// The function table.
    FunctionTable,
    /// The bytes of a passive data segment.
    Data(u32),
    /// The elements of a passive element segment, as they are in tables.
    Elements(u32),
}

impl Symbol {
    /// The symbol as Cranelift names it.
    pub(crate) fn name(self, func: &mut Function) -> ExternalName {
        let (namespace, index) = match self {
            Self::Function(index) => (0, index),
            Self::FunctionTable => (1, 0),
            Self::Data(index) => (2, index),
            Self::Elements(index) => (3, index),
        };
        ExternalName::user(func.declare_imported_user_function(UserExternalName { namespace, index }))
    }

    /// The symbol that a name stands for.
    pub(crate) fn from_name(name: &ExternalName, func: &Function) -> Option<Self> {
        let ExternalName::User(name) = *name else { return None };
        let name = &func.params.user_named_funcs()[name];
        Some(match name.namespace {
            0 => Self::Function(name.index),
            1 => Self::FunctionTable,
            2 => Self::Data(name.index),
            3 => Self::Elements(name.index),
            _ => return None,
        })
    }
}
