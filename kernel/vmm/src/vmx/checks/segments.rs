//! Guest segment registers (27.3.1.2).

use super::controls::is_unrestricted;
use super::{Limits, Violation, fail_if};
use crate::vmx::state::{CS, DS, ES, FS, GS, LDTR, SS, SegmentFields, TR};
use x86defs::registers::{CR0_PE, RFLAGS_VM};
use x86defs::vmx::access_rights::{DEFAULT_BIG, GRANULARITY, LONG, RESERVED, UNUSABLE};
use x86defs::vmx::control::entry;
use x86defs::vmx::field::{Vmcs, control, guest};

/// A selector's bit 2: the local descriptor table.
const LOCAL: u16 = 1 << 2;
/// Access rights of all segments in virtual-8086 mode, and their limit.
const RIGHTS_8086: u32 = 0xf3;
const LIMIT_8086: u32 = 0xffff;
/// Types of CS: read/write data, which an unrestricted guest may have there, and code, accessed.
const DATA: u32 = 3;
const CODE: [u32; 2] = [9, 11];
const CONFORMING: [u32; 2] = [13, 15];
/// Types of TR and LDTR.
const BUSY_TSS_16: u32 = 3;
const BUSY_TSS: u32 = 11;
const LOCAL_TABLE: u32 = 2;

/// A segment as the VMCS has it.
#[derive(Clone, Copy, Debug)]
struct Segment {
    selector: u16,
    base: u64,
    limit: u32,
    rights: u32,
}

impl Segment {
    fn read(vmcs: &impl Vmcs, fields: SegmentFields) -> Self {
        Self {
            selector: vmcs.read(fields.selector),
            base: vmcs.read(fields.base),
            limit: vmcs.read(fields.limit),
            rights: vmcs.read(fields.rights),
        }
    }

    const fn is_usable(&self) -> bool {
        self.rights & UNUSABLE == 0
    }
    const fn kind(&self) -> u32 {
        self.rights & 0xf
    }
    const fn is_system(&self) -> bool {
        self.rights & 1 << 4 == 0
    }
    const fn dpl(&self) -> u32 {
        self.rights >> 5 & 3
    }
    const fn rpl(&self) -> u32 {
        (self.selector & 3) as u32
    }
    const fn is_local(&self) -> bool {
        self.selector & LOCAL != 0
    }

    /// What is asked of every segment that can be used, TR and LDTR among them: presence, reserved bits, granularity.
    fn check_common(&self) -> Result<(), Violation> {
        let value = u64::from(self.rights);
        fail_if(self.rights & 1 << 7 == 0, Violation::NotPresent(value))?;
        fail_if(self.rights & RESERVED != 0, Violation::RightsReserved(value))?;
        let pages = self.rights & GRANULARITY != 0;
        let odd = self.limit & 0xfff != 0xfff;
        let large = self.limit >> 20 != 0;
        fail_if(pages && odd || !pages && large, Violation::Granularity(self.limit.into()))
    }
}

/// What the rules depend on.
#[derive(Clone, Copy, Debug)]
struct Mode {
    unrestricted: bool,
    long: bool,
    real: bool,
}

