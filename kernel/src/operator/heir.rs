//! What a machine leaves to the system that takes its place, among the facts that no checkpoint has: on demand its own identity on the
//! network, in place of the frozen one's.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

machine::facts! {
    /// Whoever takes this machine's place is to take its identity, too.
    static NEW_IDENTITY: AtomicBool = AtomicBool::new(false);
    /// The seed of its host key, if it has one.
    static HAS_HOST_KEY: AtomicBool = AtomicBool::new(false);
    static HOST_KEY: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
}

/// Remembers this machine's host key by its seed.
pub fn keep_host_key(seed: &[u8; 32]) {
    for (place, bytes) in HOST_KEY.iter().zip(seed.as_chunks().0) {
        place.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
    }
    HAS_HOST_KEY.store(true, Ordering::Release);
}

/// The seed of the host key of the machine that this system is on.
pub fn host_key() -> Option<[u8; 32]> {
    let mut seed = [0; 32];
    for (place, bytes) in HOST_KEY.iter().zip(seed.as_chunks_mut().0) {
        *bytes = place.load(Ordering::Relaxed).to_le_bytes();
    }
    HAS_HOST_KEY.load(Ordering::Acquire).then_some(seed)
}

/// Says whether the system that is about to take this machine's place takes its identity.
pub fn order_new_identity(is_wanted: bool) {
    NEW_IDENTITY.store(is_wanted, Ordering::Release);
}

/// Whether this was ordered; once.
pub fn takes_new_identity() -> bool {
    NEW_IDENTITY.swap(false, Ordering::AcqRel)
}
