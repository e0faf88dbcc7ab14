//! Reads the name section.

use std::collections::HashMap;
use wasmparser::{Name, NameSectionReader};

/// Names of functions. A name section is not part of a module's meaning, so what cannot be read is left out.
pub(super) fn function_names(section: NameSectionReader<'_>) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for subsection in section {
        match subsection {
            Ok(Name::Function(map)) => {
                for naming in map {
                    let Ok(naming) = naming else { break };
                    names.insert(naming.index, naming.name.to_owned());
                }
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    names
}
