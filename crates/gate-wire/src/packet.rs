//! Packets: what programs exchange with services.
//!
//! A stream of packets goes in each direction. Each one begins with a header of [`HEADER_SIZE`] bytes, and is followed by
//! padding up to a multiple of [`ALIGNMENT`]:
//!
//! | offset | size | what |
//! |---|---|---|
//! | 0 | 4 | size in bytes, header included, padding excluded |
//! | 4 | 2 | code: index of a service in the order of discovery, or [`CODE_SERVICES`] |
//! | 6 | 1 | domain, in the lower four bits |
//! | 7 | 1 | index: position in the queue of calls that the packet answers |
//!
//! Source: the ABI which existing guest programs are built against, see `docs/guest-abi.md`. Everything is
//! little-endian. What is read here comes from programs: nothing is assumed about it.

use core::fmt;

/// Size of a header, in bytes.
pub const HEADER_SIZE: usize = 8;

/// Packets are padded to a multiple of this, in bytes.
pub const ALIGNMENT: usize = 8;

/// Largest packet that a program may send, and that every program can receive, in bytes.
pub const MAX_PACKET_SIZE: usize = 65536;

/// Greatest number of services that a program can discover.
pub const MAX_SERVICES: usize = 256;

/// Longest name of a service, in bytes.
pub const MAX_NAME_SIZE: usize = 127;

/// Code of discovery.
pub const CODE_SERVICES: i16 = -1;

/// Size of one entry of a flow packet, in bytes.
pub const FLOW_SIZE: usize = 8;

/// Size of what precedes the bytes of a data packet, in bytes, header not included.
pub const DATA_HEADER_SIZE: usize = 8;

/// In the flags of a discovered service: it is there.
pub const SERVICE_AVAILABLE: u8 = 1;

/// What a packet is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Domain {
    /// A request by the program, or the one reply to it.
    Call = 0,
    /// Something told without being asked.
    Info = 1,
    /// How much may be sent on streams.
    Flow = 2,
    /// A part of a stream.
    Data = 3,
}

/// The beginning of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Size in bytes, header included, padding excluded. Between [`HEADER_SIZE`] and the maximum.
    pub size: u32,
    /// Index of the service, or [`CODE_SERVICES`].
    pub code: i16,
    /// What it is about.
    pub domain: Domain,
    /// Position in the queue of calls that the packet answers.
    pub index: u8,
}

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketError {
    /// It says that it is smaller than a header, or larger than allowed.
    Size(u32),
    /// There is no such domain.
    Domain(u8),
    /// The code is negative without being that of discovery.
    Code(i16),
    /// The content of a packet for discovery does not have the size that its names make up.
    Names,
    /// A service's name is empty or too long.
    NameSize(usize),
    /// A service's name is not UTF-8.
    NameEncoding,
    /// The content of a flow packet is not a number of whole entries.
    FlowSize(usize),
    /// A data packet is too short to say which stream it belongs to.
    DataSize(usize),
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(size) => {
                write!(f, "packet size {size} is not between {HEADER_SIZE} and {MAX_PACKET_SIZE}")
            }
            Self::Domain(domain) => write!(f, "packet domain {domain} is unknown"),
            Self::Code(code) => write!(f, "packet code {code} is negative"),
            Self::Names => f.write_str("discovery packet does not consist of as many names as it says"),
            Self::NameSize(size) => {
                write!(f, "service name of {size} bytes is not between 1 and {MAX_NAME_SIZE}")
            }
            Self::NameEncoding => f.write_str("service name is not UTF-8"),
            Self::FlowSize(size) => {
                write!(f, "flow packet with {size} bytes does not consist of whole entries")
            }
            Self::DataSize(size) => write!(f, "data packet with {size} bytes is too short"),
        }
    }
}

impl core::error::Error for PacketError {}

impl Header {
    /// Reads a header.
    pub fn decode(bytes: [u8; HEADER_SIZE]) -> Result<Self, PacketError> {
        let [s0, s1, s2, s3, c0, c1, domain, index] = bytes;
        let (size, code) = (u32::from_le_bytes([s0, s1, s2, s3]), i16::from_le_bytes([c0, c1]));
        if !(HEADER_SIZE..=MAX_PACKET_SIZE).contains(&(size as usize)) {
            return Err(PacketError::Size(size));
        }
        if code < CODE_SERVICES {
            return Err(PacketError::Code(code));
        }
        let domain = match domain & 0x0f {
            0 => Domain::Call,
            1 => Domain::Info,
            2 => Domain::Flow,
            3 => Domain::Data,
            other => return Err(PacketError::Domain(other)),
        };
        Ok(Self { size, code, domain, index })
    }

    /// Writes the header.
    pub const fn encode(&self) -> [u8; HEADER_SIZE] {
        let [s0, s1, s2, s3] = self.size.to_le_bytes();
        let [c0, c1] = self.code.to_le_bytes();
        [s0, s1, s2, s3, c0, c1, self.domain as u8, self.index]
    }

    /// Size of the content, in bytes.
    pub const fn content_size(&self) -> usize {
        self.size as usize - HEADER_SIZE
    }

    /// Size with padding, in bytes.
    pub const fn padded_size(&self) -> usize {
        (self.size as usize).next_multiple_of(ALIGNMENT)
    }
}

/// An entry of a flow packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The stream.
    pub id: i32,
    /// If positive, so many more bytes may be sent. If zero, none ever will be wanted again. If negative, a note.
    pub value: i32,
}

