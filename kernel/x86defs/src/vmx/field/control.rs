//! Control fields: type 0.

use super::{Field, Natural, Writable, fields};

fields! {
    /// Virtual-processor identifier, not 0.
    VPID: u16 = 0x0000;
    /// Vector of posted-interrupt notifications.
    POSTED_INTERRUPT_NOTIFICATION_VECTOR: u16 = 0x0002;
    /// Index of the EPT pointer in use, for virtualization exceptions.
    EPTP_INDEX: u16 = 0x0004;
    /// Bits of a linear address that choose hypervisor-managed translation.
    HLAT_PREFIX_SIZE: u16 = 0x0006;
    /// Last index of the PID-pointer table.
    LAST_PID_POINTER_INDEX: u16 = 0x0008;

    /// Physical address of the I/O bitmap for ports 0 to 7FFFh.
    IO_BITMAP_A: u64 = 0x2000;
    /// Physical address of the I/O bitmap for ports 8000h to FFFFh.
    IO_BITMAP_B: u64 = 0x2002;
    /// Physical address of the MSR bitmap, see [`permission`](crate::vmx::permission).
    MSR_BITMAP: u64 = 0x2004;
    /// Physical address of the list of MSRs that an exit stores.
    EXIT_MSR_STORE: u64 = 0x2006;
    /// Physical address of the list of MSRs that an exit loads.
    EXIT_MSR_LOAD: u64 = 0x2008;
    /// Physical address of the list of MSRs that an entry loads.
    ENTRY_MSR_LOAD: u64 = 0x200a;
    /// Executive VMCS, for system-management mode.
    EXECUTIVE_VMCS: u64 = 0x200c;
    /// Physical address of the page-modification log.
    PML_ADDRESS: u64 = 0x200e;
    /// Added to what the guest reads of the TSC.
    TSC_OFFSET: u64 = 0x2010;
    /// Physical address of the virtual-APIC page.
    VIRTUAL_APIC: u64 = 0x2012;
    /// Physical address of the APIC-access page.
    APIC_ACCESS: u64 = 0x2014;
    /// Physical address of the posted-interrupt descriptor.
    POSTED_INTERRUPT_DESCRIPTOR: u64 = 0x2016;
    /// VM-function controls.
    VM_FUNCTION_CONTROLS: u64 = 0x2018;
    /// EPT pointer, see [`ept`](crate::vmx::ept).
    EPT_POINTER: u64 = 0x201a;
    /// EOI-exit bitmap, vectors 0 to 63.
    EOI_EXIT_0: u64 = 0x201c;
    /// EOI-exit bitmap, vectors 64 to 127.
    EOI_EXIT_1: u64 = 0x201e;
    /// EOI-exit bitmap, vectors 128 to 191.
    EOI_EXIT_2: u64 = 0x2020;
    /// EOI-exit bitmap, vectors 192 to 255.
    EOI_EXIT_3: u64 = 0x2022;
    /// Physical address of the list of EPT pointers.
    EPTP_LIST: u64 = 0x2024;
    /// Physical address of the VMREAD bitmap.
    VMREAD_BITMAP: u64 = 0x2026;
    /// Physical address of the VMWRITE bitmap.
    VMWRITE_BITMAP: u64 = 0x2028;
    /// Physical address of the virtualization-exception information area.
    VIRTUALIZATION_EXCEPTION_INFORMATION: u64 = 0x202a;
    /// Components whose XSAVES and XRSTORS exit.
    XSS_EXITING_BITMAP: u64 = 0x202c;
    /// Leaves whose ENCLS exits.
    ENCLS_EXITING_BITMAP: u64 = 0x202e;
    /// Physical address of the sub-page-permission table.
    SUBPAGE_PERMISSION_TABLE: u64 = 0x2030;
    /// TSC multiplier, 48 bits behind the point.
    TSC_MULTIPLIER: u64 = 0x2032;
    /// Tertiary processor-based controls.
    TERTIARY: u64 = 0x2034;
    /// Leaves whose ENCLV exits.
    ENCLV_EXITING_BITMAP: u64 = 0x2036;
    /// Leaves whose PCONFIG exits.
    PCONFIG_EXITING_BITMAP: u64 = 0x203e;
    /// Secondary VM-exit controls.
    SECONDARY_EXIT: u64 = 0x2044;

    /// Pin-based controls.
    PIN: u32 = 0x4000;
    /// Primary processor-based controls.
    PRIMARY: u32 = 0x4002;
    /// Exceptions that exit, one bit a vector.
    EXCEPTION_BITMAP: u32 = 0x4004;
    /// Bits of a page fault's error code to compare.
    PAGE_FAULT_MASK: u32 = 0x4006;
    /// What they are compared with.
    PAGE_FAULT_MATCH: u32 = 0x4008;
    /// How many CR3-target values there are, 0 to 4.
    CR3_TARGET_COUNT: u32 = 0x400a;
    /// VM-exit controls.
    EXIT: u32 = 0x400c;
    /// Entries of the list that an exit stores.
    EXIT_MSR_STORE_COUNT: u32 = 0x400e;
    /// Entries of the list that an exit loads.
    EXIT_MSR_LOAD_COUNT: u32 = 0x4010;
    /// VM-entry controls.
    ENTRY: u32 = 0x4012;
    /// Entries of the list that an entry loads.
    ENTRY_MSR_LOAD_COUNT: u32 = 0x4014;
    /// The event that the next entry delivers, see [`interruption`](crate::vmx::interruption).
    ENTRY_INTERRUPTION: u32 = 0x4016;
    /// Its error code.
    ENTRY_ERROR_CODE: u32 = 0x4018;
    /// Bytes of the instruction that a software event stands for.
    ENTRY_INSTRUCTION_LENGTH: u32 = 0x401a;
    /// The TPR below which there is an exit.
    TPR_THRESHOLD: u32 = 0x401c;
    /// Secondary processor-based controls.
    SECONDARY: u32 = 0x401e;
    /// Pause loops: largest distance of two PAUSEs, in TSC ticks.
    PLE_GAP: u32 = 0x4020;
    /// Pause loops: longest time, in TSC ticks.
    PLE_WINDOW: u32 = 0x4022;

    /// Bits of CR0 that are the host's: writes that would change them exit, reads see the shadow.
    CR0_MASK: Natural = 0x6000;
    /// The same for CR4.
    CR4_MASK: Natural = 0x6002;
    /// What the guest reads of CR0's masked bits.
    CR0_SHADOW: Natural = 0x6004;
    /// What the guest reads of CR4's masked bits.
    CR4_SHADOW: Natural = 0x6006;
    /// Values of CR3 that may be loaded without an exit.
    CR3_TARGET_0: Natural = 0x6008;
    /// See [`CR3_TARGET_0`].
    CR3_TARGET_1: Natural = 0x600a;
    /// See [`CR3_TARGET_0`].
    CR3_TARGET_2: Natural = 0x600c;
    /// See [`CR3_TARGET_0`].
    CR3_TARGET_3: Natural = 0x600e;
}