pub(super) fn check(vmcs: &impl Vmcs, limits: &Limits) -> Result<(), Violation> {
    let [es, cs, ss, ds, fs, gs, ldtr, tr] =
        [ES, CS, SS, DS, FS, GS, LDTR, TR].map(|fields| Segment::read(vmcs, fields));
    let mode = Mode {
        unrestricted: is_unrestricted(vmcs),
        long: vmcs.read(control::ENTRY) & entry::IA32E_MODE_GUEST != 0,
        real: vmcs.read(guest::CR0) & CR0_PE == 0,
    };
    let virtual_8086 = vmcs.read(guest::RFLAGS) & RFLAGS_VM != 0;
    fail_if(tr.is_local(), Violation::TrLocal(tr.selector.into()))?;
    fail_if(ldtr.is_usable() && ldtr.is_local(), Violation::LdtrLocal(ldtr.selector.into()))?;
    let same = virtual_8086 || mode.unrestricted || ss.rpl() == cs.rpl();
    fail_if(!same, Violation::Rpl(ss.selector.into()))?;
    let high = |segment: &Segment| segment.base >> 32 != 0;
    if virtual_8086 {
        for segment in [es, cs, ss, ds, fs, gs] {
            let base = u64::from(segment.selector) << 4;
            let fits = segment.base == base && segment.limit == LIMIT_8086 && segment.rights == RIGHTS_8086;
            fail_if(!fits, Violation::Virtual8086(segment.selector.into()))?;
        }
    }
    let far = [Some(tr), Some(fs), Some(gs), ldtr.is_usable().then_some(ldtr)];
    for segment in far.into_iter().flatten() {
        fail_if(!limits.is_canonical(segment.base), Violation::BaseNotCanonical(segment.base))?;
    }
    fail_if(high(&cs), Violation::BaseHigh(cs.base))?;
    for segment in [ss, ds, es] {
        fail_if(segment.is_usable() && high(&segment), Violation::BaseHigh(segment.base))?;
    }
    if !virtual_8086 {
        check_code(&cs, &ss, mode)?;
        check_stack(&ss, &cs, mode)?;
        for segment in [ds, es, fs, gs] {
            check_data(&segment, mode)?;
        }
    }
    check_system(&tr, &ldtr, mode)
}

fn check_code(cs: &Segment, ss: &Segment, mode: Mode) -> Result<(), Violation> {
    let rights = u64::from(cs.rights);
    let kind = cs.kind();
    let data = kind == DATA && mode.unrestricted;
    fail_if(!data && !CODE.contains(&kind) && !CONFORMING.contains(&kind), Violation::CsType(rights))?;
    fail_if(cs.is_system(), Violation::System(rights))?;
    let fits = match kind {
        DATA => cs.dpl() == 0,
        9 | 11 => cs.dpl() == ss.dpl(),
        _ => cs.dpl() <= ss.dpl(),
    };
    fail_if(!fits, Violation::CsDpl(rights))?;
    cs.check_common()?;
    let both = LONG | DEFAULT_BIG;
    fail_if(mode.long && cs.rights & both == both, Violation::LongAndBig(rights))
}

fn check_stack(ss: &Segment, cs: &Segment, mode: Mode) -> Result<(), Violation> {
    let rights = u64::from(ss.rights);
    fail_if(ss.is_usable() && !matches!(ss.kind(), 3 | 7), Violation::SsType(rights))?;
    fail_if(ss.is_usable() && ss.is_system(), Violation::System(rights))?;
    let by_selector = mode.unrestricted || ss.dpl() == ss.rpl();
    let by_mode = !(cs.kind() == DATA || mode.real) || ss.dpl() == 0;
    fail_if(!by_selector || !by_mode, Violation::SsDpl(rights))?;
    if ss.is_usable() { ss.check_common() } else { Ok(()) }
}

fn check_data(segment: &Segment, mode: Mode) -> Result<(), Violation> {
    if !segment.is_usable() {
        return Ok(());
    }
    let rights = u64::from(segment.rights);
    let kind = segment.kind();
    let unreadable = kind & 0b1010 == 0b1000;
    fail_if(kind & 1 == 0 || unreadable, Violation::DataType(rights))?;
    fail_if(segment.is_system(), Violation::System(rights))?;
    let bound = !mode.unrestricted && kind < CONFORMING[0] - 1;
    fail_if(bound && segment.dpl() < segment.rpl(), Violation::DataDpl(rights))?;
    segment.check_common()
}

fn check_system(tr: &Segment, ldtr: &Segment, mode: Mode) -> Result<(), Violation> {
    let rights = u64::from(tr.rights);
    fail_if(!tr.is_usable(), Violation::TrUnusable(rights))?;
    let busy = tr.kind() == BUSY_TSS || tr.kind() == BUSY_TSS_16 && !mode.long;
    fail_if(!busy || !tr.is_system(), Violation::TrType(rights))?;
    tr.check_common()?;
    if !ldtr.is_usable() {
        return Ok(());
    }
    let table = ldtr.kind() == LOCAL_TABLE && ldtr.is_system();
    fail_if(!table, Violation::LdtrType(ldtr.rights.into()))?;
    ldtr.check_common()
}
