//! Building the monitor at boot, out of the reserve and nothing else.

use super::real::Real;
use super::{Blocks, EnterError};
use crate::Unavailable;
use crate::frozen::{Frozen, MOST_DONATED, MOST_EXEMPT, Pages, Span};
use crate::memory::{MOST_ABSORBED, Memory, PAGE};
use crate::nested::{
    ENTRIES, Format, Layout, LongMode, MapError, MemoryType, Rights, Size, Tables, Tree, build_identity,
    tables_needed,
};
use crate::plan::{Needs, PlanError, plan};
use crate::shared::{Bounds, Shared};
use core::fmt;
use core::ops::Range;
use core::sync::atomic::AtomicU64;
use machine::memory::map::{MemoryMap, RegionKind};
use machine::memory::reserve::Reserve;
use machine::paging::{facts_bounds, image_bounds};
use machine::virtualization::{Arena, HostCpu, HostIdt, TablePool, copy_page, fill_page};
use spin::Mutex;
use x86defs::cpuid::Source;
use x86defs::state::CpuState;

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
    /// VMX fails although everything speaks for it.
    Enter(EnterError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(reason) => reason.fmt(f),
            Self::NoReserve => f.write_str("the machine has too little memory for the VMM's reserve"),
            Self::Plan(PlanError::TooSmall(bytes)) => {
                write!(f, "the VMM's reserve is {} KiB too small", bytes.div_ceil(1024))
            }
            Self::Enter(error) => error.fmt(f),
            Self::Map(error) => write!(f, "the VMM's page tables can't be built: {error:?}"),
        }
    }
}

/// Page tables in the reserve.
#[derive(Debug)]
pub(super) struct Pool(TablePool);

impl Pool {
    /// Tables in use.
    pub fn used(&self) -> u64 {
        self.0.used()
    }
}

impl Tables for Pool {
    #[inline]
    fn entry(&self, table: u64, index: usize) -> &AtomicU64 {
        self.0.entry(table, index)
    }
    #[inline]
    fn entries(&self, table: u64) -> &[AtomicU64; ENTRIES] {
        self.0.entries(table)
    }
    #[inline]
    fn take(&mut self) -> Option<(u64, &mut [u64; ENTRIES])> {
        self.0.take()
    }
    fn give_back(&mut self, table: u64) {
        self.0.give_back(table);
    }
}

impl Pages for Pool {
    #[inline]
    fn copy_page(&mut self, from: u64, to: u64) {
        // SAFETY: by the trait's contract both are RAM that is mapped here, and nobody writes them meanwhile: one is frozen, the other
        // the VMM's, or exempt at the system's own word.
        unsafe { copy_page(from, to) };
    }

    fn clear(&mut self, page: u64) {
        // SAFETY: as above; only pages of the VMM's are cleared, and those that a plan names.
        unsafe { core::ptr::write_bytes(page as *mut u8, 0, PAGE as usize) };
    }

    fn fill(&mut self, page: u64, word: u64) {
        // SAFETY: as above; only pages of the VMM's are filled.
        unsafe { fill_page(page, word) };
    }

    #[inline]
    fn word(&self, address: u64) -> u64 {
        // SAFETY: as above.
        unsafe { (address as *const u64).read() }
    }

    #[inline]
    fn set_word(&mut self, address: u64, value: u64) {
        // SAFETY: as above.
        unsafe { (address as *mut u64).write(value) };
    }

    fn put_state(&mut self, page: u64, state: &CpuState) {
        const { assert!(size_of::<CpuState>() <= PAGE as usize) };
        // SAFETY: as above, with room for it.
        unsafe { (page as *mut CpuState).write(*state) };
    }

    fn state(&self, page: u64) -> CpuState {
        let place = page as *const CpuState;
        // Field by field, those that any content is good for.
        macro_rules! read {
            ($($field:ident)*) => {
                CpuState {
                    // SAFETY: as above; the fields are integers and structures of them.
                    $($field: unsafe { (&raw const (*place).$field).read() },)*
                    ..CpuState::default()
                }
            };
        }
        read!(registers rip rsp rflags cr0 cr2 cr3 cr4 dr6 dr7 segments gdtr idtr msrs)
    }
}

/// What a vendor needs of the reserve.
#[derive(Debug)]
pub(super) struct Wishes {
    /// The largest leaves of the CPU's tables.
    pub largest: Size,
    /// Bytes of a CPU's block.
    pub block: u64,
    /// Bytes of permission maps.
    pub maps: u64,
}

/// What is built for all vendors alike.
#[derive(Debug)]
pub(super) struct Ground<F: Format + 'static> {
    /// The rest of the reserve.
    pub arena: Arena,
    /// What the handlers share.
    pub shared: &'static Shared<F, Pool>,
    /// Root of the nested tables.
    pub nested: u64,
    /// Root of the VMM's own.
    pub host: u64,
    pub idt: HostIdt,
    /// All of the reserve.
    pub reserve: Range<u64>,
}

/// What the monitor says of its memory.
#[derive(Debug)]
pub(super) struct Extent {
    /// All of the reserve.
    pub reserve: Range<u64>,
    /// Bytes that are left for copies.
    pub room: u64,
}

