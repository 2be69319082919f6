//! What belongs to the VMM can't be used or changed from guest mode: its registers, the instructions of virtualization, and its
//! calls by others than the system.

use crate::check;
use crate::switch::{all_are, everywhere, switch_to, then_native};
use app::Env;
use core::arch::x86_64::__cpuid;
use machine::probe::{GENERAL_PROTECTION, INVALID_OPCODE, beyond_text};
use machine::state::{Hardware, Privileged, Register};
use machine::{attempt, cpu, paging};
use mode::Phase;
use mode::bare::look;
use vmm::Vendor;
use vmm::call::{Call, Status};
use x86defs::registers::{CR0_NE, CR4_VMXE, EFER_LME, EFER_SVME, msr};

/// VMMCALL and VMCALL.
const VMMCALL: [u8; 3] = [0x0f, 0x01, 0xd9];
const VMCALL: [u8; 3] = [0x0f, 0x01, 0xc1];

/// A register of VMX's capabilities, and the one in which firmware locks VMX.
const VMX_BASIC: u32 = 0x480;
const FEATURE_CONTROL: u32 = 0x3a;

/// What an instruction raises that does nothing else.
macro_rules! raises {
    ($($instruction:literal),* $(,)?) => {
        // SAFETY: refused; where one is not, the test has failed, and the registers that it may take are named.
        [$(($instruction, unsafe {
            attempt!(
                $instruction,
                inout("rax") 0u64 => _, inout("rcx") 0u64 => _, inout("rdx") 0u64 => _,
                in("rdi") &[0u64; 2], options(nostack)
            )
        })),*]
    };
}

