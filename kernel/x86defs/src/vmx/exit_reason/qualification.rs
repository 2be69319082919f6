//! Exit qualifications (SDM vol. 3, 28.2.1).

/// What an EPT violation's qualification says (table 28-7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EptViolation {
    /// It was a read.
    pub read: bool,
    /// It was a write; also set by reads of the guest's page tables where accessed and dirty bits are on.
    pub write: bool,
    /// It was an instruction fetch.
    pub fetch: bool,
    /// EPT allows reading, writing or fetching there.
    pub present: bool,
    /// The guest-linear address is valid.
    pub linear: bool,
    /// The access was to the page itself, not to the guest's page tables on the way. Counts if `linear`.
    pub translated: bool,
    /// An IRET had ended the blocking of NMIs before it faulted. Undefined if the exit interrupted a delivery.
    pub nmi_unblocked: bool,
}

impl EptViolation {
    /// From a qualification.
    pub const fn from_qualification(bits: u64) -> Self {
        Self {
            read: bits & 1 != 0,
            write: bits & 1 << 1 != 0,
            fetch: bits & 1 << 2 != 0,
            present: bits & 0b111 << 3 != 0,
            linear: bits & 1 << 7 != 0,
            translated: bits & 1 << 8 != 0,
            nmi_unblocked: bits & 1 << 12 != 0,
        }
    }
}

/// How a control register is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlRegisterKind {
    /// MOV to it.
    Write,
    /// MOV from it.
    Read,
    /// CLTS.
    Clts,
    /// LMSW of a value.
    Lmsw(u16),
}

/// What the qualification of a control register access says (table 28-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlRegisterAccess {
    /// Number of the control register.
    pub control: u8,
    /// How.
    pub kind: ControlRegisterKind,
    /// Number of the general register, as instructions encode it: 0 RAX, 1 RCX, 2 RDX, 3 RBX, 4 RSP and so on.
    pub general: u8,
}

impl ControlRegisterAccess {
    /// From a qualification.
    pub const fn from_qualification(bits: u64) -> Self {
        let kind = match bits >> 4 & 3 {
            0 => ControlRegisterKind::Write,
            1 => ControlRegisterKind::Read,
            2 => ControlRegisterKind::Clts,
            _ => ControlRegisterKind::Lmsw((bits >> 16) as u16),
        };
        Self { control: (bits & 0xf) as u8, kind, general: (bits >> 8 & 0xf) as u8 }
    }
}

/// What an I/O instruction's qualification says (table 28-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoAccess {
    /// The port.
    pub port: u16,
    /// Bytes: 1, 2 or 4.
    pub size: u8,
    /// IN or INS.
    pub input: bool,
    /// INS or OUTS.
    pub string: bool,
    /// With a REP prefix.
    pub repeated: bool,
}

impl IoAccess {
    /// From a qualification.
    pub const fn from_qualification(bits: u64) -> Self {
        Self {
            port: (bits >> 16) as u16,
            size: (bits & 7) as u8 + 1,
            input: bits & 1 << 3 != 0,
            string: bits & 1 << 4 != 0,
            repeated: bits & 1 << 5 != 0,
        }
    }
}

/// What the qualification says of an entry that failed by guest state (27.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryFailure {
    /// Page-directory-pointer entries.
    Pdpte,
    /// An NMI was injected while blocked by STI.
    NmiInjection,
    /// The VMCS link pointer.
    LinkPointer,
    /// Any other field: the CPU does not say which.
    Other,
}

impl EntryFailure {
    /// From a qualification.
    pub const fn from_qualification(bits: u64) -> Self {
        match bits {
            2 => Self::Pdpte,
            3 => Self::NmiInjection,
            4 => Self::LinkPointer,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qualifications_are_taken_apart() {
        // A write to a page that may be read and executed, and an instruction fetch from nowhere.
        let write = EptViolation::from_qualification(0x1aa);
        assert!(write.write && !write.read && !write.fetch && write.present && write.translated);
        let fetch = EptViolation::from_qualification(0x1184);
        assert!(fetch.fetch && !fetch.present && fetch.nmi_unblocked && fetch.linear);
        let kind = ControlRegisterKind::Write;
        assert_eq!(
            ControlRegisterAccess::from_qualification(0x304),
            ControlRegisterAccess { control: 4, kind, general: 3 }
        );
        let lmsw = ControlRegisterAccess::from_qualification(0x1234_0030);
        assert_eq!((lmsw.control, lmsw.kind), (0, ControlRegisterKind::Lmsw(0x1234)));
        let out = IoAccess { port: 0x3f8, size: 1, input: false, string: false, repeated: false };
        assert_eq!(IoAccess::from_qualification(0x3f8_0000), out);
        let rep_insd = IoAccess { port: 0x1f0, size: 4, input: true, string: true, repeated: true };
        assert_eq!(IoAccess::from_qualification(0x1f0_003b), rep_insd);
        assert_eq!(EntryFailure::from_qualification(3), EntryFailure::NmiInjection);
        assert_eq!(EntryFailure::from_qualification(0), EntryFailure::Other);
    }
}
