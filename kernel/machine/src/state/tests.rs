use super::*;
use alloc::collections::BTreeMap;
use proptest::prelude::*;
use std::vec::Vec;
use x86defs::segment::LONG;
use x86defs::state::Msrs;

/// A CPU of plain values; memory is the descriptor table.
#[derive(Clone, Debug, Default)]
struct Fake {
    registers: BTreeMap<u32, u64>,
    msrs: BTreeMap<u32, u64>,
    selectors: BTreeMap<u32, u16>,
    gdtr: TableRegister,
    idtr: TableRegister,
    memory: BTreeMap<u64, u64>,
}

impl Privileged for Fake {
    fn read(&self, register: Register) -> u64 {
        self.registers.get(&(register as u32)).copied().unwrap_or(0)
    }
    fn write(&mut self, register: Register, value: u64) {
        self.registers.insert(register as u32, value);
    }
    fn msr(&self, number: u32) -> u64 {
        self.msrs.get(&number).copied().unwrap_or(0)
    }
    fn set_msr(&mut self, number: u32, value: u64) {
        self.msrs.insert(number, value);
    }
    fn selector(&self, register: Selector) -> u16 {
        self.selectors.get(&(register as u32)).copied().unwrap_or(0)
    }
    fn load(&mut self, register: Selector, selector: u16) {
        if register == Selector::Tr {
            let address = self.gdtr.base + u64::from(selector & !7);
            assert_eq!(
                self.descriptor(address) >> 40 & 0xf,
                9,
                "LTR of a busy TSS is a general protection fault"
            );
            self.memory.insert(address, self.descriptor(address) | 2 << 40);
        }
        if register == Selector::Fs || register == Selector::Gs {
            self.set_msr(if register == Selector::Fs { msr::FS_BASE } else { msr::GS_BASE }, 0);
        }
        self.selectors.insert(register as u32, selector);
    }
    fn gdtr(&self) -> TableRegister {
        self.gdtr
    }
    fn idtr(&self) -> TableRegister {
        self.idtr
    }
    fn load_gdtr(&mut self, table: TableRegister) {
        self.gdtr = table;
    }
    fn load_idtr(&mut self, table: TableRegister) {
        self.idtr = table;
    }
    fn descriptor(&self, address: u64) -> u64 {
        self.memory.get(&address).copied().unwrap_or(0)
    }
    fn set_descriptor(&mut self, address: u64, value: u64) {
        self.memory.insert(address, value);
    }
}

const GDT: u64 = 0x5000;
const MSRS: [u32; 11] = [
    msr::PAT,
    msr::STAR,
    msr::LSTAR,
    msr::CSTAR,
    msr::SFMASK,
    msr::KERNEL_GS_BASE,
    msr::SYSENTER_CS,
    msr::SYSENTER_ESP,
    msr::SYSENTER_EIP,
    msr::FS_BASE,
    msr::GS_BASE,
];
const REGISTERS: [Register; 6] =
    [Register::Cr0, Register::Cr2, Register::Cr3, Register::Cr4, Register::Dr6, Register::Dr7];
const ALL: Optional = Optional { spec_ctrl: true, debugctl: true };

/// A running CPU with a GDT of null, code, data and a busy TSS.
fn running(values: &[u64], tss: u64) -> Fake {
    let mut cpu = Fake::default();
    let mut values = values.iter().copied();
    for register in REGISTERS {
        cpu.write(register, values.next().unwrap_or(1));
    }
    for number in MSRS.into_iter().chain([msr::EFER, msr::DEBUGCTL, msr::SPEC_CTRL]) {
        cpu.set_msr(number, values.next().unwrap_or(2));
    }
    cpu.gdtr = TableRegister { base: GDT, limit: 39 };
    cpu.idtr = TableRegister { base: values.next().unwrap_or(3), limit: 4095 };
    let low = 103 | (tss & 0xff_ffff) << 16 | 0x8b << 40 | (tss >> 24 & 0xff) << 56;
    let words = [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, low, tss >> 32];
    cpu.memory = words.into_iter().enumerate().map(|(index, word)| (GDT + 8 * index as u64, word)).collect();
    let selectors =
        [(Selector::Es, 16), (Selector::Cs, 8), (Selector::Ss, 16), (Selector::Ds, 16), (Selector::Tr, 24)];
    cpu.selectors = selectors.into_iter().map(|(register, selector)| (register as u32, selector)).collect();
    cpu
}

