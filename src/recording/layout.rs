//! Head, clusters and index of a recording.
//!
//! In: tracks, packets, the places of key frames. Out: bytes. Never: a file; a head of another length than [`HEAD`], so
//! that it can be written anew over itself (a track or a talker that comes later, the length at the end).
//!
//! ```text
//! EBML head | Segment { SeekHead  Info  Tracks  Tags  Void } | Cluster  Cluster ...  Cues
//! `---------------------- HEAD bytes ----------------------' `- at most a quarter of a second each
//! ```

use super::ebml::{self, element, float, id, master, number, text};
use super::packet::{Lane, Packet};

/// Bytes of the head, whatever is in it.
pub const HEAD: usize = 4096;
/// Bytes from which positions inside a segment are counted.
pub const SEGMENT_DATA: u64 = EBML_HEAD as u64 + 12;
const EBML_HEAD: usize = 64;

/// What kind of Matroska a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// VP8 and Opus: what browsers play.
    WebM,
    /// Anything, such as H.264.
    Matroska,
}

/// A track as the head describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// What it carries.
    pub lane: Lane,
    /// Matroska's name of the codec.
    pub codec: &'static str,
    /// Pixels, for a picture.
    pub size: Option<(u32, u32)>,
    /// What a decoder needs beforehand.
    pub private: Vec<u8>,
}

/// What the head says besides the tracks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Nanoseconds since 1970 at the file's time zero.
    pub began: i64,
    /// Milliseconds; `None` while the file grows.
    pub duration: Option<u64>,
    /// Bytes of the whole file; `None` while it grows.
    pub length: Option<u64>,
    /// Where the index begins in the file.
    pub cues: Option<u64>,
    /// The recording did not come to its own end: what there was of it was finished later.
    pub cut_off: bool,
    /// All who talked in it, in short, at most [`super::talkers::MOST`]; `None`: a file of an earlier version, which does not tell.
    pub talkers: Option<Vec<String>>,
}

/// A key frame of the first picture, for seeking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cue {
    /// Milliseconds.
    pub time: u64,
    /// Track number.
    pub track: u8,
    /// Where its cluster begins in the file.
    pub cluster: u64,
}

/// Opus starts this many nanoseconds before what is to be heard: 312 samples, libopus's look-ahead.
pub const OPUS_DELAY: u64 = 6_500_000;

/// The head, always [`HEAD`] bytes; `tracks` is the whole element, see [`tracks`].
pub fn head(kind: Kind, tracks: &[u8], facts: &Facts) -> Vec<u8> {
    let doc_type = if kind == Kind::WebM { "webm" } else { "matroska" };
    let mut opening = [
        element(0x4286, &[1]),
        element(0x42F7, &[1]),
        element(0x42F2, &[4]),
        element(0x42F3, &[8]),
        text(id::DOC_TYPE, doc_type),
        element(0x4287, &[4]),
        element(0x4285, &[2]),
    ]
    .concat();
    opening.extend(ebml::void(EBML_HEAD - 5 - opening.len()));
    let mut bytes = element(id::EBML, &opening);
    let info = info(facts);
    let seek_head = |info_at: u64, tracks_at: u64| {
        let mut seeks = vec![seek(id::INFO, info_at), seek(id::TRACKS, tracks_at)];
        seeks.extend(facts.cues.map(|at| seek(id::CUES, at - SEGMENT_DATA)));
        master(id::SEEK_HEAD, &seeks)
    };
    // Numbers have one width, so its length does not depend on the places in it.
    let info_at = seek_head(0, 0).len() as u64;
    bytes.extend(ebml::segment(facts.length.map(|length| length - SEGMENT_DATA)));
    bytes.extend(seek_head(info_at, info_at + info.len() as u64));
    bytes.extend(info);
    bytes.extend_from_slice(tracks);
    bytes.extend(facts.talkers.iter().flat_map(|talkers| tags(talkers)));
    bytes.extend(ebml::void(HEAD.saturating_sub(bytes.len())));
    bytes
}

/// The element that describes the tracks.
pub fn tracks(tracks: &[Track]) -> Vec<u8> {
    let entries: Vec<Vec<u8>> = tracks.iter().map(track_entry).collect();
    master(id::TRACKS, &entries)
}

/// A cluster of packets; `time` in milliseconds, packets with theirs relative to the same zero.
pub fn cluster(time: u64, packets: &[(u8, u64, bool, &[u8])]) -> Vec<u8> {
    let mut content = number(id::TIMESTAMP, time);
    for (track, at, key, frame) in packets {
        let offset = (*at as i64 - time as i64).clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16;
        content.extend(ebml::simple_block(*track, offset, *key, frame));
    }
    element(id::CLUSTER, &content)
}

/// The index.
pub fn cues(cues: &[Cue]) -> Vec<u8> {
    let points: Vec<Vec<u8>> = cues
        .iter()
        .map(|cue| {
            let place = master(0xB7, &[element(0xF7, &[cue.track]), number(0xF1, cue.cluster - SEGMENT_DATA)]);
            master(0xBB, &[number(0xB3, cue.time), place])
        })
        .collect();
    master(id::CUES, &points)
}

