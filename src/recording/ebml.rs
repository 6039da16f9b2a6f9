//! The elements of Matroska that a recording is made of, as bytes.
//!
//! In: numbers, texts, blocks. Out: bytes of EBML. Never: a file, a clock, GStreamer.

/// Bytes of an unknown size, eight of them, so that a size can be written over it later.
const UNKNOWN: [u8; 8] = [0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];

/// Element ids, as the specification writes them.
pub mod id {
    #![allow(missing_docs, reason = "the names are the specification's")]
    pub const EBML: u32 = 0x1A45_DFA3;
    pub const DOC_TYPE: u32 = 0x4282;
    pub const SEGMENT: u32 = 0x1853_8067;
    pub const SEEK_HEAD: u32 = 0x114D_9B74;
    pub const SEEK: u32 = 0x4DBB;
    pub const SEEK_ID: u32 = 0x53AB;
    pub const SEEK_POSITION: u32 = 0x53AC;
    pub const INFO: u32 = 0x1549_A966;
    pub const TIMESTAMP_SCALE: u32 = 0x002A_D7B1;
    pub const DURATION: u32 = 0x4489;
    pub const DATE: u32 = 0x4461;
    pub const MUXING_APP: u32 = 0x4D80;
    pub const WRITING_APP: u32 = 0x5741;
    pub const TRACKS: u32 = 0x1654_AE6B;
    pub const TRACK: u32 = 0xAE;
    pub const CLUSTER: u32 = 0x1F43_B675;
    pub const TIMESTAMP: u32 = 0xE7;
    pub const SIMPLE_BLOCK: u32 = 0xA3;
    pub const CUES: u32 = 0x1C53_BB6B;
    pub const VOID: u32 = 0xEC;
    pub const TAGS: u32 = 0x1254_C367;
    pub const TAG: u32 = 0x7373;
    pub const TARGETS: u32 = 0x63C0;
    pub const SIMPLE_TAG: u32 = 0x67C8;
    pub const TAG_NAME: u32 = 0x45A3;
    pub const TAG_STRING: u32 = 0x4487;
}

/// An element with its content.
pub fn element(id: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = id_bytes(id);
    bytes.extend(size(content.len() as u64));
    bytes.extend_from_slice(content);
    bytes
}

/// A master element of others.
pub fn master(id: u32, children: &[Vec<u8>]) -> Vec<u8> {
    element(id, &children.concat())
}

/// An unsigned number in eight bytes, so that its place is the same whatever it is.
pub fn number(id: u32, value: u64) -> Vec<u8> {
    element(id, &value.to_be_bytes())
}

/// A floating-point number.
pub fn float(id: u32, value: f64) -> Vec<u8> {
    element(id, &value.to_be_bytes())
}

/// A text.
pub fn text(id: u32, value: &str) -> Vec<u8> {
    element(id, value.as_bytes())
}

/// The start of a segment; `length` is that of its content, `None` while it grows.
pub fn segment(length: Option<u64>) -> Vec<u8> {
    let mut bytes = id_bytes(id::SEGMENT);
    bytes.extend(length.map_or(UNKNOWN, |length| (length | 1 << 56).to_be_bytes()));
    bytes
}

/// Nothing, of exactly this many bytes; at least 9.
pub fn void(length: usize) -> Vec<u8> {
    let mut bytes = id_bytes(id::VOID);
    let content = length.saturating_sub(9);
    bytes.extend((content as u64 | 1 << 56).to_be_bytes());
    bytes.resize(9 + content, 0);
    bytes
}

/// A block without lacing.
///
/// `offset` is in milliseconds from the cluster's time.
pub fn simple_block(track: u8, offset: i16, key: bool, frame: &[u8]) -> Vec<u8> {
    let mut bytes = id_bytes(id::SIMPLE_BLOCK);
    bytes.extend(size(frame.len() as u64 + 4));
    bytes.push(0x80 | track);
    bytes.extend(offset.to_be_bytes());
    bytes.push(if key { 0x80 } else { 0 });
    bytes.extend_from_slice(frame);
    bytes
}

/// An element's head as it is read back: its id, the length of its content (`None`: unknown) and its own length.
pub fn read_head(bytes: &[u8]) -> Option<(u32, Option<u64>, usize)> {
    let id_length = 1 + bytes.first()?.leading_zeros() as usize;
    if id_length > 4 {
        return None;
    }
    let id = bytes.get(..id_length)?.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte));
    let first = *bytes.get(id_length)?;
    let size_length = 1 + first.leading_zeros() as usize;
    let rest = bytes.get(id_length + 1..id_length + size_length).filter(|_| size_length <= 8)?;
    let marker = (1u64 << (8 - size_length)) - 1;
    let value = rest.iter().fold(u64::from(first) & marker, |value, byte| value << 8 | u64::from(*byte));
    let unknown = value == (1u64 << (7 * size_length)) - 1;
    Some((id, (!unknown).then_some(value), id_length + size_length))
}

fn id_bytes(id: u32) -> Vec<u8> {
    id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect()
}

/// A size in as few bytes as it needs, at least four for what is large.
fn size(length: u64) -> Vec<u8> {
    match length {
        0..0x7F => vec![0x80 | length as u8],
        0x7F..0x0FFF_FFFF => (length as u32 | 0x1000_0000).to_be_bytes().to_vec(),
        _ => (length | 1 << 56).to_be_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_back() {
        for length in [0usize, 1, 126, 127, 5000] {
            let bytes = element(id::TRACK, &vec![7; length]);
            let head = bytes.len() - length;
            assert_eq!(read_head(&bytes), Some((id::TRACK, Some(length as u64), head)), "{length}");
        }
        assert_eq!(read_head(&segment(None)), Some((id::SEGMENT, None, 12)));
        assert_eq!(read_head(&segment(Some(77))), Some((id::SEGMENT, Some(77), 12)));
        assert_eq!(read_head(&void(100)), Some((id::VOID, Some(91), 9)));
        assert_eq!(void(100).len(), 100);
    }

    #[test]
    fn torn_heads_are_none() {
        for torn in [&[][..], &[0x1F, 0x43], &[0x00, 0x81], &[0xA3], &[0xA3, 0x00], &[0xA3, 0x10, 0x00]] {
            assert_eq!(read_head(torn), None, "{torn:?}");
        }
    }
}
