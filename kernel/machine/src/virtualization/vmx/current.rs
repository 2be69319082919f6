//! The fields of the control structure that is current (Intel SDM vol. 3, 25.11.2).

use core::arch::asm;
use x86defs::vmx::field::{Access, Field, Vmcs, Width, Writable};

/// The control structure that is current on this CPU.
#[derive(Debug)]
pub struct Current(());

impl Current {
    /// The control structure that is current on this CPU.
    ///
    /// # Safety
    /// There is one ([`enable`](super::enable)) for as long as this lives; fields are written that the CPU has, with what keeps the system
    /// sound.
    #[inline(always)]
    pub unsafe fn new() -> Self {
        Self(())
    }
}

/// Reads a field by its encoding; whether the CPU has it.
#[inline(always)]
fn vmread(encoding: u32) -> (u64, bool) {
    let value: u64;
    let mut failed = 0u8;
    // SAFETY: there is a current structure (`Current::new`). A field that the CPU lacks leaves the register alone.
    unsafe {
        if cfg!(debug_assertions) {
            asm!(
                "vmread {}, {}",
                "setna {}",
                inout(reg) 0u64 => value, in(reg) u64::from(encoding), out(reg_byte) failed, options(nostack)
            );
        } else {
            asm!("vmread {}, {}", inout(reg) 0u64 => value, in(reg) u64::from(encoding), options(nostack));
        }
    }
    (value, failed == 0)
}

/// Writes a field by its encoding; whether the CPU has it.
///
/// # Safety
/// The contract of [`Current::new`].
#[inline(always)]
unsafe fn vmwrite(encoding: u32, value: u64) -> bool {
    let failed: u8;
    // SAFETY: the caller's contract.
    unsafe {
        asm!(
            "vmwrite {}, {}",
            "setna {}",
            in(reg) u64::from(encoding), in(reg) value, out(reg_byte) failed, options(nostack)
        );
    }
    failed == 0
}

/// A field that the CPU lacks is a fault of the VMM: images with assertions stop at it. In all images a structure is filled in
/// through [`Filling`], which notices it.
impl Vmcs for Current {
    #[inline(always)]
    fn read<T: Width, A: Access>(&self, field: Field<T, A>) -> T::Value {
        let (value, there) = vmread(field.encoding());
        debug_assert!(there, "VMREAD of {field:?} failed");
        T::from_raw(value)
    }

    #[inline(always)]
    fn write<T: Width>(&mut self, field: Field<T, Writable>, value: T::Value) {
        let value = T::to_raw(value);
        if cfg!(debug_assertions) {
            // SAFETY: the contract of `new`.
            let there = unsafe { vmwrite(field.encoding(), value) };
            assert!(there, "VMWRITE of {field:?} failed");
        } else {
            // SAFETY: the contract of `new`.
            unsafe {
                asm!("vmwrite {}, {}", in(reg) u64::from(field.encoding()), in(reg) value, options(nostack));
            }
        }
    }
}

/// The current structure while it is filled in for the first time: no write is lost unnoticed.
#[derive(Debug)]
pub struct Filling {
    current: Current,
    lost: Option<u32>,
}

impl Filling {
    /// None is lost yet.
    pub fn new(current: Current) -> Self {
        Self { current, lost: None }
    }

    /// The structure, filled in.
    ///
    /// # Errors
    /// The encoding of the first field that the CPU lacks.
    pub fn end(self) -> Result<Current, u32> {
        match self.lost {
            Some(encoding) => Err(encoding),
            None => Ok(self.current),
        }
    }
}

impl Vmcs for Filling {
    fn read<T: Width, A: Access>(&self, field: Field<T, A>) -> T::Value {
        self.current.read(field)
    }

    fn write<T: Width>(&mut self, field: Field<T, Writable>, value: T::Value) {
        // SAFETY: the contract of `Current::new`.
        if !unsafe { vmwrite(field.encoding(), T::to_raw(value)) } {
            self.lost.get_or_insert(field.encoding());
        }
    }
}
