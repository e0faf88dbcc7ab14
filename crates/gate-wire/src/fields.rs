//! Fields of a saved state, one after the other. Everything is little-endian.

/// What is said of a state that is shorter than it says.
const TRUNCATED: &str = "it ends too early";

/// Takes fields off the beginning of a state, which may come from anywhere.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Begins at the beginning.
    pub const fn new(state: &'a [u8]) -> Self {
        Self { rest: state }
    }

    /// A number of four bytes.
    pub fn u32(&mut self) -> Result<u32, &'static str> {
        self.chunk().map(u32::from_le_bytes)
    }

    /// A number of eight bytes.
    pub fn u64(&mut self) -> Result<u64, &'static str> {
        self.chunk().map(u64::from_le_bytes)
    }

    /// Bytes after their number, which takes four bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], &'static str> {
        let size = self.u32()? as usize;
        let (bytes, rest) = self.rest.split_at_checked(size).ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Whether there are no more fields.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Makes sure that there are no more fields.
    pub const fn end(self) -> Result<(), &'static str> {
        if self.is_empty() { Ok(()) } else { Err("something follows its end") }
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (&chunk, rest) = self.rest.split_first_chunk().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(chunk)
    }
}

/// Appends bytes after their number, as [`Fields::bytes`] takes them off.
pub fn put_bytes(out: &mut impl Extend<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_their_order() {
        let state = *b"\x01\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0abc";
        let mut fields = Fields::new(&state);
        assert_eq!((fields.u32(), fields.u64()), (Ok(1), Ok(2)));
        assert!(fields.end().is_err());
        assert_eq!(fields.bytes(), Ok(&b"abc"[..]));
        assert_eq!((fields.end(), fields.u32()), (Ok(()), Err(TRUNCATED)));
        for end in 12..state.len() {
            let mut fields = Fields::new(&state[12..end]);
            assert_eq!(fields.bytes(), Err(TRUNCATED), "{end}");
        }
    }
}