impl Flow {
    /// The entries of a flow packet's content.
    pub fn decode_all(content: &[u8]) -> Result<impl Iterator<Item = Self> + '_, PacketError> {
        let (entries, rest) = content.as_chunks::<FLOW_SIZE>();
        if !rest.is_empty() {
            return Err(PacketError::FlowSize(content.len()));
        }
        Ok(entries.iter().map(|&[i0, i1, i2, i3, v0, v1, v2, v3]| Self {
            id: i32::from_le_bytes([i0, i1, i2, i3]),
            value: i32::from_le_bytes([v0, v1, v2, v3]),
        }))
    }

    /// Writes the entry.
    pub const fn encode(&self) -> [u8; FLOW_SIZE] {
        let ([i0, i1, i2, i3], [v0, v1, v2, v3]) = (self.id.to_le_bytes(), self.value.to_le_bytes());
        [i0, i1, i2, i3, v0, v1, v2, v3]
    }
}

/// A part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// The stream.
    pub id: i32,
    /// Means what the service makes of it.
    pub note: i32,
    /// The bytes. None are the end of the stream.
    pub bytes: &'a [u8],
}

impl<'a> Data<'a> {
    /// Reads a data packet's content.
    pub fn decode(content: &'a [u8]) -> Result<Self, PacketError> {
        let Some((&[i0, i1, i2, i3, n0, n1, n2, n3], bytes)) =
            content.split_first_chunk::<DATA_HEADER_SIZE>()
        else {
            return Err(PacketError::DataSize(content.len()));
        };
        Ok(Self {
            id: i32::from_le_bytes([i0, i1, i2, i3]),
            note: i32::from_le_bytes([n0, n1, n2, n3]),
            bytes,
        })
    }

    /// Writes what precedes the bytes.
    pub const fn encode_header(&self) -> [u8; DATA_HEADER_SIZE] {
        Flow { id: self.id, value: self.note }.encode()
    }
}

/// Names in the content of a packet which asks for services.
pub fn decode_names(content: &[u8]) -> Result<Names<'_>, PacketError> {
    let Some((&count, names)) = content.split_first_chunk() else { return Err(PacketError::Names) };
    let names = Names { count: u16::from_le_bytes(count), rest: names };
    // All of them are looked at before any is used.
    let mut check = names;
    while let Some(name) = check.next().transpose()? {
        let _: &str = name;
    }
    if !check.rest.is_empty() {
        return Err(PacketError::Names);
    }
    Ok(names)
}

/// Iterator over names. Errors have been ruled out by [`decode_names`].
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    count: u16,
    rest: &'a [u8],
}

impl<'a> Iterator for Names<'a> {
    type Item = Result<&'a str, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        Some(self.name())
    }
}

impl<'a> Names<'a> {
    fn name(&mut self) -> Result<&'a str, PacketError> {
        let (&size, rest) = self.rest.split_first().ok_or(PacketError::Names)?;
        let size = usize::from(size);
        if !(1..=MAX_NAME_SIZE).contains(&size) {
            return Err(PacketError::NameSize(size));
        }
        let (name, rest) = rest.split_at_checked(size).ok_or(PacketError::Names)?;
        self.rest = rest;
        core::str::from_utf8(name).map_err(|_| PacketError::NameEncoding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(size: u32, code: i16, domain: u8) -> Result<Header, PacketError> {
        let [s0, s1, s2, s3] = size.to_le_bytes();
        let [c0, c1] = code.to_le_bytes();
        Header::decode([s0, s1, s2, s3, c0, c1, domain, 7])
    }

    #[test]
    fn headers_round_trip_and_are_checked() {
        let good = header(13, 2, 3).unwrap();
        assert_eq!(good, Header { size: 13, code: 2, domain: Domain::Data, index: 7 });
        assert_eq!(Header::decode(good.encode()), Ok(good));
        assert_eq!((good.content_size(), good.padded_size()), (5, 16));
        assert_eq!(header(65536, -1, 0xf0).unwrap().domain, Domain::Call);
        assert_eq!(header(7, 0, 0), Err(PacketError::Size(7)));
        assert_eq!(header(65537, 0, 0), Err(PacketError::Size(65537)));
        assert_eq!(header(8, -2, 0), Err(PacketError::Code(-2)));
        assert_eq!(header(8, 0, 4), Err(PacketError::Domain(4)));
    }

    #[test]
    fn contents_are_checked() {
        let entry = Flow { id: -5, value: i32::MIN };
        assert!(Flow::decode_all(&entry.encode()).unwrap().eq([entry]));
        assert!(Flow::decode_all(&[0; 12]).is_err());
        assert!(Data::decode(&[0; 7]).is_err());
        let data = Data::decode(&[1, 0, 0, 0, 255, 255, 255, 255, 9]).unwrap();
        assert_eq!(data, Data { id: 1, note: -1, bytes: &[9] });
        assert_eq!(data.encode_header(), [1, 0, 0, 0, 255, 255, 255, 255]);
    }

    #[test]
    fn names_are_checked_before_any_is_used() {
        let names = decode_names(b"\x02\x00\x01a\x02bc").unwrap();
        assert!(names.map(Result::unwrap).eq(["a", "bc"]));
        assert_eq!(decode_names(b"\x00\x00").unwrap().count(), 0);
        for (content, error) in [
            (&b"\x01"[..], PacketError::Names),
            (b"\x01\x00", PacketError::Names),
            (b"\x01\x00\x02a", PacketError::Names),
            (b"\x01\x00\x01aa", PacketError::Names),
            (b"\x01\x00\x00", PacketError::NameSize(0)),
            (b"\x01\x00\x80", PacketError::NameSize(128)),
            (b"\x01\x00\x01\xff", PacketError::NameEncoding),
        ] {
            assert_eq!(decode_names(content).unwrap_err(), error, "{content:?}");
        }
    }
}
