//! What the machine says when it fails: CPU, thread, registers and a symbolized backtrace on the serial line.
//!
//! Allocates nothing and takes no lock, since any of them may be what failed.

use crate::console::Raw;
use crate::exit::{self, Reason};
use crate::traps::TrapFrame;
use crate::{apic, cpu, paging, thread};
use core::arch::asm;
use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

static SPEAKING: AtomicBool = AtomicBool::new(false);

/// Whether a CPU is saying last words; the others stop when their NMI comes.
pub(crate) fn is_speaking() -> bool {
    SPEAKING.load(Ordering::Relaxed)
}

/// Silences everybody else. Returns false if somebody is speaking already: then this CPU stops, or ends the machine if
/// it is the speaker itself that failed again.
fn take_the_word() {
    cpu::disable_interrupts();
    static SPEAKER: core::sync::atomic::AtomicUsize = core::sync::atomic::AtomicUsize::new(usize::MAX);
    if SPEAKING.swap(true, Ordering::SeqCst) {
        if SPEAKER.load(Ordering::SeqCst) == cpu::id() {
            exit::exit(Reason::Panic);
        }
        cpu::stop();
    }
    SPEAKER.store(cpu::id(), Ordering::SeqCst);
    if cpu::count() > 1 {
        apic::send_nmi_to_others();
    }
}

fn heading(what: core::fmt::Arguments<'_>) {
    let _ =
        writeln!(Raw, "\n==== last words: {what}\ncpu {}, thread '{}'", cpu::id(), thread::current_name());
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    take_the_word();
    heading(format_args!("panic"));
    let _ = writeln!(Raw, "{info}");
    let frame: u64;
    // SAFETY: reads the frame pointer.
    unsafe { asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack)) };
    backtrace(None, frame);
    exit::exit(Reason::Panic)
}

const NAMES: [&str; 22] = [
    "divide error",
    "debug",
    "NMI",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "device not available",
    "double fault",
    "coprocessor segment overrun",
    "invalid TSS",
    "segment not present",
    "stack fault",
    "general protection fault",
    "page fault",
    "reserved",
    "x87 floating-point error",
    "alignment check",
    "machine check",
    "SIMD floating-point error",
    "virtualization exception",
    "control protection",
];

/// Last words about an exception nobody handles.
pub(crate) fn exception(frame: &TrapFrame) -> ! {
    take_the_word();
    let cr2: u64;
    // SAFETY: reads CR2.
    unsafe { asm!("mov {}, cr2", out(reg) cr2, options(nomem, nostack)) };
    let vector = frame.vector as usize;
    let name = NAMES.get(vector).copied().unwrap_or("reserved exception");
    let unmapped = vector == 8 || (vector == 14 && frame.error & 1 == 0);
    let overflow = unmapped && paging::is_guard(cr2);
    let reason = match vector {
        _ if overflow => {
            heading(format_args!("stack overflow (the guard page at {cr2:#x} was touched)"));
            Reason::StackOverflow
        }
        8 => {
            heading(format_args!("double fault"));
            Reason::StackOverflow
        }
        18 => {
            heading(format_args!("machine check"));
            Reason::MachineCheck
        }
        14 => {
            let access = if frame.error & 16 != 0 {
                "fetch from"
            } else if frame.error & 2 != 0 {
                "write to"
            } else {
                "read of"
            };
            let why = if frame.error & 1 != 0 { "protected" } else { "unmapped" };
            heading(format_args!("page fault: {access} {why} address {cr2:#x}"));
            Reason::Panic
        }
        _ => {
            heading(format_args!("{name} (vector {vector}, error code {:#x})", frame.error));
            Reason::Panic
        }
    };
    registers(frame, cr2);
    backtrace(Some(frame.rip), frame.rbp);
    exit::exit(reason)
}

fn registers(f: &TrapFrame, cr2: u64) {
    let _ = writeln!(
        Raw,
        "rip {:016x}  rsp {:016x}  rbp {:016x}  rflags {:08x}\n\
         rax {:016x}  rbx {:016x}  rcx {:016x}  rdx {:016x}\n\
         rsi {:016x}  rdi {:016x}  r8  {:016x}  r9  {:016x}\n\
         r10 {:016x}  r11 {:016x}  r12 {:016x}  r13 {:016x}\n\
         r14 {:016x}  r15 {:016x}  cr2 {:016x}  error {:x}",
        f.rip,
        f.rsp,
        f.rbp,
        f.rflags,
        f.rax,
        f.rbx,
        f.rcx,
        f.rdx,
        f.rsi,
        f.rdi,
        f.r8,
        f.r9,
        f.r10,
        f.r11,
        f.r12,
        f.r13,
        f.r14,
        f.r15,
        cr2,
        f.error
    );
}

/// Follows the chain of frame pointers as long as it leads upwards within one stack.
fn backtrace(first: Option<u64>, mut frame: u64) {
    let _ = writeln!(Raw, "backtrace:");
    if let Some(address) = first {
        line(0, address);
    }
    let base = frame;
    for depth in 1..24 {
        if frame == 0
            || !frame.is_multiple_of(8)
            || frame < base
            || frame - base > 4 << 20
            || !is_stack(frame)
        {
            break;
        }
        // SAFETY: `is_stack` vouches that both words lie in mapped stack memory.
        let (next, address) = unsafe { (*(frame as *const u64), *((frame + 8) as *const u64)) };
        if address == 0 {
            break;
        }
        line(depth, address);
        if next <= frame {
            break;
        }
        frame = next;
    }
}

/// Whether a frame can be read here.
fn is_stack(address: u64) -> bool {
    paging::translate(address).is_some() && paging::translate(address + 15).is_some()
}

fn line(depth: usize, address: u64) {
    match crate::symbols::find(address) {
        Some((name, offset)) => {
            let _ = writeln!(
                Raw,
                "  {depth:2}: {address:#010x} {:#}+{offset:#x}",
                rustc_demangle::demangle(name)
            );
        }
        None => {
            let _ = writeln!(Raw, "  {depth:2}: {address:#010x}");
        }
    }
}
