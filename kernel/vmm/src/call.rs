//! Hypercalls: what the system asks of the VMM beneath it. Numbers in RAX, arguments in RDI and RDX; the answer's [`Status`]
//! comes in RAX, a value in RDX. All else is unchanged.

pub use crate::memory::{MOST_ABSORBED, TOLD};

/// A hypercall's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Call {
    /// Does nothing. The value is [`VERSION`].
    Version = 0,
    /// The VMM leaves this CPU: the call returns on the bare machine.
    Leave = 1,
    /// The value is how many exits of a kind (RDI: number of a [`Count`]) there were on all CPUs.
    Exits = 2,
    /// Fetches the oldest report of a forbidden access: RDX = its address; the instruction's address stays for
    /// [`Call::ReportOrigin`]. [`Status::Nothing`] if there is none.
    Report = 3,
    /// The value is the address of the instruction that caused the report fetched last.
    ReportOrigin = 4,
    /// Watches the writes to a page-aligned range (RDI: start, RDX: length in bytes): the first to each 4 KiB page exits once.
    /// Every CPU has to [`Call::Flush`] before the watch is complete.
    Watch = 5,
    /// Ends watching a range.
    Unwatch = 6,
    /// Flushes this CPU's nested translations.
    Flush = 7,
    /// Adds whole pages of RAM (RDI: start, RDX: length in bytes, at most [`MOST_NAMED`]) to the room for copies, before a freeze. The
    /// system can read them until the end of [`Call::Thaw`], and not write them. [`Status::Dry`]: it has named as many as it may.
    Donate = 8,
    /// Names whole pages of RAM (as for [`Call::Donate`]) that are no part of the snapshot: what devices write to, and where the
    /// VMM puts what is fetched. Before a freeze.
    Exempt = 9,
    /// Freezes memory. Every CPU makes this call, interrupts off; none goes on before all have, and the state of each is what it is
    /// here. It returns twice, like a fork: the value is 0 now, and will be 1 for a system that has been restored.
    /// [`Status::Alone`]: not all came.
    Freeze = 10,
    /// Copies what frames held at the freeze (RDI: address of the first) to exempt memory (RDX: address, a multiple of 4 KiB, plus
    /// the number of frames, 1 to [`MOST_FETCHED`]).
    Fetch = 11,
    /// Copies a CPU's frozen state (RDI: its number) to a page of exempt memory (RDX), as a
    /// [`CpuState`](x86defs::state::CpuState).
    FetchState = 12,
    /// Says that everything below an address (RDI, a multiple of 4 KiB) was sent: it can't be fetched any more, and copies of it make
    /// room. The value is how far that was done: the rest wants another call.
    Pass = 13,
    /// Ends the snapshot, or what was prepared for one; donated memory is the system's again. The value is 1 while another call is
    /// needed, else 0. RDI other than 0 in the first one: what is written is still recorded, if it was ([`Call::Record`]).
    Thaw = 14,
    /// Puts a received system in the place of the running one, by the plan (RDI: address of its head; see
    /// [`takeover`](crate::takeover)). Every CPU makes this call, interrupts off, with nothing else that writes memory. It returns only
    /// where it fails, with nothing changed; else each CPU goes on in the new system. [`Status::BadArgument`]: the plan or a state
    /// breaks a rule. [`Status::Alone`]: not all came. Not while a snapshot is held.
    Restore = 15,
    /// Has what is written from the next freeze on recorded, until a [`Call::Thaw`] that does not keep the record, a freeze without this
    /// call before it, guest mode's end, or a restore. Costs an exit for each page that is written, once after each freeze.
    Record = 16,
    /// Tells what was written between the freeze before this one, if it was recorded from there, and this one: a bit for each of
    /// [`TOLD`] frames from an address on (RDI, a multiple of as many), in ascending order, goes to the beginning of a page of exempt memory
    /// (RDX). RAM only; the value is how many. [`Status::Nothing`]: it was not recorded.
    Written = 17,
    /// Takes device memory away (RDI: start, RDX: length in bytes; whole pages, at most 16 MiB) until [`Call::Release`] of the same range, guest
    /// mode's end, or a restore: reads find ones, and what is written reaches no device. At most [`MOST_ABSORBED`] ranges at a time, none
    /// while a snapshot is held, and none is taken then. Every CPU makes this call, with the same range, interrupts off; none goes on before
    /// all have. [`Status::Alone`]: not all came; nothing was done.
    Absorb = 18,
    /// Gives back what [`Call::Absorb`] took, named as it was there. Every CPU makes this call, as there. [`Status::Nothing`]: that was not taken.
    Release = 19,
}

