//! The name of a stored file.

use std::cell::RefCell;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Characters of an id.
pub const FILE_ID_CHARS: usize = 26;

/// Crockford's base 32, in lower case: no `i`, `l`, `o` or `u`.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const BITS_A_CHAR: u32 = 5;
const RANDOM_BITS: u32 = 80;
const RANDOM_BYTES: usize = RANDOM_BITS as usize / 8;
/// Ids for which a thread asks the kernel at once.
const RANDOM_IDS: usize = 32;

thread_local! {
    static RANDOM: RefCell<Random> = const { RefCell::new(Random { bytes: [[0; RANDOM_BYTES]; RANDOM_IDS], left: 0 }) };
}

/// Random bytes of the kernel, each used once.
struct Random {
    bytes: [[u8; RANDOM_BYTES]; RANDOM_IDS],
    left: usize,
}

impl Random {
    fn next(&mut self) -> std::io::Result<[u8; RANDOM_BYTES]> {
        if self.left == 0 {
            getrandom::fill(self.bytes.as_flattened_mut()).map_err(std::io::Error::other)?;
            self.left = RANDOM_IDS;
        }
        self.left -= 1;
        Ok(std::mem::take(&mut self.bytes[self.left]))
    }
}

/// 48 bits of milliseconds since 1970, then 80 random bits: ids sort by time of creation, and cannot be guessed.
///
/// The layout is ULID's, in lower case. Two ids of the same millisecond are in no particular order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(u128);

impl FileId {
    /// An id for a file that starts now.
    ///
    /// # Errors
    /// Where the kernel has no random bytes to give.
    pub fn generate() -> std::io::Result<Self> {
        let random = RANDOM.with_borrow_mut(Random::next)?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self::from_parts(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX), random))
    }

    /// The id of a time, of which the low 48 bits count, and random bytes.
    #[must_use]
    pub fn from_parts(unix_ms: u64, random: [u8; 10]) -> Self {
        let mut low = [0; 16];
        low[6..].copy_from_slice(&random);
        Self((u128::from(unix_ms) << RANDOM_BITS) | u128::from_be_bytes(low))
    }

    /// Reads an id as [`Display`](fmt::Display) writes it; anything else, upper case included, is `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // 26 characters hold 130 bits: the first one may use only three of its five.
        if text.len() != FILE_ID_CHARS || text.as_bytes()[0] > b'7' {
            return None;
        }
        text.bytes()
            .try_fold(0, |id, byte| {
                let digit = ALPHABET.iter().position(|&c| c == byte)?;
                Some((id << BITS_A_CHAR) | digit as u128)
            })
            .map(Self)
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; FILE_ID_CHARS];
        let mut rest = self.0;
        for byte in text.iter_mut().rev() {
            *byte = ALPHABET[(rest & 31) as usize];
            rest >>= BITS_A_CHAR;
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileId({self})")
    }
}

impl Serialize for FileId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FileId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("not a file id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn later_ids_sort_behind_earlier_ones() {
        let earlier = FileId::from_parts(1_700_000_000_000, [0xff; 10]).to_string();
        let later = FileId::from_parts(1_700_000_000_001, [0; 10]).to_string();
        assert!(earlier < later, "{earlier} {later}");
    }

    #[test]
    fn only_the_canonical_text_is_an_id() {
        let id = FileId::from_parts(1, [7; 10]).to_string();
        for text in [
            "",
            "..",
            "a",
            &id[1..],
            &format!("{id}0"),
            &id.to_uppercase().replace('0', "O"),
            &"8".repeat(26),
            &"é".repeat(13),
        ] {
            assert_eq!(FileId::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(value: u128) {
            let text = FileId(value).to_string();
            prop_assert_eq!(text.len(), FILE_ID_CHARS);
            prop_assert_eq!(FileId::parse(&text), Some(FileId(value)));
        }
    }
}
