//! AMD SVM's instructions, and the way beneath the running system and back.
//!
//! - [`launch`] is called by the system and returns to it in guest mode: the VMM has taken its own stack, page tables and
//!   descriptor tables, and VMRUN continues at its last instructions.
//! - Each exit calls the handler on the VMM's stack and resumes, unless it says [`Next::Leave`]: then the state in the
//!   block is put back into the CPU and the system continues on the bare machine.
//!
//! From CLGI to VMRUN, and from each exit to VMRUN or STGI, the global interrupt flag is clear: interrupts, NMIs, SMIs and
//! INIT wait (APM vol. 2, 15.17).
//!
//! Source: AMD64 APM vol. 2, chapter 15; vol. 3 for VMRUN, VMLOAD, VMSAVE, STGI, CLGI.

use super::jump::{DEFAULT_MXCSR, Next, SseArea, last_flags, load_sse, resume_bare};
use crate::cpu::wrmsr;
use crate::state::{Hardware, Optional, install};
use core::arch::{asm, naked_asm};
use core::mem::offset_of;
use x86defs::registers::{EFER_SVME, msr};
use x86defs::segment::TableRegister;
use x86defs::state::{CpuState, Registers};
use x86defs::svm::{Save, Vmcb};

/// The operand of LGDT and LIDT.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug)]
struct Pointer {
    limit: u16,
    base: u64,
}

impl From<TableRegister> for Pointer {
    fn from(table: TableRegister) -> Self {
        Self { limit: table.limit, base: table.base }
    }
}

/// What the assembly knows of a CPU.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Head {
    sse: SseArea,
    /// The guest's registers during an exit; RAX and RSP are in the control block.
    pub registers: Registers,
    stack_top: u64,
    cr3: u64,
    /// CR4 in the VMM: the guest's without global pages, so that loading either flushes all translations.
    pub cr4: u64,
    gdt: Pointer,
    idt: Pointer,
    handler: extern "C" fn(*mut u8) -> u32,
    /// Registers that not every CPU has, and that a switch moves where they are.
    pub optional: Optional,
    /// What the system was when it entered, and will be when it leaves.
    pub state: CpuState,
}

/// Everything of the VMM's on one CPU: four pages and what the handler keeps.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct Block<D> {
    /// The guest.
    pub guest: Vmcb,
    /// What VMLOAD gives the VMM: TR, GS.
    pub host: Vmcb,
    save_area: [u8; 4096],
    /// What the assembly uses.
    pub head: Head,
    /// The handler's own.
    pub data: D,
}

const HOST: usize = offset_of!(Block<u64>, host);
const HEAD: usize = offset_of!(Block<u64>, head);
const SAVE: usize = offset_of!(Vmcb, save);
const _: () = assert!(HOST == 4096 && HEAD == 3 * 4096);

/// Decides after each exit.
pub trait Handler: Sized {
    /// Runs on the VMM's stack with all interrupts held.
    fn exit(block: &mut Block<Self>) -> Next;
}

extern "C" fn handle<D: Handler>(block: *mut u8) -> u32 {
    // SAFETY: the assembly passes the block that was launched, which nobody else uses while the VMM is beneath.
    D::exit(unsafe { &mut *block.cast::<Block<D>>() }) as u32
}

impl<D: Handler> Block<D> {
    /// A block for one CPU; `cr3` are the VMM's page tables, which map all of the image and the reserve.
    pub fn new(host: &super::HostCpu, idt: &super::HostIdt, cr3: u64, optional: Optional, data: D) -> Self {
        let mut block = Self {
            guest: Vmcb::ZERO,
            host: Vmcb::ZERO,
            save_area: [0; 4096],
            head: Head {
                sse: SseArea::NEW,
                registers: Registers::default(),
                stack_top: host.stack_top(),
                cr3,
                cr4: 0,
                gdt: host.gdt().into(),
                idt: idt.register().into(),
                handler: handle::<D>,
                optional,
                state: CpuState::default(),
            },
            data,
        };
        block.host.save.tr = host.task();
        block
    }

    /// Physical address of the guest's control block.
    pub fn control_block(&self) -> u64 {
        &raw const self.guest as u64
    }
}

/// Switches SVM on for this CPU (APM vol. 2, 15.4) and tells it where VMRUN saves the host.
///
/// # Safety
/// CPUID announces SVM and firmware has not disabled it; the block is this CPU's and stays.
#[inline]
pub unsafe fn enable<D>(block: &Block<D>) {
    // SAFETY: the caller's contract; the save area is a page of the reserve.
    unsafe {
        wrmsr(msr::EFER, block.head.state.msrs.efer | EFER_SVME);
        wrmsr(msr::VM_HSAVE_PA, &raw const block.save_area as u64);
    }
}

