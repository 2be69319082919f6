//! Facts of the machine: what the system knows of the hardware that it runs on, in a section of the image of its own. No checkpoint has
//! it, and a restore leaves it as it is: a restored system finds there what its new machine's has found out at boot.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

/// What may be a fact: it refers to nothing but the machine, and the VMM's reserve in it. The memory of the system that found it out is
/// gone after a restore.
pub trait Fact: Sync {}

impl Fact for AtomicBool {}
impl Fact for AtomicU32 {}
impl Fact for AtomicU64 {}
impl<T: Fact, const N: usize> Fact for [T; N] {}
impl<T: Fact + Send> Fact for spin::Once<T> {}

/// Statics in the section of facts, each of a type that is a [`Fact`].
#[macro_export]
macro_rules! facts {
    ($($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $initial:expr;)*) => {
        $(
            $(#[$attribute])*
            // SAFETY: a section of data, which holds nothing but facts.
            #[unsafe(link_section = ".facts")]
            $visibility static $name: $type = {
                const fn is_fact<T: $crate::facts::Fact>() {}
                is_fact::<$type>();
                $initial
            };
        )*
    };
}
