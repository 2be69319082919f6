//! CPUID in guest mode: the CPU's answers, but that a hypervisor is there (ours), and no virtualization for others.

use super::{Platform, SHORT};
use crate::vcpu::Vcpu;
use x86defs::cpuid::{EXTENDED1_ECX_SVM, LEAF1_ECX_HYPERVISOR, LEAF1_ECX_VMX, Leaf};

/// What leaf 4000_0000h says in EBX, ECX and EDX.
pub const SIGNATURE: [u8; 12] = *b"Quicksilver\0";
const FIRST: u32 = 0x4000_0000;
const LAST: u32 = 0x4000_0001;

pub(super) fn handle<V: Vcpu>(vcpu: &mut V, platform: &impl Platform) {
    let number = vcpu.rax() as u32;
    let leaf = answer(number, vcpu.registers().rcx as u32, platform);
    vcpu.set_rax(leaf.eax.into());
    let registers = vcpu.registers();
    registers.rbx = leaf.ebx.into();
    registers.rcx = leaf.ecx.into();
    registers.rdx = leaf.edx.into();
    vcpu.skip(SHORT);
}

fn answer(number: u32, sub: u32, platform: &impl Platform) -> Leaf {
    match number {
        FIRST => {
            let word = |at: usize| {
                let [a, b, c, d] = [SIGNATURE[at], SIGNATURE[at + 1], SIGNATURE[at + 2], SIGNATURE[at + 3]];
                u32::from_le_bytes([a, b, c, d])
            };
            Leaf { eax: LAST, ebx: word(0), ecx: word(4), edx: word(8) }
        }
        LAST => Leaf { eax: crate::call::VERSION as u32, ..Leaf::default() },
        0x4000_0002..=0x4fff_ffff | 0x8000_000a => Leaf::default(),
        1 => {
            let leaf = platform.subleaf(1, 0);
            Leaf { ecx: leaf.ecx & !LEAF1_ECX_VMX | LEAF1_ECX_HYPERVISOR, ..leaf }
        }
        0x8000_0001 => {
            let leaf = platform.subleaf(number, 0);
            Leaf { ecx: leaf.ecx & !EXTENDED1_ECX_SVM, ..leaf }
        }
        _ => platform.subleaf(number, sub),
    }
}
