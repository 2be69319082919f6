extern crate std;

use super::*;
use crate::vmx::controls::cpus;
use crate::vmx::{Controls, Places, set_up};
use proptest::prelude::*;
use x86defs::registers::{CR0_NE, CR4_VMXE};
use x86defs::state::{Msrs, Segments};
use x86defs::vmx::field::Image;

fn segment() -> impl Strategy<Value = Segment> {
    any::<(u16, u16, u32, u64)>().prop_map(|(selector, attributes, limit, base)| Segment {
        selector,
        attributes: attributes & 0xfff,
        limit,
        base,
    })
}

fn event() -> impl Strategy<Value = Option<Event>> {
    let kinds = prop::sample::select([Kind::Interrupt, Kind::Nmi, Kind::Exception, Kind::Software].to_vec());
    prop::option::of((kinds, any::<u8>(), any::<Option<u32>>()))
        .prop_map(|event| event.map(|(kind, vector, error)| Event { kind, vector, error }))
}

prop_compose! {
    fn between()(
        shadow in prop::sample::select([None, Some(Shadow::Sti), Some(Shadow::MovSs)].to_vec()), nmi_blocked: bool,
        activity in prop::sample::select([
            Activity::Active, Activity::Halted, Activity::Shutdown, Activity::WaitForSipi,
        ].to_vec()),
        debug: u64,
    ) -> Interruptibility {
        Interruptibility { shadow, nmi_blocked, activity, debug }
    }
}

trait Consistent {
    fn consistent(self) -> Self;
}

impl Consistent for CpuState {
    /// STI enables interrupts; and behind a shadow a single step is due if and only if one steps.
    fn consistent(mut self) -> Self {
        let between = &mut self.interruptibility;
        if between.shadow == Some(Shadow::Sti) {
            self.rflags |= RFLAGS_IF;
        }
        if between.shadow.is_some() && self.rflags & RFLAGS_TF != 0 && self.msrs.debugctl & DEBUGCTL_BTF == 0
        {
            between.debug |= SINGLE_STEP;
        }
        self
    }
}

prop_compose! {
    /// All that is in the VMCS, and nothing else.
    fn states()(
        segments in prop::array::uniform8(segment()), words in prop::array::uniform16(any::<u64>()),
        tables in any::<(u64, u16, u64, u16)>(), interruptibility in between(), pending in event(),
        sysenter_cs: u32,
    ) -> CpuState {
        let [es, cs, ss, ds, fs, gs, ldtr, tr] = segments;
        CpuState {
            rip: words[0], rsp: words[1], rflags: words[2], cr0: words[3], cr3: words[4], cr4: words[5],
            dr7: words[6],
            segments: Segments { es, cs, ss, ds, fs, gs, ldtr, tr },
            gdtr: TableRegister { base: tables.0, limit: tables.1 },
            idtr: TableRegister { base: tables.2, limit: tables.3 },
            msrs: Msrs {
                efer: words[7], pat: words[8], sysenter_cs: sysenter_cs.into(), sysenter_esp: words[9],
                sysenter_eip: words[10], debugctl: words[11], ..Msrs::default()
            },
            interruptibility, pending, ..CpuState::default()
        }
        .consistent()
    }
}

fn fresh() -> Image {
    let can = cpus::BROADWELL;
    let controls = Controls::for_sleeping_system(&can).unwrap();
    let mut vmcs = Image::ZERO;
    set_up(&mut vmcs, &controls, Places { msr_bitmap: 0x1000, ept: 0x2000 }, &can);
    vmcs
}

proptest! {
    #[test]
    fn a_state_goes_round(state in states(), old in states()) {
        let mut vmcs = fresh();
        load(&mut vmcs, &old);
        load(&mut vmcs, &state);
        let mut back = CpuState::default();
        store(&vmcs, &mut back);
        prop_assert_eq!(back, state);
        // What VMX needs is set beneath.
        prop_assert_eq!(vmcs.read(guest::CR0) & CR0_NE, CR0_NE);
        prop_assert_eq!(vmcs.read(guest::CR4) & CR4_VMXE, CR4_VMXE);
        let long = vmcs.read(control::ENTRY) & entry::IA32E_MODE_GUEST != 0;
        prop_assert_eq!(long, state.msrs.efer & EFER_LMA != 0);
    }

    /// What the VMCS does not hold is left to the CPU.
    #[test]
    fn what_stays_in_the_cpu_is_left_alone(state in states(), words in prop::array::uniform9(any::<u64>())) {
        let mut vmcs = fresh();
        load(&mut vmcs, &state);
        let stays = |to: &mut CpuState| {
            to.cr2 = words[0];
            to.dr6 = words[1];
            to.msrs.star = words[2];
            to.msrs.lstar = words[3];
            to.msrs.cstar = words[4];
            to.msrs.sfmask = words[5];
            to.msrs.kernel_gs_base = words[6];
            to.registers.rax = words[7];
            to.msrs.spec_ctrl = words[8];
        };
        let (mut back, mut expected) = (CpuState::default(), state);
        stays(&mut back);
        stays(&mut expected);
        store(&vmcs, &mut back);
        prop_assert_eq!(back, expected);
    }
}

#[test]
fn loading_leaves_the_set_up_alone() {
    let mut vmcs = fresh();
    let before = vmcs.clone();
    let state = CpuState { msrs: Msrs { efer: EFER_LMA, ..Msrs::default() }, ..CpuState::default() };
    load(&mut vmcs, &state);
    for field in [control::PIN, control::PRIMARY, control::SECONDARY, control::EXIT, control::ENTRY] {
        assert_eq!(vmcs.read(field), before.read(field));
    }
    assert_eq!(vmcs.read(control::EPT_POINTER), before.read(control::EPT_POINTER));
    assert_eq!(vmcs.read(guest::VMCS_LINK), before.read(guest::VMCS_LINK));
}

#[test]
fn a_shadow_is_of_the_kind_that_the_flags_allow() {
    let shadow = |rflags| {
        let mut vmcs = fresh();
        let mut state = CpuState { rflags, ..CpuState::default() };
        state.interruptibility.shadow = Some(Shadow::Sti);
        load(&mut vmcs, &state);
        (vmcs.read(guest::INTERRUPTIBILITY), vmcs.read(guest::PENDING_DEBUG))
    };
    assert_eq!(shadow(RFLAGS_IF), (interruptibility::STI, 0));
    assert_eq!(shadow(0), (interruptibility::MOV_SS, 0));
    assert_eq!(shadow(RFLAGS_IF | RFLAGS_TF), (interruptibility::STI, SINGLE_STEP));
}
