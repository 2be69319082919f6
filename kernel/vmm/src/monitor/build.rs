//! Building the monitor at boot, out of the reserve and nothing else.

use super::amd::{Cpu, Real};
use super::{Monitor, Pointer};
use crate::availability::{availability, firmware_allows, is_nested};
use crate::nested::{
    ENTRIES, Layout, LongMode, MapError, MemoryType, Npt, Rights, Size, Tables, Tree, always_write_back,
    build_identity, tables_needed,
};
use crate::plan::{Needs, PlanError, plan};
use crate::shared::{Bounds, Memory, PAGE, Shared};
use crate::svm::checks::Limits;
use crate::svm::{Maps, set_up};
use crate::{Unavailable, Vendor};
use core::fmt;
use core::ops::Range;
use core::sync::atomic::AtomicU64;
use machine::cpu::MAX_CPUS;
use machine::memory::map::{MemoryMap, RegionKind};
use machine::memory::reserve::Reserve;
use machine::paging::image_bounds;
use machine::virtualization::svm::{Block, vm_cr};
use machine::virtualization::{Arena, HostCpu, HostIdt, TablePool};
use x86defs::cpuid::Source;
use x86defs::registers::{EFER_SVME, msr};
use x86defs::svm::permission::{IO_MAP, MSR_MAP, intercept_write};

/// Nested tables reach at least this far: what a top-level entry covers.
const LEAST_TOP: u64 = 512 << 30;
/// Tables of the VMM's own address space beyond those the count foretells: edges of memory regions.
const HOST_TABLES: u64 = 24;

/// Why there is no monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// The CPU can't carry one, or may not.
    Unavailable(Unavailable),
    /// The machine has too little memory for a reserve.
    NoReserve,
    /// The reserve is too small.
    Plan(PlanError),
    /// Page tables could not be built.
    Map(MapError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(reason) => reason.fmt(f),
            Self::NoReserve => f.write_str("the machine has too little memory for the VMM's reserve"),
            Self::Plan(PlanError::TooSmall(bytes)) => {
                write!(f, "the VMM's reserve is {} KiB too small", bytes.div_ceil(1024))
            }
            Self::Map(error) => write!(f, "the VMM's page tables can't be built: {error:?}"),
        }
    }
}

/// Page tables in the reserve.
#[derive(Debug)]
pub(super) struct Pool(TablePool);

impl Tables for Pool {
    #[inline]
    fn entry(&self, table: u64, index: usize) -> &AtomicU64 {
        self.0.entry(table, index)
    }
    #[inline]
    fn take(&mut self) -> Option<(u64, &mut [u64; ENTRIES])> {
        self.0.take()
    }
    fn give_back(&mut self, table: u64) {
        self.0.give_back(table);
    }
}

impl Monitor {
    /// Builds it for the CPUs that run. Once, on the bare machine.
    pub fn build(reserve: Option<Reserve>, map: &MemoryMap) -> Result<Self, BuildError> {
        match availability(&Real).map_err(BuildError::Unavailable)? {
            Vendor::Svm => firmware_allows(vm_cr()).map_err(BuildError::Unavailable)?,
            Vendor::Vmx => return Err(BuildError::Unavailable(Unavailable::NoBackend)),
        }
        let reserve = reserve.ok_or(BuildError::NoReserve)?;
        let [image_start, text_end, constants_end, data_end] = image_bounds();
        let memory_end = map.iter().map(|region| region.end).max().unwrap_or(0);
        let layout = Layout {
            largest: if Real.leaf(0x8000_0001).edx & 1 << 26 != 0 { Size::Huge } else { Size::Large },
            top: memory_end.next_multiple_of(Size::Huge.bytes()).max(LEAST_TOP),
            absent: reserve.start..reserve.start + reserve.length,
            text: image_start..text_end,
            constants: text_end..constants_end,
        };
        let cpus = machine::cpu::count();
        let tables = tables_needed(&layout, always_write_back).map_err(BuildError::Map)? + host_tables(map);
        let needs = Needs {
            cpus: cpus as u64,
            block: size_of::<Block<Cpu>>() as u64,
            host: size_of::<HostCpu>() as u64,
            // Permission maps, IDT, sink, shared.
            common: (MSR_MAP + IO_MAP) as u64 + 3 * PAGE + size_of::<Shared<Npt, Pool>>() as u64,
            tables,
            memory: map.total(RegionKind::Usable),
        };
        let plan = plan(reserve.length, &needs).map_err(BuildError::Plan)?;
        // SAFETY: the boot code hands the reserve over once; it is mapped like all RAM.
        let mut arena = unsafe { Arena::new(reserve) };
        // The plan says that all of this is there.
        let dry = BuildError::Map(MapError::Dry);
        let mut pool = Pool(arena.tables(plan.tables.length / PAGE).ok_or(dry)?);
        let host =
            host_tree(&mut pool, map, [image_start, text_end, constants_end, data_end], layout.largest)
                .map_err(BuildError::Map)?;
        let nested =
            build_identity::<Npt, _>(&mut pool, &layout, always_write_back).map_err(BuildError::Map)?;
        let maps = permission_maps(&mut arena, nested.root()).ok_or(dry)?;
        let sink = &raw const *arena.bytes::<4096>().ok_or(dry)? as u64;
        let bounds = Bounds { text: layout.text.clone(), reserve: layout.absent.clone(), memory_end };
        let shared = arena.place(Shared::new(bounds, Memory::new(nested, pool, sink))).ok_or(dry)?;
        let idt = HostIdt::build(&mut arena).ok_or(dry)?;
        let limits = limits();
        let mut blocks = [None; MAX_CPUS];
        for block in blocks.iter_mut().take(cpus) {
            let world = HostCpu::build(&mut arena).ok_or(dry)?;
            let new = Block::new(world, &idt, host.root(), Cpu { shared, limits, entered: false });
            let place = arena.place(new).ok_or(dry)?;
            set_up(&mut place.guest.control, maps);
            *block = Some(Pointer(place));
        }
        Ok(Self {
            blocks,
            shared,
            limits,
            nested: is_nested(&Real),
            arena: plan.arena.length,
            reserve: layout.absent,
        })
    }
}

