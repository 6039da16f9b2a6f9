//! Checks session descriptions from the network before `webrtcsrc` or the sender sees them: the one takes a well-formed
//! description for granted and would end the whole process over another (gst-plugin-webrtc 0.15.4, several `unwrap`s).
//!
//! In: a peer's SDP, and the offer it answers. Out: the SDP without format parameters nobody here knows and without redundant
//! packets, or the rule it breaks. Never: the SDP's text in a message.

use gst_sdp::{SDPMediaRef, SDPMessage, SDPMessageRef};

mod redundancy;

/// What [`answers`] says of a peer that takes no part in one of the media: usually it lacks the codec.
pub const REFUSES: &str = "the answer refuses one of the media";

/// Media sections a description may have; a call has two.
const MAX_MEDIA: u32 = 16;

/// Parses a description and checks what holds for offers and answers alike.
///
/// # Errors
/// The rule that it breaks.
pub fn parse(text: &str) -> Result<SDPMessage, &'static str> {
    // GStreamer complains about an empty buffer, and ends lines at CR LF only.
    if text.trim().is_empty() {
        return Err("the SDP is empty");
    }
    if !text.bytes().all(|byte| byte == b'\r' || byte == b'\n' || !byte.is_ascii_control()) {
        return Err("the SDP has control characters");
    }
    let text = known_parameters(&redundancy::without(text));
    let sdp = SDPMessage::parse_buffer(text.as_bytes()).map_err(|_| "the SDP does not parse")?;
    match sdp.medias_len() {
        0 => return Err("the SDP has no media"),
        1..=MAX_MEDIA => {}
        _ => return Err("the SDP has too many media"),
    }
    let mut caps = gst::Caps::new_empty_simple("application/x-unknown");
    sdp.attributes_to_caps(caps.make_mut()).map_err(|_| "the SDP has attributes that do not parse")?;
    for media in sdp.medias() {
        media_fits(media)?;
    }
    Ok(sdp)
}

/// Checks an answer against the offer it belongs to: the same media in the same order, and of the offered payload types.
///
/// # Errors
/// The rule that it breaks.
pub fn answers(answer: &SDPMessageRef, offer: &SDPMessageRef) -> Result<(), &'static str> {
    if answer.medias_len() != offer.medias_len() {
        return Err("the answer has another number of media than the offer");
    }
    for (theirs, ours) in answer.medias().zip(offer.medias()) {
        if theirs.media() != ours.media() {
            return Err("the answer has other media than the offer");
        }
        let first = theirs.format(0).ok_or("the answer has a media without a payload type")?;
        if refused(theirs) {
            return Err(REFUSES);
        }
        if !ours.formats().any(|offered| offered == first) {
            return Err("the answer has a payload type that was not offered");
        }
        // What is sent must be what it expects.
        let payload = first.parse().map_err(|_| "the answer has a payload type that is no number")?;
        let caps = theirs.caps_from_media(payload).ok_or("the answer does not describe its payload type")?;
        let codec = caps.structure(0).and_then(|s| s.get::<&str>("encoding-name").ok()).unwrap_or_default();
        // RTX, the other thing that is offered, carries no media of its own.
        if !matches!(codec, "VP8" | "H264" | "OPUS") {
            return Err("the answer puts something that is no codec first");
        }
    }
    Ok(())
}

/// The text with only those format parameters (`a=fmtp`) that browsers and stock clients send for the codecs here.
/// gst-plugin-webrtc takes each for a field of its caps and panics over values that it does not know (`profile`, `level`).
fn known_parameters(text: &str) -> String {
    let line = |line: &str| {
        let Some((payload, parameters)) = line.strip_prefix("a=fmtp:").and_then(|rest| rest.split_once(' ')) else {
            return Some(line.to_owned());
        };
        let known: Vec<&str> = parameters.split(';').map(str::trim).filter(|one| is_known(one)).collect();
        (!known.is_empty()).then(|| format!("a=fmtp:{payload} {}", known.join(";")))
    };
    // GStreamer ends lines at CR LF; bare LFs stay what they are, inside a line.
    text.split("\r\n").filter_map(line).collect::<Vec<_>>().join("\r\n")
}