/// What a head says; `None` if it is not one of ours.
pub fn read(head: &[u8]) -> Option<(Kind, Facts, Vec<u8>)> {
    let kind = match children(content_of(head, id::EBML)?).find(|(id, _)| *id == id::DOC_TYPE)?.1 {
        b"webm" => Kind::WebM,
        b"matroska" => Kind::Matroska,
        _ => return None,
    };
    let segment = head.get(SEGMENT_DATA as usize..)?;
    let info = children(segment).find(|(id, _)| *id == id::INFO)?.1;
    let tracks = children(segment).find(|(id, _)| *id == id::TRACKS)?.1;
    let eight = |wanted| children(info).find(|(id, _)| *id == wanted)?.1.try_into().ok();
    let began = i64::from_be_bytes(eight(id::DATE)?).checked_add(MILLENNIUM)?;
    let duration = eight(id::DURATION).map(|bytes| f64::from_be_bytes(bytes).max(0.0) as u64);
    let cut_off = children(info).any(|(id, text)| id == id::WRITING_APP && text.ends_with(CUT_OFF.as_bytes()));
    let talkers = children(segment).find(|(id, _)| *id == id::TAGS).and_then(|(_, tags)| talkers_of(tags));
    Some((kind, Facts { began, duration, cut_off, talkers, ..Facts::default() }, element(id::TRACKS, tracks)))
}

/// One tag of the whole file, under a name of our own: Matroska's list has none for who takes part in a conversation.
fn tags(talkers: &[String]) -> Vec<u8> {
    let tag = [text(id::TAG_NAME, TALKERS), text(id::TAG_STRING, &talkers.join(SEPARATOR))];
    master(id::TAGS, &[master(id::TAG, &[master(id::TARGETS, &[]), master(id::SIMPLE_TAG, &tag)])])
}

fn talkers_of(tags: &[u8]) -> Option<Vec<String>> {
    let within = |wanted| move |(id, content)| (id == wanted).then_some(content);
    let tag = children(tags)
        .filter_map(within(id::TAG))
        .flat_map(children)
        .filter_map(within(id::SIMPLE_TAG))
        .find(|tag| children(tag).any(|(id, name)| id == id::TAG_NAME && name == TALKERS.as_bytes()))?;
    let names = std::str::from_utf8(children(tag).find_map(within(id::TAG_STRING))?).ok()?;
    let plain = |name: &&str| !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric());
    Some(names.split(SEPARATOR).filter(plain).map(str::to_owned).collect())
}

/// The elements that lie whole in these bytes, one after the other.
pub fn children(mut bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let (id, size, head) = ebml::read_head(bytes)?;
        let end = head.checked_add(usize::try_from(size?).ok()?)?;
        let content = bytes.get(head..end)?;
        bytes = &bytes[end..];
        Some((id, content))
    })
}

fn content_of(bytes: &[u8], wanted: u32) -> Option<&[u8]> {
    children(bytes).find(|(id, _)| *id == wanted).map(|(_, content)| content)
}

/// The track that a packet begins, once the packet says enough about it.
pub fn track_of(packet: &Packet, frame: &[u8]) -> Option<Track> {
    let lane = packet.lane;
    if !lane.is_picture() {
        return Some(Track { lane, codec: "A_OPUS", size: None, private: opus_head() });
    }
    if packet.is_h264 {
        let private = super::h264::configuration(frame)?;
        return Some(Track { lane, codec: "V_MPEG4/ISO/AVC", size: packet.size, private });
    }
    let size = vp8_size(frame).or(packet.size)?;
    Some(Track { lane, codec: "V_VP8", size: Some(size), private: Vec::new() })
}

/// Width and height from the head of a VP8 key frame.
fn vp8_size(frame: &[u8]) -> Option<(u32, u32)> {
    let is_key = frame.first()? & 1 == 0 && frame.get(3..6)? == [0x9D, 0x01, 0x2A];
    let side = |at: usize| Some(u32::from(u16::from_le_bytes(frame.get(at..at + 2)?.try_into().ok()?) & 0x3FFF));
    let size = (side(6)?, side(8)?);
    (is_key && size.0 > 0 && size.1 > 0).then_some(size)
}

fn opus_head() -> Vec<u8> {
    let mut head = b"OpusHead\x01\x02".to_vec();
    head.extend(312u16.to_le_bytes());
    head.extend(48_000u32.to_le_bytes());
    head.extend([0, 0, 0]);
    head
}

fn seek(element_id: u32, at: u64) -> Vec<u8> {
    let bytes: Vec<u8> = element_id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    master(id::SEEK, &[element(id::SEEK_ID, &bytes), number(id::SEEK_POSITION, at)])
}

/// What wrote the file.
const WRITER: &str = concat!("Duplex ", env!("CARGO_PKG_VERSION"));
/// Stands after it in a file that was cut off: the one place for a remark that no player shows over the picture.
const CUT_OFF: &str = " (cut off)";
/// The tag that names all who talked.
const TALKERS: &str = "TALKERS";
const SEPARATOR: &str = ", ";

