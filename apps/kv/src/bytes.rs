//! Byte strings: up to 15 bytes in place, longer ones on the heap.
use crate::failure::Failure;
use alloc::vec::Vec;
use core::ops::Deref;

/// The longest string that needs no allocation.
const INLINE: usize = 15;
/// What an allocation costs besides its bytes.
const ALLOCATION_OVERHEAD: usize = 16;

/// Bytes on the heap that an allocation of `capacity` bytes costs.
pub(crate) fn allocation(capacity: usize) -> usize {
    if capacity == 0 { 0 } else { capacity.next_multiple_of(16) + ALLOCATION_OVERHEAD }
}

/// A byte string: a key, a field, a member, an element, a value.
#[derive(Debug)]
pub(crate) enum Bytes {
    Inline { len: u8, data: [u8; INLINE] },
    Heap(Vec<u8>),
}

const _: () = assert!(size_of::<Bytes>() == 24);

impl Bytes {
    /// A copy of `bytes`.
    pub fn new(bytes: &[u8]) -> Result<Self, Failure> {
        if bytes.len() <= INLINE {
            let mut data = [0; INLINE];
            data[..bytes.len()].copy_from_slice(bytes);
            return Ok(Self::Inline { len: bytes.len() as u8, data });
        }
        let mut heap = Vec::new();
        heap.try_reserve_exact(bytes.len())?;
        heap.extend_from_slice(bytes);
        Ok(Self::Heap(heap))
    }

    /// The empty string.
    pub const fn empty() -> Self {
        Self::Inline { len: 0, data: [0; INLINE] }
    }

    /// Takes over `bytes`, without a copy where they are long.
    pub fn from_vec(bytes: Vec<u8>) -> Result<Self, Failure> {
        if bytes.len() <= INLINE { Self::new(&bytes) } else { Ok(Self::Heap(bytes)) }
    }

    /// Becomes a copy of `bytes`, in the same allocation if that fits well.
    pub fn assign(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if let Self::Heap(heap) = self
            && bytes.len() > INLINE
            && bytes.len() <= heap.capacity()
            && bytes.len() >= heap.capacity() / 2
        {
            heap.clear();
            heap.extend_from_slice(bytes);
            return Ok(());
        }
        *self = Self::new(bytes)?;
        Ok(())
    }

    /// The string as a vector with room for `extra` bytes more, to be changed in place.
    pub fn growable(&mut self, extra: usize) -> Result<&mut Vec<u8>, Failure> {
        if let Self::Inline { len, data } = self {
            let mut heap = Vec::new();
            heap.try_reserve(usize::from(*len) + extra)?;
            heap.extend_from_slice(&data[..usize::from(*len)]);
            *self = Self::Heap(heap);
        }
        let Self::Heap(heap) = self else { return Err(Failure::OutOfMemory) };
        heap.try_reserve(extra)?;
        Ok(heap)
    }

    /// Bytes this string takes besides its own 24.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Inline { .. } => 0,
            Self::Heap(heap) => allocation(heap.capacity()),
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Inline { len, data } => &data[..usize::from(*len).min(INLINE)],
            Self::Heap(heap) => heap,
        }
    }
}