fn captured(cpu: &Fake) -> CpuState {
    let mut state = CpuState::default();
    capture(cpu, ALL, &mut state).unwrap();
    state
}

#[test]
fn segments_are_read_from_their_descriptors() {
    let state = captured(&running(&[], 0x1234_5678_9abc));
    let segments = state.segments;
    assert_eq!((segments.cs.selector, segments.cs.attributes & LONG), (8, LONG));
    assert_eq!(segments.tr, Segment { selector: 24, attributes: 0x8b, limit: 103, base: 0x1234_5678_9abc });
    assert_eq!(segments.ldtr, Segment::default());
    assert_eq!(segments.fs.attributes, 0);
}

#[test]
fn a_local_descriptor_is_refused() {
    let mut cpu = running(&[], 0);
    cpu.selectors.insert(Selector::Ds as u32, 12);
    let refused = capture(&cpu, ALL, &mut CpuState::default());
    assert_eq!(refused, Err(CaptureError::LocalDescriptor(Selector::Ds)));
}

#[test]
fn what_a_cpu_lacks_is_not_touched() {
    let mut cpu = running(&[], 0);
    cpu.msrs.remove(&msr::DEBUGCTL);
    let mut state = CpuState::default();
    capture(&cpu, Optional::default(), &mut state).unwrap();
    assert_eq!((state.msrs.spec_ctrl, state.msrs.debugctl), (0, 0));
    install(&mut cpu, Optional::default(), &state);
    assert!(!cpu.msrs.contains_key(&msr::DEBUGCTL));
    assert_eq!(cpu.msr(msr::SPEC_CTRL), 2);
}

/// What VMX leaves in the CPU goes to another one, as far as that accepts it.
#[test]
fn what_is_not_switched_is_installed() {
    let state = CpuState { cr2: 0x1234, dr6: 0xffff_0ff0, ..CpuState::default() };
    let msrs =
        Msrs { star: u64::MAX, lstar: !0 << 47, cstar: 5, sfmask: 0x200, kernel_gs_base: 7, ..state.msrs };
    let state = CpuState { msrs, ..state };
    assert!(is_installable(&state));
    let mut cpu = running(&[], 0);
    install_unswitched(&mut cpu, &state);
    let mut taken = CpuState::default();
    capture_unswitched(&cpu, &mut taken);
    assert_eq!(taken, state);
    let broken = [
        CpuState { dr6: 1 << 32, ..state },
        CpuState { msrs: Msrs { sfmask: 1 << 32, ..msrs }, ..state },
        CpuState { msrs: Msrs { lstar: 1 << 47, ..msrs }, ..state },
        CpuState { msrs: Msrs { cstar: 1 << 63, ..msrs }, ..state },
        CpuState { msrs: Msrs { kernel_gs_base: !0 << 48 ^ 1 << 63, ..msrs }, ..state },
    ];
    assert!(broken.iter().all(|state| !is_installable(state)));
}

proptest! {
    /// Whatever another system left in a CPU: after installing, it holds the captured state again.
    #[test]
    fn installing_restores_what_was_captured(
        values in prop::collection::vec(any::<u64>(), 28), others in prop::collection::vec(any::<u64>(), 28), tss: u64,
    ) {
        let original = running(&values, tss);
        let state = captured(&original);
        // The descriptor table is memory, which stays.
        let mut cpu = Fake { memory: original.memory.clone(), ..running(&others, 0) };
        cpu.gdtr.base = 0x9000;
        cpu.selectors = [(Selector::Cs as u32, 8)].into();
        // What the vendor's code and the jump do.
        cpu.set_msr(msr::EFER, state.msrs.efer);
        install(&mut cpu, ALL, &state);
        prop_assert_eq!(captured(&cpu), state);
        let differing: Vec<_> = cpu.memory.iter().filter(|(at, word)| original.memory[at] != **word).collect();
        prop_assert!(differing.is_empty());
    }
}
