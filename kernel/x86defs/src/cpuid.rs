//! CPUID leaves that tell what a CPU can virtualize.
//!
//! Sources: AMD64 APM vol. 3, appendix E.4; Intel SDM vol. 2, CPUID.

/// Answers of the CPUID instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "register names")]
pub struct Leaf {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

/// Where leaves come from: the CPU, or a test.
pub trait Source {
    /// The answer for a leaf (EAX), subleaf 0. Leaves beyond the highest are zero.
    fn leaf(&self, number: u32) -> Leaf {
        self.subleaf(number, 0)
    }
    /// The answer for a leaf and a subleaf (ECX), as the CPU gives it, even beyond the highest leaf.
    fn subleaf(&self, number: u32, sub: u32) -> Leaf;
}

/// Leaf 1, ECX: VMX operation is supported.
pub const LEAF1_ECX_VMX: u32 = 1 << 5;
/// Leaf 1, ECX: a hypervisor is present.
pub const LEAF1_ECX_HYPERVISOR: u32 = 1 << 31;
/// Leaf 8000_0001h, ECX: SVM is supported.
pub const EXTENDED1_ECX_SVM: u32 = 1 << 2;
/// Leaf 8000_0001h, EDX: no-execute is supported.
pub const EXTENDED1_EDX_NX: u32 = 1 << 20;
/// Leaf 8000_000Ah, EDX: SPEC_CTRL is virtualized: VMRUN loads and exits save the guest's.
pub const SVM_EDX_SPEC_CTRL: u32 = 1 << 20;
/// Leaf 8000_000Ah, EDX: nested paging is supported. EBX of that leaf is the number of address space identifiers.
pub const SVM_EDX_NESTED_PAGING: u32 = 1;
