//! Layout of packets: see Gate's `docs/guest-abi.md`. Everything is little-endian.

use core::convert::TryInto;

pub(crate) const HEADER_SIZE: usize = 8;
pub(crate) const ALIGNMENT: usize = 8;
pub(crate) const MAX_PACKET_SIZE: usize = 65536;
pub(crate) const MAX_CONTENT_SIZE: usize = MAX_PACKET_SIZE - HEADER_SIZE;

/// Identifier and note.
pub(crate) const DATA_HEADER_SIZE: usize = 8;
pub(crate) const MAX_DATA_SIZE: usize = MAX_CONTENT_SIZE - DATA_HEADER_SIZE;

pub(crate) const MAX_SERVICES: usize = 256;
pub(crate) const MAX_NAME_SIZE: usize = 127;

/// More calls than that cannot be told apart in replies.
pub(crate) const MAX_CALLS: usize = 256;

pub(crate) const CODE_SERVICES: i16 = -1;
pub(crate) const SERVICE_AVAILABLE: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domain {
    Call = 0,
    Info = 1,
    Flow = 2,
    Data = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Header included, padding excluded.
    pub(crate) size: usize,
    pub(crate) code: i16,
    /// None if it is not known here.
    pub(crate) domain: Option<Domain>,
    pub(crate) index: u8,
}

impl Header {
    pub(crate) fn encode(content_size: usize, code: i16, domain: Domain) -> [u8; HEADER_SIZE] {
        let [s0, s1, s2, s3] = ((HEADER_SIZE + content_size) as u32).to_le_bytes();
        let [c0, c1] = code.to_le_bytes();
        [s0, s1, s2, s3, c0, c1, domain as u8, 0]
    }

    /// Reads a header, if it is there.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; HEADER_SIZE] = bytes.get(..HEADER_SIZE)?.try_into().ok()?;
        let [s0, s1, s2, s3, c0, c1, domain, index] = bytes;
        let size = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
        assert!((HEADER_SIZE..=MAX_PACKET_SIZE).contains(&size), "a packet of {size} bytes was received");
        let domain = match domain & 0x0f {
            0 => Some(Domain::Call),
            1 => Some(Domain::Info),
            2 => Some(Domain::Flow),
            3 => Some(Domain::Data),
            _ => None,
        };
        Some(Self { size, code: i16::from_le_bytes([c0, c1]), domain, index })
    }

    pub(crate) fn padded_size(&self) -> usize {
        self.size + padding(self.size)
    }
}

/// How much follows a packet of that size.
pub(crate) fn padding(size: usize) -> usize {
    size.wrapping_neg() % ALIGNMENT
}

/// Two numbers: an entry of a flow packet, or what precedes data.
pub(crate) fn pair(id: i32, value: i32) -> [u8; 8] {
    (u64::from(id as u32) | u64::from(value as u32) << 32).to_le_bytes()
}

/// Takes numbers and bytes from the front of something received. `None` if there are too few.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn bytes(&mut self, size: usize) -> Option<&'a [u8]> {
        if size > self.0.len() {
            return None;
        }
        let (bytes, rest) = self.0.split_at(size);
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.bytes(2)?.try_into().ok()?))
    }

    pub(crate) fn i16(&mut self) -> Option<i16> {
        self.u16().map(|value| value as i16)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.u32().map(|value| value as i32)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }
}
