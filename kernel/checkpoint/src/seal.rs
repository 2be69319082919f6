//! Tags: BLAKE3, keyed. With no key given they are keyed with what everybody knows, and find accidents, not forgers.
//!
//! A tag is `keyed_hash(derive_key(context, key), …)`, the key being empty where there is none; contexts are below. The header's covers the
//! bytes before it; a chunk's covers the header's tag, the fields of the chunk's header, and its stored bytes.

use core::fmt;

use blake3::{Hash, Hasher, OUT_LEN, derive_key};

const HEADER: &str = "Quicksilver checkpoint 1: header";
const CHUNK: &str = "Quicksilver checkpoint 1: chunk";
const IMAGE: &str = "Quicksilver checkpoint 1: image";
const KEY_ID: &str = "Quicksilver checkpoint 1: key ID";

/// Bytes of a tag.
pub const TAG: usize = OUT_LEN;

/// What both ends have to know.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

/// It is secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// From 32 unpredictable bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From 64 hexadecimal digits.
    pub fn from_hex(digits: &str) -> Option<Self> {
        Hash::from_hex(digits).ok().map(|bytes| Self(bytes.into()))
    }

    /// Tells keys apart, and says nothing else of them.
    pub(crate) fn id(&self) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = derive_key(KEY_ID, &self.0);
        [a, b, c, d, e, f, g, h]
    }
}

fn derived(context: &str, key: Option<&Key>) -> [u8; 32] {
    derive_key(context, key.map_or(&[], |key| &key.0))
}

/// The tag of a header, from its bytes before.
pub fn of_header(key: Option<&Key>, bytes: &[u8]) -> Hash {
    blake3::keyed_hash(&derived(HEADER, key), bytes)
}

/// Identity of an image, from its text and constants: what no checkpoint contains, and has to be the same where one is restored.
pub fn identity(text_and_constants: &[u8]) -> [u8; 32] {
    derive_key(IMAGE, text_and_constants)
}

/// Makes the tags of one checkpoint's chunks.
pub struct Seal {
    key: [u8; 32],
    header: [u8; TAG],
}

impl Seal {
    /// Of the checkpoint whose header has this tag.
    pub fn new(key: Option<&Key>, header: [u8; TAG]) -> Self {
        Self { key: derived(CHUNK, key), header }
    }

    /// The tag of a chunk, from the fields of its header and its stored bytes.
    pub fn of_chunk(&self, fields: &[u8], stored: &[u8]) -> Hash {
        Hasher::new_keyed(&self.key).update(&self.header).update(fields).update(stored).finalize()
    }
}
