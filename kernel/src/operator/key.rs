//! The key of this machine's checkpoints: they are made with it, and it goes on from none that was made without.

use checkpoint::Key;
use core::sync::atomic::AtomicU64;

machine::facts! {
    /// The image builder writes it here; zeros are none. It is among the facts because no checkpoint has those: who can read one still can't make
    /// another. A restored system has the key of the machine that it is on, by which it was checked.
    #[unsafe(no_mangle)]
    static CHECKPOINT_KEY: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
}

/// The image's key, if it has one.
pub fn key() -> Option<Key> {
    // SAFETY: a static of this image; volatile, because the builder changes it behind the compiler's back.
    let word = |number: usize| unsafe { CHECKPOINT_KEY[number].as_ptr().read_volatile() };
    (0..CHECKPOINT_KEY.len()).any(|number| word(number) != 0).then(|| {
        Key::filled(|key| {
            for (number, bytes) in key.as_chunks_mut().0.iter_mut().enumerate() {
                *bytes = word(number).to_le_bytes();
            }
        })
    })
}
