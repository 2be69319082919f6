//! The virtual machine control block (APM vol. 2, appendix B).

use crate::segment::Segment;
use core::mem::offset_of;

/// Control area (APM vol. 2, table B-1), 1 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the manual's names; reserved fields are zero")]
pub struct Control {
    /// Reads in the lower half, writes in the upper.
    pub intercept_cr: u32,
    pub intercept_dr: u32,
    pub intercept_exceptions: u32,
    /// [`intercept`](super::intercept), first word.
    pub intercept_1: u32,
    /// [`intercept`](super::intercept), second word.
    pub intercept_2: u32,
    pub intercept_3: u32,
    pub reserved_018: [u32; 9],
    pub pause_filter_threshold: u16,
    pub pause_filter_count: u16,
    pub iopm_base_pa: u64,
    pub msrpm_base_pa: u64,
    pub tsc_offset: u64,
    pub asid: u32,
    /// [`TLB_NOTHING`], [`TLB_FLUSH_ALL`], [`TLB_FLUSH_ASID`].
    pub tlb_control: u32,
    /// V_TPR, V_IRQ and their neighbours.
    pub virtual_interrupt: u64,
    /// Bit 0: interrupt shadow.
    pub interrupt_shadow: u64,
    pub exit_code: u64,
    pub exit_info_1: u64,
    pub exit_info_2: u64,
    pub exit_int_info: u64,
    /// Bit 0: nested paging.
    pub nested_control: u64,
    pub avic_apic_bar: u64,
    pub ghcb_pa: u64,
    pub event_injection: u64,
    pub nested_cr3: u64,
    /// Bit 0: LBR virtualization; bit 1: virtualized VMSAVE and VMLOAD.
    pub lbr_control: u64,
    pub clean: u64,
    pub next_rip: u64,
    pub fetched_bytes: [u64; 2],
    pub avic_backing_page: u64,
    pub reserved_0e8: u64,
    pub avic_logical_table: u64,
    pub avic_physical_table: u64,
    pub reserved_100: u64,
    pub vmsa_pa: u64,
    pub reserved_110: [u64; 94],
}

/// State save area (APM vol. 2, table B-2), 3 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the manual's names; reserved fields are zero")]
pub struct Save {
    pub es: Segment,
    pub cs: Segment,
    pub ss: Segment,
    pub ds: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub gdtr: Segment,
    pub ldtr: Segment,
    pub idtr: Segment,
    pub tr: Segment,
    pub reserved_0a0: [u8; 43],
    pub cpl: u8,
    pub reserved_0cc: u32,
    pub efer: u64,
    pub reserved_0d8: [u64; 14],
    pub cr4: u64,
    pub cr3: u64,
    pub cr0: u64,
    pub dr7: u64,
    pub dr6: u64,
    pub rflags: u64,
    pub rip: u64,
    pub reserved_180: [u64; 11],
    pub rsp: u64,
    pub s_cet: u64,
    pub ssp: u64,
    pub isst_addr: u64,
    pub rax: u64,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub cr2: u64,
    pub reserved_248: [u64; 4],
    pub g_pat: u64,
    pub debug_control: u64,
    pub last_branch_from: u64,
    pub last_branch_to: u64,
    pub last_exception_from: u64,
    pub last_exception_to: u64,
    pub reserved_298: [u64; 9],
    /// Only where the CPU virtualizes SPEC_CTRL (CPUID 8000_000Ah, EDX bit 20).
    pub spec_ctrl: u64,
    pub reserved_2e8: [u64; 291],
}

/// The control block of a virtual CPU: one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(4096))]
pub struct Vmcb {
    /// What is intercepted, injected, and why the guest stopped.
    pub control: Control,
    /// The guest's state.
    pub save: Save,
}

/// TLB_CONTROL: flush nothing.
pub const TLB_NOTHING: u32 = 0;
/// TLB_CONTROL: flush the whole TLB, all identifiers.
pub const TLB_FLUSH_ALL: u32 = 1;
/// TLB_CONTROL: flush this guest's translations (where the CPU has FlushByAsid).
pub const TLB_FLUSH_ASID: u32 = 3;

/// `nested_control`: nested paging is on.
pub const NESTED_PAGING: u64 = 1;

/// `virtual_interrupt`: a virtual interrupt is pending.
pub const V_IRQ: u64 = 1 << 8;
/// `virtual_interrupt`: the guest's RFLAGS.IF and CR8 are virtual, too.
pub const V_INTR_MASKING: u64 = 1 << 24;

const ZERO_SEGMENT: Segment = Segment { selector: 0, attributes: 0, limit: 0, base: 0 };

impl Vmcb {
    /// All zero.
    pub const ZERO: Self = Self { control: Control::ZERO, save: Save::ZERO };
}

