//! Packets of all kinds: what is written can be read, and what is read is either refused or means the same when it is written again.

use gate_wire::packet::{
    ALIGNMENT, Data, Domain, FLOW_SIZE, Flow, HEADER_SIZE, Header, MAX_NAME_SIZE, MAX_PACKET_SIZE,
    PacketError, decode_names,
};
use proptest::collection::vec;
use proptest::prelude::*;

const DOMAINS: [Domain; 4] = [Domain::Call, Domain::Info, Domain::Flow, Domain::Data];

prop_compose! {
    fn header()(
        size in HEADER_SIZE as u32..=MAX_PACKET_SIZE as u32,
        code in -1..=i16::MAX,
        domain in proptest::sample::select(&DOMAINS),
        index: u8,
    ) -> Header {
        Header { size, code, domain, index }
    }
}

/// The content of a packet which asks for services.
fn request(count: u16, names: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut content = count.to_le_bytes().to_vec();
    for name in names {
        content.push(name.as_ref().len() as u8);
        content.extend(name.as_ref());
    }
    content
}

proptest! {
    #[test]
    fn headers_are_read_as_they_were_written(header in header()) {
        prop_assert_eq!(Header::decode(header.encode()), Ok(header));
        prop_assert_eq!(header.content_size() + HEADER_SIZE, header.size as usize);
        prop_assert!(header.padded_size().is_multiple_of(ALIGNMENT));
        prop_assert!((0..ALIGNMENT).contains(&(header.padded_size() - header.size as usize)));
    }

    #[test]
    fn any_bytes_are_a_header_or_have_the_fault_that_is_told(
        size in prop_oneof![any::<u32>(), 0..70_000u32],
        code in prop_oneof![any::<i16>(), -3..3i16],
        domain: u8,
        index: u8,
    ) {
        let [s0, s1, s2, s3] = size.to_le_bytes();
        let [c0, c1] = code.to_le_bytes();
        let bytes = [s0, s1, s2, s3, c0, c1, domain, index];
        let fits = (HEADER_SIZE..=MAX_PACKET_SIZE).contains(&(size as usize));
        match Header::decode(bytes) {
            Ok(header) => {
                prop_assert!(fits && code >= -1 && domain & 0x0f < 4);
                // The upper bits of the domain mean nothing.
                let again = header.encode();
                prop_assert_eq!((&again[..6], again[6], again[7]), (&bytes[..6], domain & 0x0f, index));
            }
            Err(PacketError::Size(told)) => prop_assert!(told == size && !fits),
            Err(PacketError::Code(told)) => prop_assert!(told == code && code < -1),
            Err(PacketError::Domain(told)) => prop_assert!(told == domain & 0x0f && told > 3),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn flow_packets_have_whole_entries(
        entries in vec(any::<(i32, i32)>(), 0..40),
        more in 0..FLOW_SIZE,
    ) {
        let entries: Vec<_> = entries.into_iter().map(|(id, value)| Flow { id, value }).collect();
        let mut content: Vec<u8> = entries.iter().flat_map(Flow::encode).collect();
        content.extend(vec![0; more]);
        match Flow::decode_all(&content) {
            Ok(read) => prop_assert!(more == 0 && read.eq(entries)),
            Err(error) => prop_assert!(more != 0 && error == PacketError::FlowSize(content.len())),
        }
    }

    #[test]
    fn data_is_what_follows_its_header(id: i32, note: i32, bytes in vec(any::<u8>(), 0..100), size in 0..120usize) {
        let data = Data { id, note, bytes: &bytes };
        let mut content = data.encode_header().to_vec();
        content.extend(&bytes);
        prop_assert_eq!(Data::decode(&content), Ok(data));
        content.truncate(size);
        match Data::decode(&content) {
            Ok(data) => prop_assert_eq!((data.id, data.note, data.bytes), (id, note, &content[8..])),
            Err(error) => prop_assert!(content.len() < 8 && error == PacketError::DataSize(content.len())),
        }
    }

    #[test]
    fn names_are_read_as_they_were_written(names in vec("\\PC{1,31}", 0..20)) {
        let content = request(names.len() as u16, &names);
        let read: Vec<_> = decode_names(&content).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(&read, &names);
        // Neither more nor less.
        for end in 0..content.len() {
            prop_assert!(decode_names(&content[..end]).is_err());
        }
        prop_assert!(decode_names(&[&content[..], &[1, b'x']].concat()).is_err());
    }

    #[test]
    fn names_are_refused_as_a_whole(
        more in 0..6u16,
        names in vec(prop_oneof![8 => "[a-z]{1,127}".prop_map(String::into_bytes), 1 => vec(any::<u8>(), 0..200)], 0..6),
    ) {
        let count = if more > 3 { more } else { names.len() as u16 };
        let content = request(count, &names);
        let right = |name: &Vec<u8>| (1..=MAX_NAME_SIZE).contains(&name.len()) && std::str::from_utf8(name).is_ok();
        let all_right = names.len() == usize::from(count) && names.iter().all(right);
        prop_assert_eq!(decode_names(&content).is_ok(), all_right);
    }

    #[test]
    fn any_bytes_are_names_or_not(content in vec(0..6u8, 0..30)) {
        if let Ok(names) = decode_names(&content) {
            let names: Vec<_> = names.collect::<Result<_, _>>().expect("they have been checked");
            prop_assert_eq!(request(names.len() as u16, &names), content);
        }
    }
}
