//! What the machine says when it fails: CPU, thread, registers and a symbolized backtrace on the serial line.
//!
//! Allocates nothing and takes no lock, since any of them may be what failed.

use crate::console::Raw;
use crate::exit::{self, Reason};
use crate::traps::TrapFrame;
use crate::{apic, cpu, paging, thread};
use core::arch::asm;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

static SPEAKING: AtomicBool = AtomicBool::new(false);

/// Whether a CPU is saying last words; the others stop when their NMI comes.
pub(crate) fn is_speaking() -> bool {
    SPEAKING.load(Ordering::Relaxed)
}

/// Silences everybody else, and begins with `what`: nothing that could fail comes before it. If somebody is speaking already,
/// this CPU stops; if it is the speaker itself that has failed again, that is said with no more than `what`, and the machine
/// ends.
fn take_the_word(what: fmt::Arguments<'_>) {
    cpu::disable_interrupts();
    static SPEAKER: AtomicUsize = AtomicUsize::new(usize::MAX);
    static FAILED_AGAIN: AtomicBool = AtomicBool::new(false);
    if SPEAKING.swap(true, Ordering::SeqCst) {
        if SPEAKER.load(Ordering::SeqCst) == cpu::id() {
            if !FAILED_AGAIN.swap(true, Ordering::SeqCst) {
                let _ = writeln!(Raw, "\n==== last words failed: {what}");
            }
            exit::exit(Reason::Panic);
        }
        cpu::stop();
    }
    SPEAKER.store(cpu::id(), Ordering::SeqCst);
    let _ = writeln!(Raw, "\n==== last words: {what}");
    if cpu::count() > 1 {
        apic::send_nmi_to_others();
    }
    let _ = writeln!(Raw, "cpu {}, thread '{}'", cpu::id(), thread::current_name());
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    take_the_word(format_args!("{info}"));
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

/// An exception, as its first line has it.
struct Exception<'a> {
    frame: &'a TrapFrame,
    cr2: u64,
}

impl Exception<'_> {
    fn is_overflow(&self) -> bool {
        let unmapped = self.frame.vector == 8 || (self.frame.vector == 14 && self.frame.error & 1 == 0);
        unmapped && paging::is_guard(self.cr2)
    }

    fn reason(&self) -> Reason {
        match self.frame.vector {
            8 => Reason::StackOverflow,
            18 => Reason::MachineCheck,
            _ if self.is_overflow() => Reason::StackOverflow,
            _ => Reason::Panic,
        }
    }
}

impl fmt::Display for Exception<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cr2, error) = (self.cr2, self.frame.error);
        match self.frame.vector {
            _ if self.is_overflow() => {
                write!(f, "stack overflow (the guard page at {cr2:#x} was touched)")?;
            }
            8 => f.write_str("double fault")?,
            18 => f.write_str("machine check")?,
            14 => {
                let access = match error & 18 {
                    0 => "read of",
                    2 => "write to",
                    _ => "fetch from",
                };
                let why = if error & 1 != 0 { "protected" } else { "unmapped" };
                write!(f, "page fault: {access} {why} address {cr2:#x}")?;
            }
            vector => {
                let name = NAMES.get(vector as usize).copied().unwrap_or("reserved exception");
                write!(f, "{name} (vector {vector}, error code {error:#x})")?;
            }
        }
        write!(f, " at {:#x}", self.frame.rip)
    }
}

/// Last words about an exception nobody handles.
pub(crate) fn exception(frame: &TrapFrame) -> ! {
    let cr2 = crate::traps::fault_address();
    let exception = Exception { frame, cr2 };
    take_the_word(format_args!("{exception}"));
    registers(frame, cr2);
    backtrace(Some(frame.rip), frame.rbp);
    exit::exit(exception.reason())
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
