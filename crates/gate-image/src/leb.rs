//! Numbers of variable size, as in WebAssembly modules.

/// Largest encoded size of a 32-bit number.
pub(crate) const MAX_U32_SIZE: usize = 5;

/// Appends a number, in as few bytes as possible.
pub(crate) fn push(buf: &mut Vec<u8>, mut value: u64) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return buf.push(byte);
        }
        buf.push(byte | 0x80);
    }
}

/// Appends a signed number, in as few bytes as possible.
pub(crate) fn push_signed(buf: &mut Vec<u8>, mut value: i64) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if (value == 0 && byte & 0x40 == 0) || (value == -1 && byte & 0x40 != 0) {
            return buf.push(byte);
        }
        buf.push(byte | 0x80);
    }
}

/// Encoded size of a number.
pub(crate) fn size(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Reads bytes one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(size)?;
        self.rest = rest;
        Some(head)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// A 32-bit number. `None` if there is none, or one that is too large or needlessly long beyond five bytes.
    pub(crate) fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.number(MAX_U32_SIZE)?).ok()
    }

    /// A 64-bit number.
    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.number(10)
    }

    fn number(&mut self, max_size: usize) -> Option<u64> {
        let mut value = 0;
        for index in 0..max_size {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if index == 9 && bits > 1 {
                return None;
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for value in (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit]).chain([u64::MAX]) {
            let mut buf = Vec::new();
            push(&mut buf, value);
            assert_eq!(buf.len(), size(value), "{value}");
            assert_eq!(Cursor::new(&buf).u64(), Some(value));
            assert_eq!(Cursor::new(&buf).u32(), u32::try_from(value).ok());
            assert_eq!(Cursor::new(&buf[..buf.len() - 1]).u64(), None);
        }
        assert_eq!(Cursor::new(&[0xff; 10]).u64(), None);
        assert_eq!(Cursor::new(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]).u32(), None);
    }

    #[test]
    fn signed_numbers_are_those_of_modules() {
        for value in
            [0, 1, -1, 63, 64, -64, -65, i64::from(i32::MIN), i64::from(i32::MAX), i64::MIN, i64::MAX]
        {
            let mut buf = Vec::new();
            push_signed(&mut buf, value);
            let mut reader = wasmparser::BinaryReader::new(&buf, 0);
            assert_eq!(reader.read_var_i64().unwrap(), value);
            assert!(reader.eof());
        }
    }
}
