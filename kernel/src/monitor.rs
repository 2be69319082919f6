//! What the sleeping monitor would need, looked at while the machine comes up. There is no monitor yet.

use machine::start::Machine;
use x86defs::cpuid::{Leaf, Source};

struct Cpu;

impl Source for Cpu {
    fn leaf(&self, number: u32) -> Leaf {
        let highest = core::arch::x86_64::__cpuid(number & 0x8000_0000).eax;
        if number > highest {
            return Leaf::default();
        }
        let answer = core::arch::x86_64::__cpuid(number);
        Leaf { eax: answer.eax, ebx: answer.ebx, ecx: answer.ecx, edx: answer.edx }
    }
}

/// Says whether this machine could carry a monitor, and whether the reserve suffices for it.
pub fn report(machine: &Machine) {
    let nested = if vmm::is_nested(&Cpu) { ", under a hypervisor" } else { "" };
    match vmm::availability(&Cpu) {
        Ok(vendor) => log::info!("virtualization: {vendor:?}{nested}"),
        Err(reason) => log::info!("virtualization: {reason}{nested}"),
    }
    let Some(reserve) = &machine.reserve else { return };
    let cpus = machine::cpu::count() as u64;
    match vmm::plan(reserve.length, cpus, machine.memory) {
        Ok(plan) => log::debug!("VMM reserve: {} MiB for copies", plan.arena.length >> 20),
        Err(vmm::PlanError::TooSmall(missing)) => log::warn!("VMM reserve: {missing} bytes too small"),
    }
}
