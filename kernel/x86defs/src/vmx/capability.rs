//! What a CPU's VMX can do: the `IA32_VMX_*` registers.
//!
//! Source: Intel SDM vol. 3, appendix A; IA32_FEATURE_CONTROL: 24.7.

/// Numbers of the registers.
#[expect(missing_docs, reason = "register names")]
pub mod msr {
    pub const FEATURE_CONTROL: u32 = 0x3a;
    pub const BASIC: u32 = 0x480;
    pub const PINBASED_CTLS: u32 = 0x481;
    pub const PROCBASED_CTLS: u32 = 0x482;
    pub const EXIT_CTLS: u32 = 0x483;
    pub const ENTRY_CTLS: u32 = 0x484;
    pub const MISC: u32 = 0x485;
    pub const CR0_FIXED0: u32 = 0x486;
    pub const CR0_FIXED1: u32 = 0x487;
    pub const CR4_FIXED0: u32 = 0x488;
    pub const CR4_FIXED1: u32 = 0x489;
    pub const VMCS_ENUM: u32 = 0x48a;
    pub const PROCBASED_CTLS2: u32 = 0x48b;
    pub const EPT_VPID_CAP: u32 = 0x48c;
    pub const TRUE_PINBASED_CTLS: u32 = 0x48d;
    pub const TRUE_PROCBASED_CTLS: u32 = 0x48e;
    pub const TRUE_EXIT_CTLS: u32 = 0x48f;
    pub const TRUE_ENTRY_CTLS: u32 = 0x490;
    pub const VMFUNC: u32 = 0x491;
    pub const PROCBASED_CTLS3: u32 = 0x492;
    pub const EXIT_CTLS2: u32 = 0x493;
}

/// IA32_FEATURE_CONTROL: no bit can be changed until the next reset. VMXON wants it.
pub const FEATURE_CONTROL_LOCK: u64 = 1;
/// IA32_FEATURE_CONTROL: VMXON is allowed outside of SMX operation.
pub const FEATURE_CONTROL_VMX: u64 = 1 << 2;

/// Which settings a control word may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Bits that must be set: those that may not be 0 ("allowed 0-settings").
    pub set: u32,
    /// Bits that may be set ("allowed 1-settings").
    pub settable: u32,
}

impl Allowed {
    /// From a register: what must be set in the lower half, what may be set in the upper.
    pub const fn from_msr(value: u64) -> Self {
        Self { set: value as u32, settable: (value >> 32) as u32 }
    }

    /// Whether a word is accepted.
    pub const fn permits(self, word: u32) -> bool {
        word & self.set == self.set && word & !self.settable == 0
    }
}

/// Which bits a control register may have in VMX operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fixed {
    /// Bits that must be set (FIXED0).
    pub set: u64,
    /// Bits that may be set (FIXED1).
    pub settable: u64,
}

impl Fixed {
    /// Whether a value is accepted.
    pub const fn permits(self, value: u64) -> bool {
        value & self.set == self.set && value & !self.settable == 0
    }
}

/// All that the registers say. Words of controls that a CPU lacks are zero: nothing can be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// IA32_VMX_BASIC.
    pub basic: u64,
    /// Pin-based controls.
    pub pin: Allowed,
    /// Primary processor-based controls.
    pub primary: Allowed,
    /// Secondary processor-based controls.
    pub secondary: Allowed,
    /// VM-exit controls.
    pub exit: Allowed,
    /// VM-entry controls.
    pub entry: Allowed,
    /// IA32_VMX_MISC.
    pub misc: u64,
    /// IA32_VMX_EPT_VPID_CAP.
    pub ept_vpid: u64,
    /// CR0.
    pub cr0: Fixed,
    /// CR4.
    pub cr4: Fixed,
}

/// BASIC: physical addresses of VMX structures have 32 bits.
const BASIC_ADDRESSES_32: u64 = 1 << 48;
/// BASIC: there are TRUE registers.
const BASIC_TRUE_CONTROLS: u64 = 1 << 55;
/// BASIC: hardware exceptions are injected with or without error code, whatever their vector.
const BASIC_ANY_ERROR_CODE: u64 = 1 << 56;