/// The most bytes that one [`Call::Donate`] or [`Call::Exempt`] names.
pub const MOST_NAMED: u64 = 1 << 30;

/// The most frames that one [`Call::Fetch`] copies: other CPUs wait as long, if they meet a fault.
pub const MOST_FETCHED: u64 = 32;

/// What [`Call::Version`] returns: this interface.
pub const VERSION: u64 = 5;

impl Call {
    /// All of them, by number.
    pub const ALL: [Self; 20] = [
        Self::Version,
        Self::Leave,
        Self::Exits,
        Self::Report,
        Self::ReportOrigin,
        Self::Watch,
        Self::Unwatch,
        Self::Flush,
        Self::Donate,
        Self::Exempt,
        Self::Freeze,
        Self::Fetch,
        Self::FetchState,
        Self::Pass,
        Self::Thaw,
        Self::Restore,
        Self::Record,
        Self::Written,
        Self::Absorb,
        Self::Release,
    ];
}

/// How a hypercall went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Status {
    /// It did what it is for.
    Done = 0,
    /// There is no such call.
    Unknown = 1,
    /// An argument is out of its range; nothing was done.
    BadArgument = 2,
    /// There is nothing to fetch, or no snapshot.
    Nothing = 3,
    /// The VMM's tables are used up; nothing was done, or less than asked.
    Dry = 4,
    /// A snapshot is held, or not yet undone, or device memory is away.
    Busy = 5,
    /// There was no room for a copy: the snapshot is lost.
    Spoilt = 6,
    /// Not all CPUs came to what all do together.
    Alone = 7,
    /// A range does not begin or end with a page; here and below nothing was done.
    Unaligned = 8,
    /// A range is nothing.
    Empty = 9,
    /// A range that should be a device's is memory.
    Memory = 10,
    /// A range that should be a device's is the VMM's.
    Reserve = 11,
    /// A range that should be a device's is the local APIC's.
    Apic = 12,
    /// A range was taken away before.
    Overlap = 13,
    /// As many ranges are away as may be.
    Full = 14,
    /// A range is not passed through as memory of one type.
    Mixed = 15,
}

impl Status {
    /// All of them, by number.
    pub const ALL: [Self; 16] = [
        Self::Done,
        Self::Unknown,
        Self::BadArgument,
        Self::Nothing,
        Self::Dry,
        Self::Busy,
        Self::Spoilt,
        Self::Alone,
        Self::Unaligned,
        Self::Empty,
        Self::Memory,
        Self::Reserve,
        Self::Apic,
        Self::Overlap,
        Self::Full,
        Self::Mixed,
    ];

    /// What a number means that came from a call.
    pub fn of(number: u64) -> Self {
        usize::try_from(number)
            .ok()
            .and_then(|number| Self::ALL.get(number))
            .copied()
            .unwrap_or(Self::Unknown)
    }

    /// In words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unknown => "there is no such call",
            Self::BadArgument => "an argument is out of its range",
            Self::Nothing => "there is nothing to fetch",
            Self::Dry => "the VMM's tables are used up",
            Self::Busy => "a snapshot is held, or registers are absorbed",
            Self::Spoilt => "there was no room for a copy",
            Self::Alone => "not all CPUs came",
            Self::Unaligned => "it is not of whole pages",
            Self::Empty => "it is nothing",
            Self::Memory => "it is memory, no device's",
            Self::Reserve => "it is the VMM's",
            Self::Apic => "it is the local APIC's",
            Self::Overlap => "it was taken away before",
            Self::Full => "as many ranges are away as may be",
            Self::Mixed => "it is not passed through as memory of one type",
        }
    }
}

/// Kinds of exits that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// CPUID.
    Cpuid,
    /// Hypercalls.
    Hypercall,
    /// Accesses to model-specific registers.
    Msr,
    /// Nested faults that were resolved.
    Nested,
    /// Forbidden accesses that were stopped.
    Forbidden,
    /// Everything else.
    Other,
}

impl Count {
    /// All of them, by number, with their names in reports.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Cpuid, "cpuid"),
        (Self::Hypercall, "hypercall"),
        (Self::Msr, "msr"),
        (Self::Nested, "nested"),
        (Self::Forbidden, "forbidden"),
        (Self::Other, "other"),
    ];
}
