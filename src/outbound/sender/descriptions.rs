//! What of session descriptions is looked at here, beside the library.
//!
//! In: descriptions of both ends. Out: what the library need not see is taken out; what is sent to a peer that makes the offer. Never: media that
//! is taken from a peer.

use gst_sdp::{SDPMediaRef, SDPMessageRef};
use str0m::media::{Mid, Pt};

/// Lines that name candidates, which are counted and looked at one by one, wherever they stand.
const CANDIDATE: &str = "a=candidate:";
/// Lines on several streams in one media, and on what the peer would send: each would be a stream with a history of its own.
const STREAMS: [&str; 4] = ["a=simulcast:", "a=rid:", "a=ssrc:", "a=ssrc-group:"];

/// A description for the library, and the candidates in it.
pub fn without_candidates(text: &str) -> (String, Vec<&str>) {
    let (candidates, rest): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with(CANDIDATE));
    let rest: Vec<&str> =
        rest.into_iter().filter(|line| !STREAMS.iter().any(|stream| line.starts_with(stream))).collect();
    (rest.join("\r\n") + "\r\n", candidates)
}

/// An answer in which nothing is taken.
pub fn one_way(answer: &str) -> String {
    let line = |line: &str| match line {
        "a=sendrecv" => "a=sendonly".to_owned(),
        "a=recvonly" => "a=inactive".to_owned(),
        line => line.to_owned(),
    };
    answer.split("\r\n").map(line).collect::<Vec<_>>().join("\r\n")
}

/// What goes to a peer that made the offer.
#[derive(Debug, Default, PartialEq)]
pub struct Sent {
    /// Its picture: media and payload type.
    pub video: Option<(Mid, Pt)>,
    /// Its sound.
    pub audio: Option<(Mid, Pt)>,
    /// All payload types that its sound may have.
    pub audio_types: Vec<u8>,
}

/// What an answer to this offer says that is sent.
///
/// # Errors
/// The rule that the two break.
pub fn sent(offer: &SDPMessageRef, answer: &SDPMessageRef) -> Result<Sent, &'static str> {
    let same = |(theirs, ours): (&SDPMediaRef, &SDPMediaRef)| {
        theirs.media() == ours.media() && theirs.attribute_val("mid") == ours.attribute_val("mid")
    };
    if offer.medias_len() != answer.medias_len() || !offer.medias().zip(answer.medias()).all(same) {
        return Err("the offer has media, or names of them (a=mid), that cannot be answered");
    }
    let mut sent = Sent::default();
    for media in answer.medias().filter(|media| media.port() != 0 && media.attribute_val("sendonly").is_some()) {
        let types: Vec<u8> = media.formats().filter_map(|format| format.parse().ok()).collect();
        let (Some(mid), Some(first)) = (media.attribute_val("mid"), types.first()) else { continue };
        let place = if media.media() == Some("video") { &mut sent.video } else { &mut sent.audio };
        if place.replace((mid.into(), (*first).into())).is_some() {
            return Err("the offer takes more than one picture, or more than one sound");
        }
        if media.media() == Some("audio") {
            sent.audio_types = types;
        }
    }
    if sent.video.is_none() && sent.audio.is_none() {
        return Err("the offer takes neither the picture nor the sound in their codecs");
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use gst_sdp::SDPMessage;

    use super::*;

    fn parsed(media: &[&str]) -> SDPMessage {
        gst::init().unwrap();
        let head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
        SDPMessage::parse_buffer(format!("{head}{}", media.concat()).as_bytes()).unwrap()
    }

    const VIDEO: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:0\r\na=sendonly\r\n";
    const AUDIO: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\na=mid:1\r\na=sendonly\r\n";

    #[test]
    fn what_is_sent_is_found() {
        let both = parsed(&[VIDEO, AUDIO]);
        let wanted = Sent {
            video: Some(("0".into(), 96.into())),
            audio: Some(("1".into(), 111.into())),
            audio_types: vec![111, 63],
        };
        assert_eq!(sent(&both, &both), Ok(wanted));
        let refused = VIDEO.replace("video 9", "video 0");
        let inactive = VIDEO.replace("sendonly", "inactive");
        for silent in [&refused, &inactive] {
            let found = sent(&both, &parsed(&[silent, AUDIO])).unwrap();
            assert_eq!((found.video, found.audio.is_some()), (None, true));
            assert!(sent(&both, &parsed(&[silent, &AUDIO.replace("sendonly", "inactive")])).is_err());
        }
    }

    #[test]
    fn an_answer_to_something_else_is_none() {
        let both = parsed(&[VIDEO, AUDIO]);
        let named = VIDEO.replace("mid:0", "mid:video_0");
        for other in [&[VIDEO][..], &[AUDIO, VIDEO], &[VIDEO, AUDIO, AUDIO], &[&named, AUDIO]] {
            assert!(sent(&both, &parsed(other)).is_err(), "{other:?}");
        }
        let twice = parsed(&[VIDEO, &VIDEO.replace("mid:0", "mid:2")]);
        assert!(sent(&twice, &twice).is_err());
    }

    #[test]
    fn nothing_is_taken() {
        let answer = "m=video\r\na=sendrecv\r\nm=audio\r\na=recvonly\r\na=x:sendrecv\r\n";
        assert_eq!(one_way(answer), "m=video\r\na=sendonly\r\nm=audio\r\na=inactive\r\na=x:sendrecv\r\n");
    }

    #[test]
    fn candidates_and_further_streams_are_taken_out() {
        let text = "v=0\r\na=candidate:1 1 udp 1 1.2.3.4 5 typ host\r\na=rid:h recv\r\na=simulcast:recv h;l\r\na=ssrc:1 cname:x\r\na=ssrc-group:FID 1 2\r\na=mid:0\r\n";
        let (rest, candidates) = without_candidates(text);
        assert_eq!((rest.as_str(), candidates.len()), ("v=0\r\na=mid:0\r\n", 1));
    }
}
