//! What the system says, as a person reads it.
//!
//! In: errors, and sentences made of them. Out: the same without the numbers of the system's calls.
//! Never: a text that loses what went wrong.

use std::fmt::Display;

/// The text of an error, or a sentence with such texts in it: `No such file or directory (os error 2)` becomes `no such file or folder`.
pub fn plain(error: impl Display) -> String {
    let text = error.to_string();
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once(MARK) {
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        if let Some(next) = after[digits..].strip_prefix(')').filter(|_| digits > 0) {
            plain.push_str(&uncapitalised(before));
            rest = next;
        } else {
            plain += before;
            plain += MARK;
            rest = after;
        }
    }
    plain += rest;
    plain.replace("no such file or directory", "no such file or folder")
}

/// The system's own words begin after the last colon or bracket, and with a capital letter.
fn uncapitalised(text: &str) -> String {
    let start =
        [": ", "("].into_iter().filter_map(|sign| text.rfind(sign).map(|at| at + sign.len())).max().unwrap_or(0);
    let mut words = text[start..].chars();
    let first = words.next().map(|first| first.to_ascii_lowercase());
    text[..start].chars().chain(first).chain(words).collect()
}

const MARK: &str = " (os error ";

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_the_system_says_reads_as_words() {
        let missing = io::Error::from_raw_os_error(2);
        assert_eq!(plain(&missing), "no such file or folder");
        assert_eq!(plain(io::Error::from_raw_os_error(13)), "permission denied");
        assert_eq!(plain(format!("cannot read A b.toml: {missing}")), "cannot read A b.toml: no such file or folder");
        assert_eq!(
            plain(format!("cannot reach S ({missing}); x: {missing}. Y")),
            "cannot reach S (no such file or folder); x: no such file or folder. Y"
        );
        for kept in ["", "GStreamer is missing", "A (os error x) B", "A (os error ) B", "A (os error 2"] {
            assert_eq!(plain(kept), kept);
        }
    }
}