impl Control {
    /// All zero.
    pub const ZERO: Self = Self {
        intercept_cr: 0,
        intercept_dr: 0,
        intercept_exceptions: 0,
        intercept_1: 0,
        intercept_2: 0,
        intercept_3: 0,
        reserved_018: [0; 9],
        pause_filter_threshold: 0,
        pause_filter_count: 0,
        iopm_base_pa: 0,
        msrpm_base_pa: 0,
        tsc_offset: 0,
        asid: 0,
        tlb_control: 0,
        virtual_interrupt: 0,
        interrupt_shadow: 0,
        exit_code: 0,
        exit_info_1: 0,
        exit_info_2: 0,
        exit_int_info: 0,
        nested_control: 0,
        avic_apic_bar: 0,
        ghcb_pa: 0,
        event_injection: 0,
        nested_cr3: 0,
        lbr_control: 0,
        clean: 0,
        next_rip: 0,
        fetched_bytes: [0; 2],
        avic_backing_page: 0,
        reserved_0e8: 0,
        avic_logical_table: 0,
        avic_physical_table: 0,
        reserved_100: 0,
        vmsa_pa: 0,
        reserved_110: [0; 94],
    };
}

impl Save {
    /// All zero.
    pub const ZERO: Self = Self {
        es: ZERO_SEGMENT,
        cs: ZERO_SEGMENT,
        ss: ZERO_SEGMENT,
        ds: ZERO_SEGMENT,
        fs: ZERO_SEGMENT,
        gs: ZERO_SEGMENT,
        gdtr: ZERO_SEGMENT,
        ldtr: ZERO_SEGMENT,
        idtr: ZERO_SEGMENT,
        tr: ZERO_SEGMENT,
        reserved_0a0: [0; 43],
        cpl: 0,
        reserved_0cc: 0,
        efer: 0,
        reserved_0d8: [0; 14],
        cr4: 0,
        cr3: 0,
        cr0: 0,
        dr7: 0,
        dr6: 0,
        rflags: 0,
        rip: 0,
        reserved_180: [0; 11],
        rsp: 0,
        s_cet: 0,
        ssp: 0,
        isst_addr: 0,
        rax: 0,
        star: 0,
        lstar: 0,
        cstar: 0,
        sfmask: 0,
        kernel_gs_base: 0,
        sysenter_cs: 0,
        sysenter_esp: 0,
        sysenter_eip: 0,
        cr2: 0,
        reserved_248: [0; 4],
        g_pat: 0,
        debug_control: 0,
        last_branch_from: 0,
        last_branch_to: 0,
        last_exception_from: 0,
        last_exception_to: 0,
        reserved_298: [0; 9],
        spec_ctrl: 0,
        reserved_2e8: [0; 291],
    };
}

macro_rules! offsets {
    ($type:ty: $($field:ident = $offset:literal),* $(,)?) => {
        const _: () = { $(assert!(offset_of!($type, $field) == $offset, stringify!($field));)* };
    };
}

offsets!(Control: intercept_cr = 0x000, intercept_dr = 0x004, intercept_exceptions = 0x008, intercept_1 = 0x00c,
    intercept_2 = 0x010, intercept_3 = 0x014, pause_filter_threshold = 0x03c, pause_filter_count = 0x03e,
    iopm_base_pa = 0x040, msrpm_base_pa = 0x048, tsc_offset = 0x050, asid = 0x058, tlb_control = 0x05c,
    virtual_interrupt = 0x060, interrupt_shadow = 0x068, exit_code = 0x070, exit_info_1 = 0x078,
    exit_info_2 = 0x080, exit_int_info = 0x088, nested_control = 0x090, avic_apic_bar = 0x098, ghcb_pa = 0x0a0,
    event_injection = 0x0a8, nested_cr3 = 0x0b0, lbr_control = 0x0b8, clean = 0x0c0, next_rip = 0x0c8,
    fetched_bytes = 0x0d0, avic_backing_page = 0x0e0, avic_logical_table = 0x0f0, avic_physical_table = 0x0f8,
    vmsa_pa = 0x108);
offsets!(Save: es = 0x000, cs = 0x010, ss = 0x020, ds = 0x030, fs = 0x040, gs = 0x050, gdtr = 0x060, ldtr = 0x070,
    idtr = 0x080, tr = 0x090, cpl = 0x0cb, efer = 0x0d0, cr4 = 0x148, cr3 = 0x150, cr0 = 0x158, dr7 = 0x160,
    dr6 = 0x168, rflags = 0x170, rip = 0x178, rsp = 0x1d8, s_cet = 0x1e0, ssp = 0x1e8, isst_addr = 0x1f0,
    rax = 0x1f8, star = 0x200, lstar = 0x208, cstar = 0x210, sfmask = 0x218, kernel_gs_base = 0x220,
    sysenter_cs = 0x228, sysenter_esp = 0x230, sysenter_eip = 0x238, cr2 = 0x240, g_pat = 0x268,
    debug_control = 0x270, last_branch_from = 0x278, last_branch_to = 0x280, last_exception_from = 0x288,
    last_exception_to = 0x290, spec_ctrl = 0x2e0);
offsets!(Vmcb: control = 0x000, save = 0x400);
const _: () =
    assert!(size_of::<Control>() == 0x400 && size_of::<Save>() == 0xc00 && size_of::<Vmcb>() == 4096);
