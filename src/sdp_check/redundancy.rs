//! Takes redundant packets out of a session description: media or parity that is sent a second time.
//!
//! In: a peer's SDP. Out: the same without payload types of RED (RFC 2198), ULP FEC (RFC 5109) and FlexFEC (RFC 8627), and without
//! their retransmissions. Never: another change.
//!
//! webrtcsrc (gst-plugin-webrtc 0.15.4) asks for them whenever they are offered. A stream that then begins with such a packet, as
//! Chromium's do on a busy machine, has no decoder for it in webrtcbin (GStreamer 1.22), and the whole talk ends. What is lost is
//! asked for again instead.

/// The text without them.
pub fn without(text: &str) -> String {
    // GStreamer ends lines at CR LF.
    let lines: Vec<&str> = text.split("\r\n").collect();
    let mut left = Vec::with_capacity(lines.len());
    let mut rest = lines.as_slice();
    while let Some((first, others)) = rest.split_first() {
        let until = others.iter().position(|line| line.starts_with("m=")).unwrap_or(others.len());
        let (section, following) = others.split_at(until);
        media(first, section, &mut left);
        rest = following;
    }
    left.join("\r\n")
}

/// One media's lines, or those before the first one.
fn media(first: &str, lines: &[&str], left: &mut Vec<String>) {
    let mut gone: Vec<&str> = Vec::new();
    gone.extend(
        lines.iter().filter_map(|line| of(line, "rtpmap")).filter(|(_, what)| is_redundant(what)).map(|one| one.0),
    );
    let resent =
        |what: &str| what.split(';').filter_map(|one| one.trim().strip_prefix("apt=")).any(|of| gone.contains(&of));
    let again: Vec<&str> =
        lines.iter().filter_map(|line| of(line, "fmtp")).filter(|(_, what)| resent(what)).map(|one| one.0).collect();
    gone.extend(again);
    // Kind, port and protocol come before the payload types.
    let stays = |(at, word): &(usize, &str)| *at < 3 || !first.starts_with("m=") || !gone.contains(word);
    left.push(first.split(' ').enumerate().filter(stays).map(|(_, word)| word).collect::<Vec<_>>().join(" "));
    let is_gone = |line: &str, name| of(line, name).is_some_and(|(payload, _)| gone.contains(&payload));
    let stays = |line: &&&str| !["rtpmap", "fmtp", "rtcp-fb"].iter().any(|name| is_gone(line, name));
    left.extend(lines.iter().filter(stays).map(|line| (*line).to_owned()));
}

/// Payload type and value of `a=NAME:PAYLOAD VALUE`.
fn of<'a>(line: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':')?.split_once(' ')
}

/// Whether `red/90000` is one of those.
fn is_redundant(what: &str) -> bool {
    let name = what.split('/').next().unwrap_or_default();
    ["red", "ulpfec", "flexfec", "flexfec-03"].iter().any(|one| one.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
    const AUDIO: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n";
    const VIDEO: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96 97 118 119 120\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\n\
        a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtpmap:118 RED/90000\r\na=rtcp-fb:118 nack\r\na=rtpmap:119 rtx/90000\r\n\
        a=fmtp:119 apt=118;rtx-time=125\r\na=rtpmap:120 ulpfec/90000\r\na=mid:1\r\n";

    #[test]
    fn a_browsers_offer_keeps_codecs_and_their_retransmissions() {
        let left = format!(
            "{HEAD}m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n\
            a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=mid:1\r\n"
        );
        assert_eq!(without(&format!("{HEAD}{AUDIO}{VIDEO}")), left);
        assert_eq!(without(&left), left);
    }

    #[test]
    fn each_media_has_payload_types_of_its_own() {
        // 118 is RED in the picture's media and Opus in the other.
        let audio = AUDIO.replace("111", "118").replace(" 63", "");
        let audio = audio.replace("a=rtpmap:63 red/48000/2\r\na=fmtp:63 118/118\r\n", "");
        assert!(without(&format!("{HEAD}{VIDEO}{audio}")).ends_with(&audio));
    }

    #[test]
    fn text_that_is_no_description_stays_as_it_is() {
        for text in ["", "m=", "a=rtpmap:", "a=rtpmap:1", "m=video\r\na=fmtp:\r\n\r\n", "a=rtpmap:9 red"] {
            assert_eq!(without(text), text);
        }
    }
}