/// MISC: exits save EFER.LMA into the entry control "IA-32e mode guest".
pub const MISC_SAVES_LMA: u64 = 1 << 5;
/// MISC: the activity state HLT can be entered.
pub const MISC_HLT: u64 = 1 << 6;
/// MISC: the activity state shutdown can be entered.
pub const MISC_SHUTDOWN: u64 = 1 << 7;
/// MISC: the activity state wait-for-SIPI can be entered.
pub const MISC_WAIT_FOR_SIPI: u64 = 1 << 8;
/// MISC: VMWRITE may write exit information.
pub const MISC_VMWRITE_ALL: u64 = 1 << 29;
/// MISC: software events may be injected with an instruction length of 0.
pub const MISC_ZERO_LENGTH: u64 = 1 << 30;

/// EPT_VPID_CAP: leaves may allow execution alone.
pub const EPT_EXECUTE_ONLY: u64 = 1;
/// EPT_VPID_CAP: walks of four levels.
pub const EPT_FOUR_LEVELS: u64 = 1 << 6;
/// EPT_VPID_CAP: EPT tables may be uncached.
pub const EPT_UNCACHED: u64 = 1 << 8;
/// EPT_VPID_CAP: EPT tables may be write back.
pub const EPT_WRITE_BACK: u64 = 1 << 14;
/// EPT_VPID_CAP: leaves of 2 MiB.
pub const EPT_2M: u64 = 1 << 16;
/// EPT_VPID_CAP: leaves of 1 GiB.
pub const EPT_1G: u64 = 1 << 17;
/// EPT_VPID_CAP: INVEPT.
pub const INVEPT: u64 = 1 << 20;
/// EPT_VPID_CAP: accessed and dirty bits.
pub const EPT_ACCESSED_DIRTY: u64 = 1 << 21;
/// EPT_VPID_CAP: INVEPT of one EPT pointer.
pub const INVEPT_SINGLE: u64 = 1 << 25;
/// EPT_VPID_CAP: INVEPT of all.
pub const INVEPT_ALL: u64 = 1 << 26;
/// EPT_VPID_CAP: INVVPID.
pub const INVVPID: u64 = 1 << 32;
/// EPT_VPID_CAP: INVVPID of one address.
pub const INVVPID_ADDRESS: u64 = 1 << 40;
/// EPT_VPID_CAP: INVVPID of one identifier.
pub const INVVPID_SINGLE: u64 = 1 << 41;
/// EPT_VPID_CAP: INVVPID of all identifiers but 0.
pub const INVVPID_ALL: u64 = 1 << 42;

impl Capabilities {
    /// Asks the CPU. `read` is RDMSR; registers that a CPU with VMX may lack are read only where others say that they are
    /// there (A.2.1, A.3.3, A.10).
    pub fn read(mut read: impl FnMut(u32) -> u64) -> Self {
        use crate::vmx::control::{primary, secondary};
        let basic = read(msr::BASIC);
        let with_true = basic & BASIC_TRUE_CONTROLS != 0;
        let mut word = |plain, exact| Allowed::from_msr(read(if with_true { exact } else { plain }));
        let pin = word(msr::PINBASED_CTLS, msr::TRUE_PINBASED_CTLS);
        let primary = word(msr::PROCBASED_CTLS, msr::TRUE_PROCBASED_CTLS);
        let exit = word(msr::EXIT_CTLS, msr::TRUE_EXIT_CTLS);
        let entry = word(msr::ENTRY_CTLS, msr::TRUE_ENTRY_CTLS);
        let has_secondary = primary.settable & primary::ACTIVATE_SECONDARY != 0;
        let secondary =
            if has_secondary { Allowed::from_msr(read(msr::PROCBASED_CTLS2)) } else { Allowed::default() };
        let has_ept_vpid = secondary.settable & (secondary::ENABLE_EPT | secondary::ENABLE_VPID) != 0;
        Self {
            basic,
            pin,
            primary,
            secondary,
            exit,
            entry,
            misc: read(msr::MISC),
            ept_vpid: if has_ept_vpid { read(msr::EPT_VPID_CAP) } else { 0 },
            cr0: Fixed { set: read(msr::CR0_FIXED0), settable: read(msr::CR0_FIXED1) },
            cr4: Fixed { set: read(msr::CR4_FIXED0), settable: read(msr::CR4_FIXED1) },
        }
    }

