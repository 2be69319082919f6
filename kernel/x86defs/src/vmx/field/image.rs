//! A VMCS in plain memory.

use super::{Access, Field, Vmcs, Width, Writable};

/// Highest index of a field, plus one; appendix B ends well below.
const INDICES: usize = 64;
/// Combinations of width and type.
const KINDS: usize = 16;

/// A VMCS in plain memory: to check what a switch would load before virtualization is on, and for tests. 8 KiB.
///
/// Behaves like a CPU that has every field. All fields are zero at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image([[u64; INDICES]; KINDS]);

impl Image {
    /// All zero.
    pub const ZERO: Self = Self([[0; INDICES]; KINDS]);

    /// Where a field is. Encodings have no bits but these, see [`Field::new`].
    const fn place<T, A>(field: Field<T, A>) -> (usize, usize) {
        let encoding = field.encoding();
        ((encoding >> 13 << 2 | encoding >> 10 & 3) as usize, (encoding >> 1 & 0x1ff) as usize)
    }

    /// Writes any field, exit information too: what a CPU does at an exit. A field with an index beyond all that are declared
    /// here is dropped.
    pub fn set<T: Width, A: Access>(&mut self, field: Field<T, A>, value: T::Value) {
        let (kind, index) = Self::place(field);
        if let Some(place) = self.0.get_mut(kind).and_then(|row| row.get_mut(index)) {
            *place = T::to_raw(value);
        }
    }
}

impl Vmcs for Image {
    fn read<T: Width, A: Access>(&self, field: Field<T, A>) -> T::Value {
        let (kind, index) = Self::place(field);
        T::from_raw(self.0.get(kind).and_then(|row| row.get(index)).copied().unwrap_or(0))
    }

    fn write<T: Width>(&mut self, field: Field<T, Writable>, value: T::Value) {
        self.set(field, value);
    }
}
