//! Checks session descriptions from the network before `webrtcsink` and `webrtcsrc` see them, which take a well-formed
//! one for granted and would end the whole process over another (gst-plugin-webrtc 0.15.4, several `unwrap`s).
//!
//! In: a peer's SDP, and the offer it answers. Out: fine, or the rule it breaks. Never: the SDP's text in a message.

use gst_sdp::{SDPMediaRef, SDPMessage, SDPMessageRef};

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
        // What webrtcsink looks for next.
        let payload = first.parse().map_err(|_| "the answer has a payload type that is no number")?;
        theirs.caps_from_media(payload).ok_or("the answer does not describe its payload type")?;
    }
    Ok(())
}

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
            (format!("{OFFER}{}", &OFFER[OFFER.find("m=").unwrap()..]), "another number"),
            ("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n".to_owned(), "no media"),
            (OFFER.replace("VP8", "V\u{1}8"), "control"),
        ] {
            let error = check(&spoiled).unwrap_err();
            assert!(error.contains(rule), "{spoiled:?}: {error}");
        }
    }
}