    /// What the first word of a VMXON region and a VMCS has to hold.
    pub const fn revision(&self) -> u32 {
        self.basic as u32 & 0x7fff_ffff
    }

    /// Bytes of a VMXON region and a VMCS, at most 4096.
    pub const fn region_size(&self) -> usize {
        (self.basic >> 32 & 0x1fff) as usize
    }

    /// Whether the TRUE registers are there: only then can the controls be known that may be 0 although they once were
    /// reserved and 1.
    pub const fn has_true_controls(&self) -> bool {
        self.basic & BASIC_TRUE_CONTROLS != 0
    }

    /// How many bits physical addresses of VMX structures have on a CPU whose own have `physical_bits`.
    pub const fn address_bits(&self, physical_bits: u32) -> u32 {
        if self.basic & BASIC_ADDRESSES_32 != 0 { 32 } else { physical_bits }
    }

    /// Whether hardware exceptions can be injected with or without error code, whatever their vector.
    pub const fn has_any_error_code(&self) -> bool {
        self.basic & BASIC_ANY_ERROR_CODE != 0
    }

    /// How many CR3-target values there are.
    pub const fn cr3_targets(&self) -> u32 {
        (self.misc >> 16 & 0x1ff) as u32
    }

    /// How many entries a list of MSRs may have, as the manual recommends.
    pub const fn msr_list_length(&self) -> u32 {
        512 * (1 + (self.misc >> 25 & 7) as u32)
    }

    /// Whether EPT and VPID can do all of what `bits` name.
    pub const fn has_ept_vpid(&self, bits: u64) -> bool {
        self.ept_vpid & bits == bits
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn only_registers_that_exist_are_read() {
        let mut asked = Vec::new();
        // A Core 2: no TRUE registers, no secondary controls.
        let old = Capabilities::read(|register| {
            asked.push(register);
            if register == msr::BASIC { 0x001a_0400_0000_0007 } else { 0x0f00_0000_0000 }
        });
        assert!(asked.iter().all(|register| *register <= msr::CR4_FIXED1), "{asked:x?}");
        assert_eq!((old.revision(), old.region_size(), old.has_true_controls()), (7, 1024, false));
        assert_eq!((old.secondary, old.ept_vpid), (Allowed::default(), 0));
    }

    #[test]
    fn the_true_registers_count() {
        // Bochs 2.7, corei7_skylake_x.
        let new = Capabilities::read(|register| match register {
            msr::BASIC => 0x00d8_1000_0000_002b,
            msr::TRUE_PROCBASED_CTLS => 0xf7f9_fffe_0400_6172,
            msr::PROCBASED_CTLS2 => 0x0217_7fff_0000_0000,
            msr::EPT_VPID_CAP => 0x0f01_0633_4141,
            _ => 0,
        });
        assert_eq!((new.revision(), new.region_size(), new.has_true_controls()), (0x2b, 4096, true));
        assert_eq!(new.primary, Allowed { set: 0x0400_6172, settable: 0xf7f9_fffe });
        assert!(new.has_ept_vpid(EPT_FOUR_LEVELS | EPT_WRITE_BACK | EPT_2M | EPT_1G | INVEPT | INVVPID_ALL));
        assert_eq!((new.address_bits(46), new.has_any_error_code()), (46, false));
        assert!(new.primary.permits(0x0400_6172) && !new.primary.permits(0x0400_6170));
        assert!(!new.primary.permits(0x0400_6173));
    }
}
