//! Hypercalls: what the system asks of the VMM beneath it. Numbers in RAX, arguments in RDI and RDX; the answer's [`Status`]
//! comes in RAX, a value in RDX. All else is unchanged.

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
}

/// What [`Call::Version`] returns: this interface.
pub const VERSION: u64 = 1;

impl Call {
    /// All of them, by number.
    pub const ALL: [Self; 8] = [
        Self::Version,
        Self::Leave,
        Self::Exits,
        Self::Report,
        Self::ReportOrigin,
        Self::Watch,
        Self::Unwatch,
        Self::Flush,
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
    /// There is nothing to fetch.
    Nothing = 3,
    /// The VMM's tables are used up; nothing was done, or less than asked.
    Dry = 4,
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
