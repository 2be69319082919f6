//! Tags: BLAKE3, keyed. With no key given they are keyed with what everybody knows, and find accidents, not forgers.
//!
//! A tag is `keyed_hash(derive_key(context, key), …)`, the key being empty where there is none; contexts are below. The header's covers the
//! bytes before it; a chunk's covers the header's tag, the fields of the chunk's header, and its stored bytes.
//!
//! A machine that takes a checkpoint of itself must not find keys in its memory: they lie on the heap alone, where they are wiped in the end, and
//! what BLAKE3 leaves on the stack is wiped as soon as it has done its work.

use alloc::boxed::Box;
use core::fmt;

use blake3::{Hash, Hasher, OUT_LEN, derive_key};
use zeroize::Zeroize;

const HEADER: &str = "Quicksilver checkpoint 1: header";
const CHUNK: &str = "Quicksilver checkpoint 1: chunk";
const IMAGE: &str = "Quicksilver checkpoint 1: image";
const KEY_ID: &str = "Quicksilver checkpoint 1: key ID";

/// Bytes of a tag.
pub const TAG: usize = OUT_LEN;
/// Bytes of the stack that BLAKE3 may have used: 2 KiB for each time that 1 MiB is halved before it is 1 KiB, and some.
const STACK: usize = 32 * 1024;

/// What both ends have to know.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Box<[u8; 32]>);

/// It is secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Key {
    /// From 32 unpredictable bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self::filled(|key| *key = bytes)
    }

    /// From 32 unpredictable bytes that are written to their place at once.
    pub fn filled(fill: impl FnOnce(&mut [u8; 32])) -> Self {
        let mut key = Self(Box::new([0; 32]));
        fill(&mut key.0);
        key
    }

    /// From 64 hexadecimal digits. Zeros are no key: an image without one has them in its place.
    pub fn from_hex(digits: &str) -> Option<Self> {
        let bytes: [u8; 32] = Hash::from_hex(digits).ok()?.into();
        (bytes != [0; 32]).then(|| Self::new(bytes))
    }

    /// The secret itself.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Tells keys apart, and says nothing else of them.
    pub(crate) fn id(&self) -> [u8; 8] {
        swept(|| {
            let [a, b, c, d, e, f, g, h, ..] = derive_key(KEY_ID, self.bytes());
            [a, b, c, d, e, f, g, h]
        })
    }

    /// Made from a key, or from none, for one purpose.
    fn derived(context: &str, key: Option<&Self>) -> Self {
        Self::filled(|derived| {
            swept(|| *derived = derive_key(context, key.map_or(&[], |key| &key.bytes()[..])));
        })
    }
}

/// Computes, and wipes the stack on which that was done.
fn swept<R>(compute: impl FnOnce() -> R) -> R {
    #[inline(never)]
    fn apart<R>(compute: impl FnOnce() -> R) -> R {
        compute()
    }
    #[inline(never)]
    fn sweep() {
        [0_u64; STACK / 8].zeroize();
    }
    let result = apart(compute);
    sweep();
    result
}

/// The tag of a header, from its bytes before.
pub fn of_header(key: Option<&Key>, bytes: &[u8]) -> Hash {
    let key = Key::derived(HEADER, key);
    swept(|| blake3::keyed_hash(key.bytes(), bytes))
}

/// Identity of an image, from its text and constants: what no checkpoint contains, and has to be the same where one is restored.
pub fn identity(text_and_constants: &[u8]) -> [u8; 32] {
    derive_key(IMAGE, text_and_constants)
}

/// Makes the tags of one checkpoint's chunks.
pub struct Seal {
    key: Key,
    header: [u8; TAG],
}

impl Seal {
    /// Of the checkpoint whose header has this tag.
    pub fn new(key: Option<&Key>, header: [u8; TAG]) -> Self {
        Self { key: Key::derived(CHUNK, key), header }
    }

    /// The tag of a chunk, from the fields of its header and its stored bytes.
    pub fn of_chunk(&self, fields: &[u8], stored: &[u8]) -> Hash {
        swept(|| {
            Hasher::new_keyed(self.key.bytes()).update(&self.header).update(fields).update(stored).finalize()
        })
    }
}