fn is_known(parameter: &str) -> bool {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    if name == "profile-level-id" {
        // Baseline, plain or constrained (42), at a level that H.264 has.
        return value.len() == 6
            && value.starts_with("42")
            && value.is_ascii()
            && u8::from_str_radix(&value[4..], 16).is_ok_and(|level| H264_LEVELS.contains(&level))
            && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    KNOWN.contains(&name) && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=,.-".contains(&byte))
}

/// Format parameters of RTX (RFC 4588), Opus (RFC 7587), VP8 (RFC 7741) and H.264 (RFC 6184).
const KNOWN: [&str; 17] = [
    "apt",
    "rtx-time",
    "minptime",
    "maxptime",
    "useinbandfec",
    "stereo",
    "sprop-stereo",
    "maxplaybackrate",
    "sprop-maxcapturerate",
    "maxaveragebitrate",
    "cbr",
    "usedtx",
    "max-fr",
    "max-fs",
    "packetization-mode",
    "level-asymmetry-allowed",
    "sprop-parameter-sets",
];
/// Ten times the level (ITU-T H.264, annex A).
const H264_LEVELS: [u8; 16] = [10, 11, 12, 13, 20, 21, 22, 30, 31, 32, 40, 41, 42, 50, 51, 52];

fn refused(media: &SDPMediaRef) -> bool {
    media.port() == 0
}

fn media_fits(media: &SDPMediaRef) -> Result<(), &'static str> {
    let kind = media.media().ok_or("the SDP has a media without a kind")?;
    if !matches!(kind, "audio" | "video") {
        return Err("the SDP has a media that is neither audio nor video");
    }
    let mut caps = gst::Caps::new_empty_simple("application/x-unknown");
    media.attributes_to_caps(caps.make_mut()).map_err(|_| "a media of the SDP has attributes that do not parse")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\na=mid:0\r\n";

    fn check(text: &str) -> Result<(), &'static str> {
        gst::init().unwrap();
        let offer = parse(OFFER).unwrap();
        let answer = parse(text)?;
        answers(&answer, &offer)
    }

    #[test]
    fn what_fits_passes() {
        assert_eq!(check(OFFER), Ok(()));
    }

    #[test]
    fn what_would_end_the_process_does_not() {
        for (spoiled, rule) in [
            (String::new(), "is empty"),
            (OFFER.replace("a=rtpmap:96 VP8/90000\r\n", ""), "does not describe"),
            (OFFER.replace("96", "97"), "not offered"),
            (OFFER.replace("m=video", "m=audio"), "other media"),
            (OFFER.replace("m=video 9", "m=video 0"), "refuses"),
            (OFFER.replace("VP8/", "rtx/"), "no codec"),
            (OFFER.replace("VP8/", "ulpfec/"), "not offered"),
            (format!("{OFFER}{}", &OFFER[OFFER.find("m=").unwrap()..]), "another number"),
            ("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n".to_owned(), "no media"),
            (OFFER.replace("VP8", "V\u{1}8"), "control"),
        ] {
            let error = check(&spoiled).unwrap_err();
            assert!(error.contains(rule), "{spoiled:?}: {error}");
        }
    }

    #[test]
    fn only_known_format_parameters_are_left() {
        for (parameters, left) in [
            ("profile=1", None),
            ("level=9;max-fs=12288", Some("max-fs=12288")),
            ("a-mid=zz", None),
            ("minptime=10;useinbandfec=1", Some("minptime=10;useinbandfec=1")),
            ("maxplaybackrate=48000; stereo=1", Some("maxplaybackrate=48000;stereo=1")),
            (
                "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
                Some("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
            ),
            ("profile-level-id=58001e", None),
            ("profile-level-id=42e05a", None),
            ("profile-level-id=4\u{20ac}1f", None),
        ] {
            let text = format!("v=0\r\na=fmtp:96 {parameters}\r\na=mid:0\r\n");
            let expected = left.map_or(String::new(), |left| format!("a=fmtp:96 {left}\r\n"));
            assert_eq!(known_parameters(&text), format!("v=0\r\n{expected}a=mid:0\r\n"), "{parameters}");
        }
    }
}
