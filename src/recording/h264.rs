//! H.264 as Matroska wants it: lengths before the units instead of start codes, parameters beforehand.
//!
//! In: access units in byte-stream form, as the encoder gives them. Out: `avcC` bytes and converted units.
//! Never: decoding.

/// The decoder's configuration (`avcC`) from an access unit that has its parameter sets; `None` without them.
pub fn configuration(unit: &[u8]) -> Option<Vec<u8>> {
    let nals = split(unit);
    let of = |kind: u8| nals.iter().find(|nal| nal.first().is_some_and(|head| head & 0x1F == kind)).copied();
    let (sps, pps) = (of(7)?, of(8)?);
    let (profile, rest) = (sps.get(1..4)?, [sps, pps].map(|set| u16::try_from(set.len()).ok()));
    let [Some(sps_length), Some(pps_length)] = rest else { return None };
    let mut bytes = vec![1];
    bytes.extend_from_slice(profile);
    bytes.extend([0xFF, 0xE1]);
    bytes.extend(sps_length.to_be_bytes());
    bytes.extend_from_slice(sps);
    bytes.push(1);
    bytes.extend(pps_length.to_be_bytes());
    bytes.extend_from_slice(pps);
    Some(bytes)
}

/// The access unit with four bytes of length before each of its parts.
pub fn with_lengths(unit: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(unit.len() + 16);
    for nal in split(unit) {
        bytes.extend(u32::try_from(nal.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(nal);
    }
    bytes
}

/// The parts between start codes.
fn split(unit: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    let mut at = 0;
    while at + 3 <= unit.len() {
        if unit[at..at + 3] == [0, 0, 1] {
            starts.push(at);
            at += 3;
        } else {
            at += 1;
        }
    }
    let ends = starts.iter().skip(1).copied().chain([unit.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| {
            let mut nal = &unit[start + 3..end];
            // A start code of four bytes, or padding: a unit never ends with a zero.
            while let Some((0, rest)) = nal.split_last() {
                nal = rest;
            }
            nal
        })
        .filter(|nal| !nal.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &[u8] =
        &[0, 0, 0, 1, 0x67, 0x42, 0xC0, 0x1F, 0xAA, 0, 0, 0, 1, 0x68, 0xCE, 0x3C, 0, 0, 1, 0x65, 0x88, 0x80];

    #[test]
    fn start_codes_become_lengths() {
        let units: &[u8] =
            &[0, 0, 0, 5, 0x67, 0x42, 0xC0, 0x1F, 0xAA, 0, 0, 0, 3, 0x68, 0xCE, 0x3C, 0, 0, 0, 3, 0x65, 0x88, 0x80];
        assert_eq!(with_lengths(UNIT), units);
        assert_eq!(with_lengths(&[]), Vec::<u8>::new());
        assert_eq!(with_lengths(&[1, 2, 3]), Vec::<u8>::new());
    }

    #[test]
    fn the_configuration_needs_both_parameter_sets() {
        let made = configuration(UNIT).unwrap();
        assert_eq!(made[..6], [1, 0x42, 0xC0, 0x1F, 0xFF, 0xE1]);
        assert_eq!(made[6..13], [0, 5, 0x67, 0x42, 0xC0, 0x1F, 0xAA]);
        assert_eq!(made[13..], [1, 0, 3, 0x68, 0xCE, 0x3C]);
        assert_eq!(configuration(&UNIT[13..]), None);
    }
}