fn all_raise(results: &[(&'static str, u64)], vector: u64) -> Result<(), &'static str> {
    for (instruction, raised) in results {
        if *raised != vector {
            log::error!("{instruction} raised {raised}, not {vector}");
            return Err("an instruction was not refused as it should be");
        }
    }
    Ok(())
}

/// On the bare machine, on this CPU: no instruction of virtualization works, so none of it is switched on.
pub fn leftovers(vendor: Vendor) -> bool {
    let results = raises!["vmmcall", "vmcall", "stgi", "vmread rax, rcx"];
    let save_area = (vendor == Vendor::Svm).then(|| {
        // SAFETY: the register is there wherever SVM is.
        unsafe { cpu::rdmsr(msr::VM_HSAVE_PA) }
    });
    all_raise(&results, INVALID_OPCODE).is_ok() && save_area.is_none_or(|address| address == 0)
}

/// The VMM's registers and instructions, on each CPU.
pub fn hold(env: &'static Env) -> Result<(), &'static str> {
    let vendor = look(|_, monitor| monitor.vendor()).map_err(|_| "no monitor")?;
    switch_to(env, Phase::Guest)?;
    let look_at = move |_| match vendor {
        Vendor::Svm => amd(),
        Vendor::Vmx => intel(),
    };
    let result = everywhere(env, look_at)
        .and_then(|results| results.into_iter().collect())
        .and_then(|()| calls(vendor))
        .and_then(|()| virtualization_is_hidden())
        .and_then(|()| all_are(env, true));
    then_native(result)
}

fn refused(register: u32, value: u64) -> bool {
    !cpu::try_wrmsr(register, value)
}

fn efer_is_guarded(kept: u64) -> Result<(), &'static str> {
    let efer = cpu::efer();
    check(refused(msr::EFER, 0), "long mode was switched off")?;
    check(refused(msr::EFER, efer & !EFER_LME), "long mode was switched off")?;
    // What the system writes without knowing of the VMM; the CPU keeps what it needs.
    check(!refused(msr::EFER, efer & !EFER_SVME), "EFER can't be written at all")?;
    check(cpu::efer() & kept == kept, "the guest switched virtualization off")?;
    check(!refused(msr::EFER, efer), "EFER can't be written as it is")
}

fn amd() -> Result<(), &'static str> {
    efer_is_guarded(EFER_SVME)?;
    check(refused(msr::VM_HSAVE_PA, 0x1000), "VM_HSAVE_PA was written")?;
    check(refused(msr::VM_CR, 0), "VM_CR was written")?;
    check(refused(msr::SVM_KEY, 0x1234), "SVM_KEY was written")?;
    let results =
        raises!["vmrun rax", "vmload rax", "vmsave rax", "stgi", "clgi", "skinit eax", "invlpga rax, ecx"];
    all_raise(&results, INVALID_OPCODE)
}

fn intel() -> Result<(), &'static str> {
    efer_is_guarded(0)?;
    check(refused(FEATURE_CONTROL, 5), "IA32_FEATURE_CONTROL was written")?;
    // SAFETY: refused, or the test has failed; in any case reading changes nothing.
    let read = unsafe {
        attempt!("rdmsr", in("ecx") VMX_BASIC, out("rax") _, out("rdx") _, options(nomem, nostack))
    };
    check(read == GENERAL_PROTECTION, "VMX's capabilities can be read")?;
    let results = raises![
        "vmxon [rdi]",
        "vmxoff",
        "vmptrld [rdi]",
        "vmclear [rdi]",
        "vmread rax, rcx",
        "vmwrite rax, rcx",
        "vmlaunch",
        "vmresume",
        "invept rax, [rdi]",
        "invvpid rax, [rdi]",
    ];
    all_raise(&results, INVALID_OPCODE)?;
    cpu::without_interrupts(|| {
        // SAFETY: interrupts are off; nothing is written through it.
        let cpu = unsafe { Hardware::new() };
        let (cr0, cr4) = (cpu.read(Register::Cr0), cpu.read(Register::Cr4));
        check(cr4 & CR4_VMXE == 0, "the guest sees CR4.VMXE")?;
        // SAFETY: both change bits that are VMX's own, or the test has failed.
        let written = unsafe {
            [
                attempt!("mov cr4, rax", in("rax") cr4 | CR4_VMXE, options(nostack)),
                attempt!("mov cr0, rax", in("rax") cr0 & !CR0_NE, options(nostack)),
            ]
        };
        check(written == [GENERAL_PROTECTION; 2], "bits of VMX's own in CR0 or CR4 were changed")?;
        if __cpuid(1).ecx & 1 << 27 != 0 {
            let xcr0 = cpu.read(Register::Xcr0);
            let write = |value: u64| {
                // SAFETY: the value that is there, or one that is refused: x87 can't be switched off.
                unsafe { attempt!("xsetbv", in("ecx") 0, in("rax") value, in("rdx") 0, options(nostack)) }
            };
            check(write(xcr0) == 0 && cpu.read(Register::Xcr0) == xcr0, "XSETBV does not work")?;
            check(write(xcr0 & !1) == GENERAL_PROTECTION, "XCR0 can be anything")?;
        }
        let mut word = 0u64;
        let place = core::hint::black_box(&mut word);
        *place = 1;
        // SAFETY: the VMM skips it.
        let invd = unsafe { attempt!("invd", options(nostack)) };
        check(invd == 0 && *core::hint::black_box(place) == 1, "INVD is not skipped")
    })
}

/// Calls are the system's alone, and their arguments are looked at.
fn calls(vendor: Vendor) -> Result<(), &'static str> {
    let instruction = if vendor == Vendor::Svm { VMMCALL } else { VMCALL };
    // SAFETY: with RAX = 0 the call changes RAX and RDX.
    let raised = unsafe { beyond_text(&instruction) };
    check(raised == Some(INVALID_OPCODE), "a hypercall from outside of the image was answered")?;
    let [text, text_end, ..] = paging::image_bounds();
    let answers = look(|_, monitor| {
        let reserve = monitor.reserve();
        let bad = Err(Status::BadArgument as u64);
        let watch = |start, length| monitor.call(Call::Watch, start, length);
        monitor.call(Call::Version, 0, 0) == Ok(vmm::call::VERSION)
            && watch(reserve.start, 4096) == bad
            && watch(reserve.start - 4096, 8192) == bad
            && watch(text, text_end - text) == bad
            && watch(0x10_0001, 4096) == bad
            && watch(0x10_0000, 4095) == bad
            && watch(0x10_0000, 0) == bad
            && watch(0x10_0000, !4095) == bad
            && monitor.call(Call::Exits, 99, 0) == bad
    });
    check(answers == Ok(true), "a hypercall's argument was not looked at")
}

fn virtualization_is_hidden() -> Result<(), &'static str> {
    let (one, extended) = (__cpuid(1).ecx, __cpuid(0x8000_0001).ecx);
    check(one & 1 << 5 == 0 && extended & 1 << 2 == 0, "CPUID announces virtualization in guest mode")?;
    check(one & 1 << 31 != 0, "CPUID does not announce a hypervisor")
}
