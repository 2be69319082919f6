//! XSETBV, where a CPU leaves it to the VMM: carried out as the CPU would have done.
//!
//! Source: Intel SDM vol. 1, 13.3 (which components go together), vol. 2, XSETBV.

use super::{GENERAL_PROTECTION, Platform};
use crate::vcpu::Vcpu;

/// Bytes of XSETBV.
const LENGTH: u64 = 3;
/// CPUID leaf that names the components: EDX and EAX of subleaf 0.
const COMPONENTS_LEAF: u32 = 0xd;

/// Components: x87, SSE, AVX, the two of MPX, the three of AVX-512, the two of AMX.
const X87: u64 = 1;
const SSE: u64 = 1 << 1;
const AVX: u64 = 1 << 2;
const MPX: u64 = 0b11 << 3;
const AVX_512: u64 = 0b111 << 5;
const AMX: u64 = 0b11 << 17;

pub(super) fn handle<V: Vcpu>(vcpu: &mut V, platform: &impl Platform) {
    let registers = *vcpu.registers();
    let value = registers.rdx << 32 | vcpu.rax() & 0xffff_ffff;
    let components = platform.subleaf(COMPONENTS_LEAF, 0);
    let supported = u64::from(components.edx) << 32 | u64::from(components.eax);
    if vcpu.privilege() != 0 || registers.rcx as u32 != 0 || !is_sound(value, supported) {
        vcpu.inject(GENERAL_PROTECTION);
        return;
    }
    platform.set_xcr0(value);
    vcpu.skip(LENGTH);
}

/// Whether XCR0 may have a value on a CPU that supports these components.
const fn is_sound(value: u64, supported: u64) -> bool {
    value & !supported == 0
        && value & X87 != 0
        && (value & AVX == 0 || value & SSE != 0)
        && is_whole(value, MPX)
        && is_whole(value, AVX_512)
        && (value & AVX_512 == 0 || value & AVX != 0)
        && is_whole(value, AMX)
}

/// Components that are switched together.
const fn is_whole(value: u64, group: u64) -> bool {
    value & group == 0 || value & group == group
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_go_together() {
        for value in [1, 3, 7, 0b1_1111, 0xe7, 0x6_0007] {
            assert!(is_sound(value, 0x6_00ff), "{value:#x}");
        }
        for value in [0, 2, 5, 0b1_0001, 0x67, 0xe3, 0x2_0007, 0x107] {
            assert!(!is_sound(value, 0x6_01ff & !0x100), "{value:#x}");
        }
        assert!(!is_sound(7, 3));
    }
}
