//! Intel VMX's instructions, and the way beneath the running system and back.
//!
//! - [`launch`] is called by the system and returns to it in guest mode: the state to continue with is that of its own last
//!   instructions, so VMLAUNCH needs no stack and no tables of the VMM's.
//! - Each exit loads the VMM's world from the control structure, calls the handler on the VMM's stack and resumes, unless it
//!   says [`Next::Leave`]: then VMX is switched off, the state in the block put back into the CPU, and the system
//!   continues on the bare machine.
//!
//! Interrupts wait while the VMM runs (RFLAGS.IF is clear after an exit). An NMI that comes then is taken on the VMM's own copy
//! of the system's tables, by the same handler, once.
//!
//! Source: Intel SDM vol. 3, chapters 24, 27, 28 and 31.

mod current;

use super::jump::{DEFAULT_MXCSR, Next, SseArea, landed, last_flags, load_sse, resume_bare};
use crate::cpu::{rdmsr, wrmsr};
use crate::state::{Hardware, Optional, Privileged, Register, install};
use core::arch::{asm, naked_asm};
use core::mem::offset_of;
use x86defs::registers::{CR4_VMXE, msr};
use x86defs::state::{CpuState, Registers};
use x86defs::vmx::field::guest;

pub use current::{Current, Filling};

/// The first four bytes say by which revision of the format it is kept (25.2, 25.11.5).
#[repr(C, align(4096))]
#[derive(Debug)]
struct Region {
    revision: u32,
    rest: [u8; 4092],
}

/// What the assembly knows of a CPU.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Head {
    sse: SseArea,
    /// The guest's registers during an exit; RSP is in the control structure.
    pub registers: Registers,
    handler: extern "C" fn(*mut u8) -> u32,
    refused: extern "C" fn(*mut u8, u32) -> !,
    /// Registers that not every CPU has, and that a switch moves where they are.
    pub optional: Optional,
    /// What the system was when it entered, and will be when it leaves.
    pub state: CpuState,
}

/// Everything of the VMM's on one CPU: two pages and what the handler keeps.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct Block<D> {
    vmxon: Region,
    vmcs: Region,
    /// What the assembly uses.
    pub head: Head,
    /// The handler's own.
    pub data: D,
}

const HEAD: usize = offset_of!(Block<u64>, head);
const _: () = assert!(HEAD == 2 * 4096);

/// Decides after each exit.
pub trait Handler: Sized {
    /// Runs on the VMM's stack with interrupts off.
    fn exit(block: &mut Block<Self>) -> Next;
    /// VMRESUME failed, of a guest that has run before: a fault of the VMM. On the VMM's stack, VMX on.
    fn refused(block: &Block<Self>, failure: Failure) -> !;
}

/// How an instruction of VMX fails (31.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// VMfailValid: the current VMCS says why, as a VM-instruction error.
    Valid,
    /// VMfailInvalid: there is no current VMCS that could.
    Invalid,
}

extern "C" fn handle<D: Handler>(block: *mut u8) -> u32 {
    // SAFETY: the assembly passes the block that was launched, which nobody else uses while the VMM is beneath.
    D::exit(unsafe { &mut *block.cast::<Block<D>>() }) as u32
}

extern "C" fn refused<D: Handler>(block: *mut u8, carry: u32) -> ! {
    // SAFETY: as for `handle`.
    let block = unsafe { &*block.cast::<Block<D>>() };
    D::refused(block, if carry != 0 { Failure::Invalid } else { Failure::Valid })
}

impl<D: Handler> Block<D> {
    /// A block for one CPU whose VMX keeps its structures by `revision`.
    pub fn new(revision: u32, optional: Optional, data: D) -> Self {
        let region = || Region { revision, rest: [0; 4092] };
        Self {
            vmxon: region(),
            vmcs: region(),
            head: Head {
                sse: SseArea::NEW,
                registers: Registers::default(),
                handler: handle::<D>,
                refused: refused::<D>,
                optional,
                state: CpuState::default(),
            },
            data,
        }
    }
}

/// Where exits begin: host RSP and host RIP for a block whose VMM has this stack. The block's address waits on it.
///
/// # Safety
/// The stack is the VMM's on one CPU, empty, and the block's from now on.
pub unsafe fn landing<D>(block: &Block<D>, stack_top: u64) -> (u64, u64) {
    let place = (stack_top - 16) as *mut u64;
    // SAFETY: by the contract an address in an unused stack, 16-byte aligned.
    unsafe { place.write(&raw const *block as u64) };
    (place as u64, exited as *const () as u64)
}

/// Reads a register of VMX's capabilities, or IA32_FEATURE_CONTROL.
///
/// # Safety
/// CPUID announces VMX, and the register is there.
pub unsafe fn capability(register: u32) -> u64 {
    // SAFETY: the caller's contract.
    unsafe { rdmsr(register) }
}