/// The plan says that it is there.
pub(super) const DRY: BuildError = BuildError::Map(MapError::Dry);

impl<F: Format> Ground<F> {
    /// Divides the reserve and builds page tables. `kind` tells the memory type of a stretch for the nested ones.
    pub fn lay(
        reserve: Option<Reserve>,
        map: &MemoryMap,
        wishes: &Wishes,
        kind: impl Fn(Range<u64>) -> Option<MemoryType> + Copy,
    ) -> Result<Self, BuildError> {
        let reserve = reserve.ok_or(BuildError::NoReserve)?;
        let [image_start, text_end, constants_end, data_end] = image_bounds();
        let memory_end = map.iter().map(|region| region.end).max().unwrap_or(0);
        let layout = Layout {
            largest: wishes.largest,
            top: memory_end.next_multiple_of(Size::Huge.bytes()).max(LEAST_TOP),
            absent: reserve.start..reserve.start + reserve.length,
            text: image_start..text_end,
            constants: text_end..constants_end,
        };
        let tables = tables_needed(&layout, kind).map_err(BuildError::Map)? + host_tables(map);
        let needs = Needs {
            cpus: machine::cpu::count() as u64,
            block: wishes.block,
            host: size_of::<HostCpu>() as u64,
            // Permission maps, IDT, sink, pages of ones, shared, lists of spans, states.
            common: wishes.maps
                + (3 + MOST_ABSORBED as u64) * PAGE
                + size_of::<Shared<F, Pool>>() as u64
                + list_bytes::<Span>(MOST_DONATED)
                + list_bytes::<Span>(MOST_EXEMPT)
                + list_bytes::<Mutex<CpuState>>(machine::cpu::count()),
            tables,
            memory: map.total(RegionKind::Usable),
        };
        let plan = plan(reserve.length, &needs).map_err(BuildError::Plan)?;
        // SAFETY: the boot code hands the reserve over once; it is mapped like all RAM.
        let mut arena = unsafe { Arena::new(reserve) };
        let mut pool = Pool(arena.tables(plan.tables.length / PAGE).ok_or(DRY)?);
        let host = host_tree(&mut pool, map, [image_start, text_end, constants_end, data_end], host_leaves())
            .map_err(BuildError::Map)?;
        let nested = build_identity::<F, _>(&mut pool, &layout, kind).map_err(BuildError::Map)?;
        let (root, host_root) = (nested.root(), host.root());
        let sink = &raw const *arena.bytes::<4096>().ok_or(DRY)? as u64;
        let ones = &raw const *arena.bytes::<{ MOST_ABSORBED * PAGE as usize }>().ok_or(DRY)? as u64;
        let bounds = Bounds {
            text: layout.text.clone(),
            facts: facts_bounds(),
            reserve: layout.absent.clone(),
            memory_end,
        };
        let donated = arena.array(MOST_DONATED, |_| Span::default()).ok_or(DRY)?;
        let exempt = arena.array(MOST_EXEMPT, |_| Span::default()).ok_or(DRY)?;
        let states = arena.array(needs.cpus as usize, |_| Mutex::new(CpuState::default())).ok_or(DRY)?;
        let frozen = Frozen::new(donated, exempt, memory_end);
        let memory = Memory::new(nested, host, pool, sink, ones, frozen);
        let shared = arena.place(Shared::new(bounds, memory, states)).ok_or(DRY)?;
        let idt = HostIdt::build(&mut arena).ok_or(DRY)?;
        Ok(Self { arena, shared, nested: root, host: host_root, idt, reserve: layout.absent })
    }

    /// All that is left is for copies. Returns what is told of it.
    pub fn extent(mut self) -> Extent {
        let Range { start, end } = self.arena.rest();
        self.shared.memory.lock().frozen.arena.set_own(Span { start, end });
        Extent { reserve: self.reserve, room: end - start }
    }

    /// A block for each CPU, made with the CPU's world.
    pub fn blocks<B: 'static>(
        &mut self,
        mut make: impl FnMut(usize, &'static HostCpu, &Self) -> B,
        mut settle: impl FnMut(&mut B, &'static HostCpu, &Self) -> Result<(), BuildError>,
    ) -> Result<Blocks<B>, BuildError> {
        let mut blocks = Blocks::NONE;
        for cpu in 0..machine::cpu::count() {
            let world = HostCpu::build(&mut self.arena).ok_or(DRY)?;
            let new = make(cpu, world, self);
            let place = self.arena.place(new).ok_or(DRY)?;
            settle(place, world, self)?;
            blocks.put(cpu, place);
        }
        Ok(blocks)
    }
}

/// Bytes of the reserve that a list takes.
const fn list_bytes<T>(count: usize) -> u64 {
    ((count * size_of::<T>()) as u64).next_multiple_of(PAGE)
}

/// The largest leaves of the VMM's own tables: those of the CPU.
fn host_leaves() -> Size {
    if Real.leaf(0x8000_0001).edx & 1 << 26 != 0 { Size::Huge } else { Size::Large }
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