/// MSRs that are the VMM's own can't be written; ports are free.
fn permission_maps(arena: &mut Arena, nested: u64) -> Option<Maps> {
    let registers = arena.bytes::<MSR_MAP>()?;
    for register in [msr::EFER, msr::VM_CR, msr::VM_HSAVE_PA, msr::SVM_KEY] {
        intercept_write(registers, register);
    }
    let msr = registers.as_ptr() as u64;
    let io = arena.bytes::<IO_MAP>()?.as_ptr() as u64;
    Some(Maps { msr, io, nested })
}

/// A bound of the tables that the VMM's own address space takes.
fn host_tables(map: &MemoryMap) -> u64 {
    let memory = |region: &&machine::memory::map::Region| is_memory(region.kind);
    // A region can begin and end within a large leaf each, and reach over many huge ones.
    map.iter().filter(memory).map(|region| 4 + (region.end >> 39) - (region.start >> 39)).sum::<u64>()
        + HOST_TABLES
}

const fn is_memory(kind: RegionKind) -> bool {
    !matches!(kind, RegionKind::Reserved | RegionKind::Unusable)
}

/// The VMM's own address space: RAM, the image with the rights it has, the local APIC.
fn host_tree(
    pool: &mut Pool,
    map: &MemoryMap,
    image: [u64; 4],
    largest: Size,
) -> Result<Tree<LongMode>, MapError> {
    let tree = Tree::new(pool, largest)?;
    for region in map.iter().filter(|region| is_memory(region.kind)) {
        let range = region.start.next_multiple_of(PAGE)..region.end & !(PAGE - 1);
        if !range.is_empty() {
            tree.map(pool, range, Rights::READ_WRITE, MemoryType::WriteBack)?;
        }
    }
    let [start, text_end, constants_end, data_end] = image;
    let parts: [(Range<u64>, Rights); 3] = [
        (start..text_end, Rights::READ_EXECUTE),
        (text_end..constants_end, Rights::READ),
        (constants_end..data_end, Rights::READ_WRITE),
    ];
    for (range, rights) in parts {
        tree.map(pool, range, rights, MemoryType::WriteBack)?;
    }
    if let Some(base) = machine::apic::memory() {
        tree.map(pool, base..base + PAGE, Rights::READ_WRITE, MemoryType::Uncached)?;
    }
    Ok(tree)
}

/// What the CPU says about itself.
fn limits() -> Limits {
    let extended = Real.leaf(0x8000_0001);
    Limits {
        physical_bits: Real.leaf(0x8000_0008).eax & 0xff,
        asids: Real.leaf(0x8000_000a).ebx,
        long_mode: extended.edx & 1 << 29 != 0,
        // What the system has set was accepted by MOV CR4 and WRMSR, which know more rules than CPUID tells; what it has
        // not, a switch never sets.
        cr4: machine::cpu::cr4(),
        efer: machine::cpu::efer() | EFER_SVME,
    }
}
