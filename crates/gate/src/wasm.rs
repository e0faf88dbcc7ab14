//! A program's module, which is read again only if it is needed.

use crate::exit::Problem;
use anyhow::anyhow;
use blake3::Hash;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The module of a program that was found in the cache is needed only to write the program's state down, or to look into it.
#[derive(Clone, Debug)]
pub(crate) struct Wasm(Arc<Inner>);

struct Inner {
    /// Locked while it is read: who reads uses the position in the file.
    bytes: Mutex<Option<Arc<Vec<u8>>>>,
    elsewhere: Option<(Hash, Read)>,
}

type Read = Box<dyn Fn() -> Result<Vec<u8>, Problem> + Send + Sync>;

impl Wasm {
    /// A module to be read if it is needed. It must have the hash.
    pub(crate) fn elsewhere(
        hash: Hash,
        read: impl Fn() -> Result<Vec<u8>, Problem> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner { bytes: Mutex::default(), elsewhere: Some((hash, Box::new(read))) }))
    }

    /// The module. It may have to be read.
    pub(crate) fn get(&self) -> Result<Arc<Vec<u8>>, Problem> {
        let mut known = self.0.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some((hash, read))) = (&*known, &self.0.elsewhere) {
            let bytes = read()?;
            if blake3::hash(&bytes) != *hash {
                return Err(Problem::not_readable(anyhow!(
                    "the program's file has been changed since the program was started"
                )));
            }
            *known = Some(Arc::new(bytes));
        }
        Ok(known.as_ref().map(Arc::clone).unwrap_or_default())
    }
}

impl From<Vec<u8>> for Wasm {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Inner { bytes: Mutex::new(Some(Arc::new(bytes))), elsewhere: None }))
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wasm").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_read_once_and_must_be_the_right_one() {
        let wasm = Wasm::elsewhere(blake3::hash(b"abc"), || Ok(b"abc".to_vec()));
        let first = wasm.get().unwrap();
        assert_eq!(**first, *b"abc");
        assert!(Arc::ptr_eq(&first, &wasm.clone().get().unwrap()));
        let wasm = Wasm::elsewhere(blake3::hash(b"abc"), || Ok(b"abd".to_vec()));
        assert!(wasm.get().unwrap_err().to_string().contains("has been changed"));
    }
}
