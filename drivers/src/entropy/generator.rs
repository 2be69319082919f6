//! The generator: BLAKE3 as hash and as stream, with a key that is replaced after every use, so that what was given out can't
//! be computed from what is in memory later (fast key erasure, D. J. Bernstein, 2017).

/// A deterministic generator over a secret key.
#[derive(Clone)]
pub struct Generator {
    key: [u8; 32],
    given: u64,
}

impl Generator {
    /// Unseeded: predictable until something is mixed in, and so due for it from the start.
    pub const fn new() -> Self {
        Self { key: [0; 32], given: u64::MAX }
    }

    /// Makes the key depend on `bytes` as well. Never makes it weaker.
    pub fn mix(&mut self, bytes: &[u8]) {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(b"mix");
        hasher.update(bytes);
        self.key = *hasher.finalize().as_bytes();
        self.given = 0;
    }

    /// Gives out bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        let mut stream = blake3::Hasher::new_keyed(&self.key).update(b"fill").finalize_xof();
        stream.fill(&mut self.key);
        stream.fill(bytes);
        self.given = self.given.saturating_add(bytes.len() as u64);
    }

    /// Bytes given out since something was mixed in; `u64::MAX` if nothing ever was.
    pub fn given(&self) -> u64 {
        self.given
    }
}

impl Default for Generator {
    fn default() -> Self {
        Self::new()
    }
}
