//! The machine's host key: kept, or made and kept.

use alloc::vec::Vec;
use core::fmt;

use crate::{Entry, Store, StoreError};

/// The seed of an Ed25519 key (RFC 8032, 5.1.5).
#[derive(Clone, PartialEq, Eq)]
pub struct HostKey(pub [u8; 32]);

/// It is secret.
impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostKey")
    }
}

impl Entry for HostKey {
    const KIND: u16 = 1;
    const VERSION: u16 = 1;
    const NAME: &'static str = "host key";

    fn encode(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// How long a key lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// It was kept before.
    Kept,
    /// Made now, and kept from now on.
    Made,
    /// Made now, and lost when the machine ends: it could not be written.
    NotKept(StoreError),
    /// Made now, and lost when the machine ends: there is no place to keep it.
    Nowhere,
}

/// Why a machine has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKeyError {
    /// One may be kept, but can't be had. Another one in its place would look like somebody else's to all who know the machine.
    Kept(StoreError),
    /// There is none, and a good one can't be made.
    Entropy,
}

impl fmt::Display for HostKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept(error) => write!(f, "what is kept is {error}"),
            Self::Entropy => f.write_str("none is made from entropy that is not good"),
        }
    }
}

impl core::error::Error for HostKeyError {}

/// The key that is kept; else a new one by `fill`, which is given the seed's bytes, if entropy is good.
pub fn host_key(
    store: Option<&mut Store<'_>>,
    entropy_is_good: bool,
    fill: impl FnOnce(&mut [u8]),
) -> Result<(HostKey, Keeping), HostKeyError> {
    let kept = store.as_ref().map_or(Ok(None), |store| store.get()).map_err(HostKeyError::Kept)?;
    if let Some(key) = kept {
        return Ok((key, Keeping::Kept));
    }
    if !entropy_is_good {
        return Err(HostKeyError::Entropy);
    }
    let mut key = HostKey([0; 32]);
    fill(&mut key.0);
    let keeping = match store.map(|store| store.put(&key)) {
        Some(Ok(())) => Keeping::Made,
        Some(Err(error)) => Keeping::NotKept(error),
        None => Keeping::Nowhere,
    };
    Ok((key, keeping))
}