/// 2001-01-01, from which Matroska counts, in nanoseconds since 1970.
const MILLENNIUM: i64 = 978_307_200_000_000_000;

fn info(facts: &Facts) -> Vec<u8> {
    let mut children = vec![
        number(id::TIMESTAMP_SCALE, 1_000_000),
        element(id::DATE, &facts.began.saturating_sub(MILLENNIUM).to_be_bytes()),
        text(id::MUXING_APP, "Duplex"),
        text(id::WRITING_APP, &format!("{WRITER}{}", if facts.cut_off { CUT_OFF } else { "" })),
    ];
    children.extend(facts.duration.map(|duration| float(id::DURATION, duration as f64)));
    master(id::INFO, &children)
}

fn track_entry(track: &Track) -> Vec<u8> {
    let number_of = track.lane.number();
    let mut children = vec![
        element(0xD7, &[number_of]),
        number(0x73C5, u64::from(number_of)),
        element(0x83, &[if track.lane.is_picture() { 1 } else { 2 }]),
        element(0x88, &[u8::from(track.lane.is_default())]),
        element(0x9C, &[0]),
        text(0x0022_B59C, "und"),
        text(0x536E, track.lane.title()),
        text(0x86, track.codec),
    ];
    if !track.private.is_empty() {
        children.push(element(0x63A2, &track.private));
    }
    match track.size {
        Some((width, height)) => {
            children.push(master(0xE0, &[number(0xB0, u64::from(width)), number(0xBA, u64::from(height))]));
        }
        None => {
            children.push(number(0x56AA, OPUS_DELAY));
            children.push(number(0x56BB, 80_000_000));
            children.push(master(0xE1, &[float(0xB5, 48_000.0), element(0x9F, &[2])]));
        }
    }
    master(id::TRACK, &children)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Track> {
        let sound = |lane| Track { lane, codec: "A_OPUS", size: None, private: opus_head() };
        let picture = |lane| Track { lane, codec: "V_VP8", size: Some((1280, 720)), private: Vec::new() };
        vec![
            picture(Lane::Picture),
            sound(Lane::Both),
            sound(Lane::Sound),
            sound(Lane::TalkerSound),
            picture(Lane::TalkerPicture),
        ]
    }

    #[test]
    fn the_head_has_one_length_and_is_read_back() {
        for count in 0..=5 {
            let tracks = tracks(&all()[..count]);
            let open = Facts { began: 1_795_000_000_000_000_000, ..Facts::default() };
            let bytes = head(Kind::WebM, &tracks, &open);
            assert_eq!(bytes.len(), HEAD);
            assert_eq!(read(&bytes), Some((Kind::WebM, open.clone(), tracks.clone())));
            let closed = Facts { duration: Some(61_500), length: Some(100_000), cues: Some(90_000), ..open };
            let bytes = head(Kind::Matroska, &tracks, &closed);
            assert_eq!(bytes.len(), HEAD);
            let known = Facts { length: None, cues: None, ..closed.clone() };
            assert_eq!(read(&bytes), Some((Kind::Matroska, known.clone(), tracks.clone())));
            let cut = Facts { cut_off: true, ..closed };
            let bytes = head(Kind::Matroska, &tracks, &cut);
            assert_eq!(bytes.len(), HEAD);
            assert_eq!(read(&bytes), Some((Kind::Matroska, Facts { cut_off: true, ..known.clone() }, tracks.clone())));
            for count in [0, 1, 2, super::super::talkers::MOST] {
                let talkers = Some((0..count).map(|number| format!("{number:08x}")).collect());
                let bytes = head(Kind::WebM, &tracks, &Facts { talkers: talkers.clone(), ..cut.clone() });
                assert_eq!(bytes.len(), HEAD, "{count} talkers");
                let (_, told, same) = read(&bytes).unwrap();
                assert_eq!((told.talkers, same, told.cut_off), (talkers, tracks.clone(), true), "{count} talkers");
            }
        }
        assert_eq!(read(&[0; HEAD]), None);
        assert_eq!(read(b"short"), None);
    }

    #[test]
    fn a_key_frame_of_vp8_tells_its_size() {
        let frame = [0x10, 0x02, 0x00, 0x9D, 0x01, 0x2A, 0x00, 0x05, 0xD0, 0x02, 0, 0];
        assert_eq!(vp8_size(&frame), Some((1280, 720)));
        assert_eq!(vp8_size(&[0x11, 0, 0, 0x9D, 0x01, 0x2A, 0, 5, 0xD0, 2]), None);
        assert_eq!(vp8_size(&frame[..8]), None);
    }

    #[test]
    fn a_late_packet_keeps_its_time() {
        let bytes = cluster(1000, &[(2, 990, true, &[9, 9])]);
        let (id, size, head) = ebml::read_head(&bytes).unwrap();
        assert_eq!((id, size), (id::CLUSTER, Some((bytes.len() - head) as u64)));
        assert!(bytes.ends_with(&[0xA3, 0x86, 0x82, 0xFF, 0xF6, 0x80, 9, 9]));
    }
}
