//! Which controls the guest runs with, as far as a CPU allows.
//!
//! Source: Intel SDM vol. 3, 25.6 to 25.8, and appendix A (the algorithm: A.2 to A.5, 32.5.1).

#[cfg(test)]
pub(crate) mod cpus;
#[cfg(test)]
mod tests;

use crate::Unavailable;
use core::fmt;
use x86defs::vmx::capability::{self as can, Allowed, Capabilities};
use x86defs::vmx::control::{entry, exit, pin, primary, secondary};
use x86defs::vmx::field::{Vmcs, control};

/// The control words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Pin-based VM-execution controls.
    Pin,
    /// Primary processor-based VM-execution controls.
    Primary,
    /// Secondary processor-based VM-execution controls.
    Secondary,
    /// VM-exit controls.
    Exit,
    /// VM-entry controls.
    Entry,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pin => "pin-based",
            Self::Primary => "primary processor-based",
            Self::Secondary => "secondary processor-based",
            Self::Exit => "exit",
            Self::Entry => "entry",
        })
    }
}

/// Controls that a CPU does not let have the wanted setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingControl {
    /// In which word.
    pub word: Word,
    /// Bits that can't be set, although wanted.
    pub unsettable: u32,
    /// Bits that can't be cleared, although unwanted.
    pub forced: u32,
}

impl fmt::Display for MissingControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { word, unsettable, forced } = self;
        write!(f, "the {word} controls {unsettable:#x} can't be set or {forced:#x} not be cleared")
    }
}

/// What is asked of one control word. Bits that are in none of the three are reserved, or all the same to us: they get the
/// value that the CPU demands, or zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Must be set.
    pub wanted: u32,
    /// Set where the CPU can.
    pub optional: u32,
    /// Must be clear.
    pub unwanted: u32,
}

/// The value of a control word.
///
/// # Errors
/// The CPU can't set what is wanted, or clear what is unwanted.
pub const fn choose(word: Word, wish: Wish, allowed: Allowed) -> Result<u32, MissingControl> {
    let unsettable = wish.wanted & !allowed.settable;
    let forced = wish.unwanted & allowed.set;
    if unsettable != 0 || forced != 0 {
        return Err(MissingControl { word, unsettable, forced });
    }
    Ok(wish.wanted | wish.optional & allowed.settable | allowed.set)
}

/// Which kind of INVEPT or INVVPID a CPU has, the narrower one if it has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Flush {
    /// One EPT pointer or identifier: the instruction's type 1.
    Single = 1,
    /// All of them: type 2.
    All = 2,
}

impl Flush {
    const fn choose(can: &Capabilities, instruction: u64, single: u64, all: u64) -> Option<Self> {
        if can.has_ept_vpid(instruction | single) {
            Some(Self::Single)
        } else if can.has_ept_vpid(instruction | all) {
            Some(Self::All)
        } else {
            None
        }
    }

    /// For INVEPT.
    pub const fn ept(can: &Capabilities) -> Option<Self> {
        Self::choose(can, can::INVEPT, can::INVEPT_SINGLE, can::INVEPT_ALL)
    }

    /// For INVVPID.
    pub const fn vpid(can: &Capabilities) -> Option<Self> {
        Self::choose(can, can::INVVPID, can::INVVPID_SINGLE, can::INVVPID_ALL)
    }
}

/// All five words, and how translations are flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words' names")]
pub struct Controls {
    pub pin: u32,
    pub primary: u32,
    pub secondary: u32,
    pub exit: u32,
    pub entry: u32,
    /// The kind of INVEPT to use.
    pub flush_ept: Flush,
    /// The kind of INVVPID to use, if translations of the guest carry an identifier.
    pub flush_vpid: Option<Flush>,
}

const PIN: Wish = Wish {
    wanted: 0,
    optional: 0,
    unwanted: pin::EXTERNAL_INTERRUPT_EXITING
        | pin::NMI_EXITING
        | pin::VIRTUAL_NMIS
        | pin::ACTIVATE_PREEMPTION_TIMER
        | pin::PROCESS_POSTED_INTERRUPTS,
};

const PRIMARY: Wish = Wish {
    wanted: primary::USE_MSR_BITMAPS | primary::ACTIVATE_SECONDARY,
    optional: 0,
    unwanted: primary::INTERRUPT_WINDOW_EXITING
        | primary::USE_TSC_OFFSETTING
        | primary::HLT_EXITING
        | primary::INVLPG_EXITING
        | primary::MWAIT_EXITING
        | primary::RDPMC_EXITING
        | primary::RDTSC_EXITING
        | primary::CR3_LOAD_EXITING
        | primary::CR3_STORE_EXITING
        | primary::ACTIVATE_TERTIARY
        | primary::CR8_LOAD_EXITING
        | primary::CR8_STORE_EXITING
        | primary::USE_TPR_SHADOW
        | primary::NMI_WINDOW_EXITING
        | primary::MOV_DR_EXITING
        | primary::UNCONDITIONAL_IO_EXITING
        | primary::USE_IO_BITMAPS
        | primary::MONITOR_TRAP_FLAG
        | primary::MONITOR_EXITING
        | primary::PAUSE_EXITING,
};

