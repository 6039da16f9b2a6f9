//! Offers as WHIP carries them: with all candidates in them.
//!
//! In: an offer and its candidates. Out: the offer with them. Never: anything else changed; an answer, which is
//! [`crate::sdp_check`]'s to judge.

/// A candidate and the index of the media that it is for.
pub type Candidate = (u32, String);

/// The offer with its candidates, and the word that there are no more.
pub fn complete(offer: &str, candidates: &[Candidate]) -> String {
    let mut text = String::new();
    let mut media: Option<u32> = None;
    for line in offer.lines().filter(|line| !line.is_empty()) {
        if line.starts_with("m=") {
            put(&mut text, media, candidates);
            media = Some(media.map_or(0, |index| index + 1));
        }
        text.push_str(line);
        text.push_str("\r\n");
    }
    put(&mut text, media, candidates);
    text
}

fn put(text: &mut String, media: Option<u32>, candidates: &[Candidate]) {
    let mut any = false;
    for (_, candidate) in candidates.iter().filter(|(index, _)| Some(*index) == media) {
        text.push_str("a=");
        text.push_str(candidate.trim_start_matches("a="));
        text.push_str("\r\n");
        any = true;
    }
    if any {
        text.push_str("a=end-of-candidates\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str =
        "v=0\r\ns=-\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 97\r\na=mid:1\r\n";

    #[test]
    fn candidates_stand_at_the_end_of_their_media() {
        let given = [
            (0, "candidate:1 1 UDP 2 192.0.2.1 5000 typ host".to_owned()),
            (0, "a=candidate:2 1 UDP 1 2001:db8::1 5000 typ host".to_owned()),
        ];
        let text = complete(OFFER, &given);
        assert_eq!(
            text,
            "v=0\r\ns=-\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n\
             a=candidate:1 1 UDP 2 192.0.2.1 5000 typ host\r\na=candidate:2 1 UDP 1 2001:db8::1 5000 typ host\r\n\
             a=end-of-candidates\r\nm=audio 9 UDP/TLS/RTP/SAVPF 97\r\na=mid:1\r\n"
        );
    }

    #[test]
    fn each_media_has_its_own_candidates() {
        let text = complete(OFFER, &[(1, "candidate:1 1 UDP 2 192.0.2.1 5000 typ host".to_owned())]);
        assert!(
            text.ends_with("a=mid:1\r\na=candidate:1 1 UDP 2 192.0.2.1 5000 typ host\r\na=end-of-candidates\r\n"),
            "{text}"
        );
        assert_eq!(complete(OFFER, &[]), OFFER);
    }
}
