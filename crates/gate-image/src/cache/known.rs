//! What is known about files with an identity: small files of 64 bytes, the hash in question and a hash of that.
//!
//! One that is damaged or missing only means that more has to be read.

use super::{Cache, FileIdentity, KNOWN_EXTENSION};
use blake3::{Hash, Hasher};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// The hash is that of the file's contents.
pub(super) const CONTENTS: u8 = 0;

/// The file is an undamaged entry, and the hash is its key.
pub(super) const VERIFIED: u8 = 1;

/// The file is a snapshot that was read, and the hash is the key of what would be kept of it.
pub(super) const READ: u8 = 2;

impl Cache {
    pub(super) fn known(&self, what: u8, identity: &FileIdentity) -> Option<Hash> {
        let name = name(what, identity);
        let mut record = [0; 64];
        File::open(self.known_path(&name)).ok()?.read_exact(&mut record).ok()?;
        let (hash, check) = record.split_first_chunk::<32>()?;
        (*check_of(&name, hash).as_bytes() == *check).then_some(Hash::from_bytes(*hash))
    }

    pub(super) fn set_known(&self, what: u8, identity: &FileIdentity, hash: &Hash) {
        let name = name(what, identity);
        let check = check_of(&name, hash.as_bytes());
        let record = [*hash.as_bytes(), *check.as_bytes()].concat();
        // Without it, the next one has to do more.
        let _ = self.store(&self.known_path(&name), |file| file.write_all_at(&record, 0));
    }

    fn known_path(&self, name: &Hash) -> PathBuf {
        self.dir.join(format!("{}.{KNOWN_EXTENSION}", name.to_hex()))
    }
}

fn name(what: u8, identity: &FileIdentity) -> Hash {
    Hasher::new().update(&[what]).update(identity.as_bytes()).finalize()
}

fn check_of(name: &Hash, hash: &[u8; 32]) -> Hash {
    Hasher::new_keyed(name.as_bytes()).update(hash).finalize()
}