/// Without these controls an instruction that the CPU has would be an invalid one in the guest.
const INSTRUCTIONS: u32 = secondary::ENABLE_RDTSCP
    | secondary::ENABLE_INVPCID
    | secondary::ENABLE_XSAVES
    | secondary::ENABLE_USER_WAIT_AND_PAUSE
    | secondary::ENABLE_PCONFIG;

const EXIT: Wish = Wish {
    wanted: exit::SAVE_DEBUG_CONTROLS
        | exit::HOST_ADDRESS_SPACE_SIZE
        | exit::SAVE_PAT
        | exit::LOAD_PAT
        | exit::SAVE_EFER
        | exit::LOAD_EFER,
    optional: 0,
    unwanted: exit::LOAD_PERF_GLOBAL_CTRL
        | exit::ACKNOWLEDGE_INTERRUPT
        | exit::SAVE_PREEMPTION_TIMER
        | exit::CLEAR_BNDCFGS
        | exit::CLEAR_RTIT_CTL
        | exit::CLEAR_LBR_CTL
        | exit::LOAD_CET_STATE
        | exit::LOAD_PKRS
        | exit::ACTIVATE_SECONDARY,
};

const ENTRY: Wish = Wish {
    wanted: entry::LOAD_DEBUG_CONTROLS | entry::IA32E_MODE_GUEST | entry::LOAD_PAT | entry::LOAD_EFER,
    optional: 0,
    unwanted: entry::ENTRY_TO_SMM
        | entry::DEACTIVATE_DUAL_MONITOR
        | entry::LOAD_PERF_GLOBAL_CTRL
        | entry::LOAD_BNDCFGS
        | entry::LOAD_RTIT_CTL
        | entry::LOAD_CET_STATE
        | entry::LOAD_LBR_CTL
        | entry::LOAD_PKRS,
};

/// What EPT has to be able to do, with the reason where it is not.
const EPT_NEEDS: [(u64, Unavailable); 3] = [
    (can::EPT_FOUR_LEVELS, Unavailable::NoFourLevelEpt),
    (can::EPT_WRITE_BACK, Unavailable::NoWriteBackEpt),
    (can::EPT_2M, Unavailable::NoLargeEptLeaves),
];

impl Controls {
    /// The controls of a VMM that sleeps: interrupts, NMIs, HLT, ports, control and debug registers are the guest's own, as are
    /// all model-specific registers but those in the bitmap; EPT is on, with nothing restricted.
    ///
    /// # Errors
    /// What the CPU lacks.
    pub fn for_sleeping_system(can: &Capabilities) -> Result<Self, Unavailable> {
        if !can.has_true_controls() {
            return Err(Unavailable::NoTrueControls);
        }
        if can.secondary.settable & secondary::ENABLE_EPT == 0 {
            return Err(Unavailable::NoEpt);
        }
        if can.secondary.settable & secondary::UNRESTRICTED_GUEST == 0 {
            return Err(Unavailable::NoUnrestrictedGuest);
        }
        for (bits, reason) in EPT_NEEDS {
            if !can.has_ept_vpid(bits) {
                return Err(reason);
            }
        }
        let flush_ept = Flush::ept(can).ok_or(Unavailable::NoInvept)?;
        // An identifier that can't be flushed is worse than none.
        let flush_vpid = Flush::vpid(can).filter(|_| can.secondary.settable & secondary::ENABLE_VPID != 0);
        let vpid = if flush_vpid.is_some() { secondary::ENABLE_VPID } else { 0 };
        let wanted = secondary::ENABLE_EPT | secondary::UNRESTRICTED_GUEST | vpid;
        let unwanted = !(wanted | INSTRUCTIONS);
        let secondary = Wish { wanted, optional: INSTRUCTIONS, unwanted };
        let choose = |word, wish, allowed| choose(word, wish, allowed).map_err(Unavailable::MissingControl);
        Ok(Self {
            pin: choose(Word::Pin, PIN, can.pin)?,
            primary: choose(Word::Primary, PRIMARY, can.primary)?,
            secondary: choose(Word::Secondary, secondary, can.secondary)?,
            exit: choose(Word::Exit, EXIT, can.exit)?,
            entry: choose(Word::Entry, ENTRY, can.entry)?,
            flush_ept,
            flush_vpid,
        })
    }

    /// Writes the five words.
    pub fn write(&self, vmcs: &mut impl Vmcs) {
        vmcs.write(control::PIN, self.pin);
        vmcs.write(control::PRIMARY, self.primary);
        vmcs.write(control::SECONDARY, self.secondary);
        vmcs.write(control::EXIT, self.exit);
        vmcs.write(control::ENTRY, self.entry);
    }
}