/// Switches SVM off again: nothing of it remains.
///
/// # Safety
/// This CPU has been enabled and is not below a guest; the global interrupt flag is set.
#[inline]
pub unsafe fn disable(state: &CpuState) {
    // SAFETY: the caller's contract. The save area first: without SVME the register need not exist.
    unsafe {
        wrmsr(msr::VM_HSAVE_PA, 0);
        wrmsr(msr::EFER, state.msrs.efer & !EFER_SVME);
    }
}

/// VM_CR, where the CPU has it; `None` where reading it faults.
pub fn vm_cr() -> Option<u64> {
    crate::traps::probe_msr(msr::VM_CR)
}

/// Slips the VMM beneath this CPU: returns 0 in guest mode, or 1 on the bare machine if VMRUN refused the control block.
///
/// # Safety
/// Interrupts are off, [`enable`] was called, control block and state describe this CPU as it is, with RIP at
/// [`landing`](super::landing) and RAX 0, but for RSP, which is filled in here.
#[inline]
pub unsafe fn launch<D: Handler>(block: &mut Block<D>) -> u64 {
    // SAFETY: the caller's contract.
    unsafe { beneath((&raw mut *block).cast()) }
}

/// RDI = block. Saves what the ABI wants kept on the system's stack, moves into the VMM's world and runs the guest, which
/// continues in [`landed`](super::jump::landed), as does the bare machine where VMRUN refuses.
#[unsafe(naked)]
unsafe extern "C" fn beneath(block: *mut u8) -> u64 {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "clgi",
        "mov [rdi + {rsp}], rsp",
        // The same for the way back if VMRUN refuses.
        "mov [rdi + {state_rsp}], rsp",
        "mov rsp, [rdi + {stack_top}]",
        "mov rcx, [rdi + {cr4}]",
        "mov cr4, rcx",
        "mov rcx, [rdi + {cr3}]",
        "mov cr3, rcx",
        "lgdt [rdi + {gdt}]",
        "lidt [rdi + {idt}]",
        "mov rax, rdi",
        "vmload rax",
        "jmp 2f",
        // Resume: RBX = block.
        "1:",
        load_sse!("rbx + {area}"),
        "mov rax, rbx",
        "vmload rax",
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
        "2:",
        "vmrun rax",
        // An exit: RAX and RSP are the VMM's again, RAX the block.
        "vmsave rax",
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
        "fxsave64 [rbx + {area}]",
        "ldmxcsr [rip + {default_mxcsr}]",
        "cld",
        "xor ebp, ebp",
        "lea rax, [rbx + {host}]",
        "vmload rax",
        "mov rdi, rbx",
        "call [rbx + {handler}]",
        "test eax, eax",
        "jz 1b",
        "mov rdi, rbx",
        "call {bare}",
        "ud2",
        rsp = const SAVE + offset_of!(Save, rsp),
        state_rsp = const HEAD + offset_of!(Head, state) + offset_of!(CpuState, rsp),
        stack_top = const HEAD + offset_of!(Head, stack_top),
        cr4 = const HEAD + offset_of!(Head, cr4),
        cr3 = const HEAD + offset_of!(Head, cr3),
        gdt = const HEAD + offset_of!(Head, gdt),
        idt = const HEAD + offset_of!(Head, idt),
        area = const HEAD + offset_of!(Head, sse),
        registers = const HEAD + offset_of!(Head, registers),
        handler = const HEAD + offset_of!(Head, handler),
        host = const HOST,
        default_mxcsr = sym DEFAULT_MXCSR,
        bare = sym bare,
    )
}

/// Puts the state of the block back into the CPU and goes on there, on the bare machine.
unsafe extern "C" fn bare(block: *mut u8) -> ! {
    // SAFETY: as for `handle`; only the part that is the same for all handlers is used.
    let head = unsafe { &*block.add(HEAD).cast::<Head>() };
    // SAFETY: the state was taken from this CPU. Its page tables map the image and, natively, the reserve with this stack. CR4
    // changes in PGE, which flushes what the guest's translations left stale.
    unsafe {
        install(&mut Hardware::new(), head.optional, &head.state);
        // What waited is delivered here, on the system's own tables; an NMI's stack is not this one.
        asm!("stgi", options(nostack));
        disable(&head.state);
        resume_bare(&head.state, &raw const head.sse, last_flags(&head.state))
    }
}

/// Calls the VMM: number and arguments as the room `vmm` defines them. Returns RAX and RDX.
///
/// On the bare machine VMMCALL is an invalid opcode: only for guest mode.
#[inline(always)]
pub fn hypercall(number: u64, first: u64, second: u64) -> (u64, u64) {
    let (status, value): (u64, u64);
    // SAFETY: the VMM changes no registers but these two, and memory only as the call says.
    unsafe {
        asm!(
            "vmmcall",
            inout("rax") number => status,
            inout("rdx") second => value,
            in("rdi") first,
            options(nostack)
        );
    }
    (status, value)
}
