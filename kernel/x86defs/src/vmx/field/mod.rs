//! Fields of the VMCS. A field carries its width and whether it may be written in its type, so that a wrong width or a write to
//! exit information does not compile.
//!
//! Bits of an encoding: 0 access to the upper half (never used here), 9 to 1 index, 11 and 10 type, 14 and 13 width.
//!
//! Source: Intel SDM vol. 3, 25.11.2 and appendix B.

pub mod control;
pub mod exit;
pub mod guest;
pub mod host;
mod image;
#[cfg(test)]
mod tests;

use core::fmt;
use core::marker::PhantomData;
pub use image::Image;

/// A width that fields have.
pub trait Width {
    /// What the field holds.
    type Value: Copy + Eq + fmt::Debug + fmt::LowerHex;
    /// Bits 14 and 13 of encodings.
    const CODE: u32;
    /// The value as VMWRITE takes it.
    fn to_raw(value: Self::Value) -> u64;
    /// The value from what VMREAD returns.
    fn from_raw(raw: u64) -> Self::Value;
}

/// The width of addresses and registers: 64 bits on CPUs with long mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Natural {}

macro_rules! width {
    ($width:ty, $value:ty, $code:literal) => {
        impl Width for $width {
            type Value = $value;
            const CODE: u32 = $code;
            #[inline]
            fn to_raw(value: $value) -> u64 {
                value as u64
            }
            #[inline]
            fn from_raw(raw: u64) -> $value {
                raw as $value
            }
        }
    };
}
width!(u16, u16, 0);
width!(u64, u64, 1);
width!(u32, u32, 2);
width!(Natural, u64, 3);

/// Whether VMWRITE may be used. Only some CPUs allow it for exit information (IA32_VMX_MISC bit 29).
pub trait Access {
    /// The field is exit information: type 1 in bits 11 and 10.
    const READ_ONLY: bool;
}

/// Controls, guest state and host state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writable {}

/// Exit information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOnly {}

impl Access for Writable {
    const READ_ONLY: bool = false;
}
impl Access for ReadOnly {
    const READ_ONLY: bool = true;
}

/// A field of the VMCS.
///
/// ```
/// use x86defs::vmx::field::{Field, Vmcs, exit, guest};
/// const LIMIT: Field<u32> = Field::new(0x4802);
/// fn copy(vmcs: &mut impl Vmcs) {
///     let length: u32 = vmcs.read(exit::INSTRUCTION_LENGTH);
///     vmcs.write(guest::RIP, u64::from(length));
/// }
/// ```
///
/// A field is not of another width,
/// ```compile_fail
/// # use x86defs::vmx::field::Field;
/// const LIMIT: Field<u16> = Field::new(0x4802);
/// ```
/// takes no value of another width,
/// ```compile_fail
/// # use x86defs::vmx::field::{Vmcs, guest};
/// fn write(vmcs: &mut impl Vmcs, value: u32) {
///     vmcs.write(guest::RIP, value);
/// }
/// ```
/// and exit information is not written.
/// ```compile_fail
/// # use x86defs::vmx::field::{Vmcs, exit};
/// fn write(vmcs: &mut impl Vmcs) {
///     vmcs.write(exit::INSTRUCTION_LENGTH, 0);
/// }
/// ```
pub struct Field<T, A = Writable> {
    encoding: u32,
    kind: PhantomData<fn(T, A)>,
}

/// Bits 11 and 10 of exit information.
const TYPE_READ_ONLY: u32 = 1;

impl<T: Width, A: Access> Field<T, A> {
    /// A field by its encoding.
    ///
    /// # Panics
    /// If the encoding's width, type or reserved bits contradict the type: at compile time, for constants.
    pub const fn new(encoding: u32) -> Self {
        assert!(encoding >> 13 == T::CODE, "the width is another");
        assert!((encoding >> 10 & 3 == TYPE_READ_ONLY) == A::READ_ONLY, "the access is another");
        assert!(encoding & 0x1001 == 0, "reserved bits or an upper half");
        Self { encoding, kind: PhantomData }
    }
}

impl<T, A> Field<T, A> {
    /// What VMREAD and VMWRITE take.
    #[inline]
    pub const fn encoding(self) -> u32 {
        self.encoding
    }
}

impl<T, A> Clone for Field<T, A> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T, A> Copy for Field<T, A> {}
impl<T, A> fmt::Debug for Field<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name(self.encoding) {
            Some(name) => f.write_str(name),
            None => write!(f, "field {:#x}", self.encoding),
        }
    }
}

/// What holds a VMCS: the CPU, by VMREAD and VMWRITE, or [`Image`].
///
/// Fields that a CPU does not have fail there; optional ones are touched only where the control is set that they belong to.
pub trait Vmcs {
    /// Reads a field.
    fn read<T: Width, A: Access>(&self, field: Field<T, A>) -> T::Value;
    /// Writes a field.
    fn write<T: Width>(&mut self, field: Field<T, Writable>, value: T::Value);
}

/// Declares fields and the list of them.
macro_rules! fields {
    ($($(#[$attribute:meta])* $name:ident: $width:ty = $encoding:literal;)*) => {
        fields!(Writable; $($(#[$attribute])* $name: $width = $encoding;)*);
    };
    ($access:ty; $($(#[$attribute:meta])* $name:ident: $width:ty = $encoding:literal;)*) => {
        $(
            $(#[$attribute])*
            pub const $name: Field<$width, $access> = Field::new($encoding);
        )*
        /// All fields here: name and encoding.
        pub const ALL: &[(&str, u32)] = &[$((stringify!($name), $name.encoding())),*];
    };
}
use fields;

/// The name of a field, in capitals; guest and host fields share names.
pub fn name(encoding: u32) -> Option<&'static str> {
    let lists = [control::ALL, exit::ALL, guest::ALL, host::ALL];
    let all = lists.into_iter().flatten();
    all.into_iter().find(|(_, other)| *other == encoding).map(|(name, _)| *name)
}