/// Whether there is an IA32_DEBUGCTL: no leaf of CPUID says so, and an emulator may lack it.
pub fn has_debugctl() -> bool {
    crate::traps::probe_msr(msr::DEBUGCTL).is_some()
}

/// Writes IA32_FEATURE_CONTROL.
///
/// # Safety
/// CPUID announces VMX and the register is not locked.
pub unsafe fn set_feature_control(value: u64) {
    // SAFETY: the caller's contract.
    unsafe { wrmsr(x86defs::vmx::capability::msr::FEATURE_CONTROL, value) };
}

/// Runs one of the instructions that take the address of a physical address; whether it succeeded.
macro_rules! on_region {
    ($instruction:literal, $region:expr) => {{
        let address = &raw const *$region as u64;
        let failed: u8;
        // SAFETY: see the functions that use this.
        unsafe {
            asm!(
                concat!($instruction, " [{address}]"),
                "setna {failed}",
                address = in(reg) &raw const address,
                failed = out(reg_byte) failed,
                options(nostack)
            );
        }
        failed == 0
    }};
}

/// Why VMX can't be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnableError {
    /// The CPU refused VMXON.
    Vmxon,
    /// It refused VMCLEAR or VMPTRLD.
    Vmcs,
}

/// Switches VMX on for this CPU and makes the block's control structure the current one.
///
/// # Errors
/// The CPU refuses; VMX is then off.
///
/// # Safety
/// CPUID announces VMX, firmware allows it, VMX is off on this CPU; interrupts are off. The block is this CPU's for as long.
#[inline]
pub unsafe fn enable<D>(block: &Block<D>) -> Result<(), EnableError> {
    // SAFETY: the caller's contract.
    let mut cpu = unsafe { Hardware::new() };
    cpu.write(Register::Cr4, cpu.read(Register::Cr4) | CR4_VMXE);
    if !on_region!("vmxon", &block.vmxon) {
        cpu.write(Register::Cr4, cpu.read(Register::Cr4) & !CR4_VMXE);
        return Err(EnableError::Vmxon);
    }
    if on_region!("vmclear", &block.vmcs) && on_region!("vmptrld", &block.vmcs) {
        return Ok(());
    }
    // SAFETY: VMX is on.
    unsafe { disable(block) };
    Err(EnableError::Vmcs)
}

/// Switches VMX off again: nothing of it remains.
///
/// # Safety
/// This CPU has been enabled with this block and is not below a guest.
#[inline]
pub unsafe fn disable<D>(block: &Block<D>) {
    // SAFETY: the caller's contract.
    unsafe {
        off(&block.vmcs);
        let mut cpu = Hardware::new();
        cpu.write(Register::Cr4, cpu.read(Register::Cr4) & !CR4_VMXE);
    }
}

/// What the CPU has kept of the structure goes back to memory before VMXOFF (25.11.1).
#[inline(always)]
unsafe fn off(vmcs: &Region) {
    // It fails for an address that is no structure's only.
    let _ = on_region!("vmclear", vmcs);
    // SAFETY: VMX is on, the caller says.
    unsafe { asm!("vmxoff", options(nostack)) };
}

/// Drops the translations of one EPT pointer (`kind` 1), or of all (2).
///
/// # Safety
/// VMX is on, and the CPU has this kind.
#[inline]
pub unsafe fn invalidate_ept(kind: u64, pointer: u64) {
    let descriptor = [pointer, 0];
    // SAFETY: the caller's contract.
    unsafe { asm!("invept {}, [{}]", in(reg) kind, in(reg) &raw const descriptor, options(nostack)) };
}

/// Drops the translations of one identifier (`kind` 1), or of all but 0 (2).
///
/// # Safety
/// VMX is on, and the CPU has this kind.
#[inline]
pub unsafe fn invalidate_vpid(kind: u64, identifier: u16) {
    let descriptor = [u64::from(identifier), 0];
    // SAFETY: the caller's contract.
    unsafe { asm!("invvpid {}, [{}]", in(reg) kind, in(reg) &raw const descriptor, options(nostack)) };
}

/// What has become of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launch {
    /// The system is in guest mode.
    Over,
    /// VMLAUNCH failed, for controls or the host's state: on the bare machine, VMX still on.
    Failed(Failure),
    /// The guest's state was refused, and the handler has left: on the bare machine, VMX off.
    Left,
}

/// What a handler puts into RAX before it says [`Next::Leave`] of a guest whose state was refused.
pub const LEFT: u64 = 3;

/// Slips the VMM beneath this CPU.
///
/// # Safety
/// Interrupts are off, [`enable`] was called, the control structure describes this CPU as it is, with RIP at
/// [`landing`](super::landing), but for RSP, which is filled in here: no rule of an entry is about it.
#[inline]
pub unsafe fn launch() -> Launch {
    // SAFETY: the caller's contract.
    match unsafe { beneath() } {
        0 => Launch::Over,
        LEFT => Launch::Left,
        1 => Launch::Failed(Failure::Valid),
        _ => Launch::Failed(Failure::Invalid),
    }
}

