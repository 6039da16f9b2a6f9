//! Short names for people nobody knows by name, the same as the page gives them (`web-app/src/names.ts`), so that panel, list and log speak of
//! the same person.
//!
//! In: a signalling peer id, or its first eight characters. Out: two words. Never: a claim to know somebody; a name lasts as long as a
//! connection, and two people may have the same one.

/// The two words for this peer.
pub fn short_name(peer: &str) -> String {
    let hash = peer
        .bytes()
        .take(ID_LENGTH)
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)); // FNV-1a
    let (colour, animal) = (hash as usize % COLOURS.len(), hash as usize / COLOURS.len() % ANIMALS.len());
    format!("{} {}", COLOURS[colour], ANIMALS[animal])
}

const ID_LENGTH: usize = 8;
const COLOURS: [&str; 16] = [
    "Amber", "Azure", "Black", "Blue", "Bronze", "Copper", "Coral", "Golden", "Green", "Grey", "Indigo", "Ivory",
    "Red", "Silver", "Violet", "White",
];
const ANIMALS: [&str; 32] = [
    "Badger", "Bear", "Beaver", "Bison", "Crane", "Deer", "Dolphin", "Eagle", "Falcon", "Finch", "Fox", "Gull", "Hare",
    "Heron", "Ibex", "Kestrel", "Lark", "Lynx", "Magpie", "Marten", "Moose", "Otter", "Owl", "Panda", "Puffin",
    "Raven", "Robin", "Seal", "Swan", "Tern", "Wolf", "Wren",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_gives_the_same_names() {
        // The same pairs stand in web-app/test/names.test.ts.
        for (id, name) in [
            ("766f68f7", "Azure Beaver"),
            ("00000000", "Copper Wolf"),
            ("ffffffff", "Copper Owl"),
            ("0123456789", "Silver Finch"),
        ] {
            assert_eq!(short_name(id), name);
        }
        assert_eq!(short_name("766f68f7-05c2-4d5d-9d0a-8f3b5d1f6a10"), short_name("766f68f7"));
    }
}