/// Saves what the ABI wants kept on the system's stack and runs the guest, which continues in [`landed`]. RAX: 0, or 1 after
/// VMfailValid, 2 after VMfailInvalid, [`LEFT`].
#[unsafe(naked)]
unsafe extern "C" fn beneath() -> u64 {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov eax, {rsp}",
        "vmwrite rax, rsp",
        "xor eax, eax",
        "vmlaunch",
        "setc al",
        "inc eax",
        "jmp {landed}",
        rsp = const guest::RSP.encoding(),
        landed = sym landed,
    )
}

/// Where exits begin. The block's address is on the stack.
#[unsafe(naked)]
unsafe extern "C" fn exited() -> ! {
    naked_asm!(
        "push rax",
        "mov rax, [rsp + 8]",
        "mov [rax + {registers} + 8], rbx",
        "mov rbx, rax",
        "mov [rbx + {registers} + 16], rcx",
        "mov [rbx + {registers} + 24], rdx",
        "mov [rbx + {registers} + 32], rsi",
        "mov [rbx + {registers} + 40], rdi",
        "mov [rbx + {registers} + 48], rbp",
        "mov [rbx + {registers} + 56], r8",
        "mov [rbx + {registers} + 64], r9",
        "mov [rbx + {registers} + 72], r10",
        "mov [rbx + {registers} + 80], r11",
        "mov [rbx + {registers} + 88], r12",
        "mov [rbx + {registers} + 96], r13",
        "mov [rbx + {registers} + 104], r14",
        "mov [rbx + {registers} + 112], r15",
        "pop rcx",
        "mov [rbx + {registers}], rcx",
        "fxsave64 [rbx + {area}]",
        "ldmxcsr [rip + {default_mxcsr}]",
        "xor ebp, ebp",
        "mov rdi, rbx",
        "call [rbx + {handler}]",
        "test eax, eax",
        "jnz 2f",
        load_sse!("rbx + {area}"),
        "mov rax, [rbx + {registers}]",
        "mov rcx, [rbx + {registers} + 16]",
        "mov rdx, [rbx + {registers} + 24]",
        "mov rsi, [rbx + {registers} + 32]",
        "mov rdi, [rbx + {registers} + 40]",
        "mov rbp, [rbx + {registers} + 48]",
        "mov r8, [rbx + {registers} + 56]",
        "mov r9, [rbx + {registers} + 64]",
        "mov r10, [rbx + {registers} + 72]",
        "mov r11, [rbx + {registers} + 80]",
        "mov r12, [rbx + {registers} + 88]",
        "mov r13, [rbx + {registers} + 96]",
        "mov r14, [rbx + {registers} + 104]",
        "mov r15, [rbx + {registers} + 112]",
        "mov rbx, [rbx + {registers} + 8]",
        "vmresume",
        // All registers but RSP are the guest's.
        "setc sil",
        "movzx esi, sil",
        "mov rdi, [rsp]",
        "call [rdi + {refused}]",
        "ud2",
        "2:",
        "mov rdi, rbx",
        "call {bare}",
        "ud2",
        area = const HEAD + offset_of!(Head, sse),
        registers = const HEAD + offset_of!(Head, registers),
        handler = const HEAD + offset_of!(Head, handler),
        default_mxcsr = sym DEFAULT_MXCSR,
        refused = const HEAD + offset_of!(Head, refused),
        bare = sym bare,
    )
}

/// Puts the state of the block back into the CPU and goes on there, on the bare machine.
unsafe extern "C" fn bare(block: *mut u8) -> ! {
    // SAFETY: as for `handle`; only the part that is the same for all handlers is used.
    let (vmcs, head) = unsafe {
        (&*block.add(offset_of!(Block<u64>, vmcs)).cast::<Region>(), &*block.add(HEAD).cast::<Head>())
    };
    // SAFETY: the state was taken from this CPU. Its page tables map the image and, natively, the reserve with this stack. CR4
    // changes in PGE, which flushes what the guest's translations left stale.
    unsafe {
        off(vmcs);
        install(&mut Hardware::new(), head.optional, &head.state);
        wrmsr(msr::EFER, head.state.msrs.efer);
        resume_bare(&head.state, &raw const head.sse, last_flags(&head.state))
    }
}

/// Calls the VMM: number and arguments as the room `vmm` defines them. Returns RAX and RDX.
///
/// On the bare machine VMCALL is an invalid opcode: only for guest mode.
#[inline(always)]
pub fn hypercall(number: u64, first: u64, second: u64) -> (u64, u64) {
    let (status, value): (u64, u64);
    // SAFETY: the VMM changes no registers but these two, and memory only as the call says.
    unsafe {
        asm!(
            "vmcall",
            inout("rax") number => status,
            inout("rdx") second => value,
            in("rdi") first,
            options(nostack)
        );
    }
    (status, value)
}
