//! Fails on purpose: `test=panic`, `test=overflow`, `test=null`, `test=text`, `test=execute`, `test=memory`, `test=deaf`,
//! `test=pin` or `test=triple` on the command line choose how. What the machine says then is checked by the end-to-end tests.
#![no_std]
#![expect(unsafe_code, reason = "wild accesses are what is tested")]
extern crate alloc;

use alloc::vec::Vec;
use app::{App, AppError, Env};
use core::hint::black_box;

/// The application.
#[derive(Debug)]
pub struct Faults;

impl App for Faults {
    fn name(&self) -> &'static str {
        "faults"
    }

    fn listeners(&self) -> usize {
        0
    }

    fn run(&self, env: &Env) -> Result<(), AppError> {
        match env.setting("test") {
            Some("panic") => panic!("on purpose"),
            Some("overflow") => log::info!("the stack held {} frames", overflow(0)),
            Some("null") => {
                // SAFETY: unsound on purpose: page 0 is unmapped and the machine says so.
                let value = unsafe { black_box(core::ptr::without_provenance::<u64>(8)).read_volatile() };
                log::info!("read {value} through a null pointer");
            }
            Some("text") => {
                // SAFETY: unsound on purpose: text is read-only.
                unsafe { black_box(overflow as *mut u8).write_volatile(0xcc) };
                log::info!("wrote to text");
            }
            Some("execute") => {
                let code = black_box([0xc3u8; 16]);
                // SAFETY: unsound on purpose: stacks are not executable.
                unsafe { core::mem::transmute::<*const u8, extern "C" fn()>(code.as_ptr())() };
                log::info!("executed data");
            }
            Some("memory") => exhaust(),
            #[cfg(bare_metal)]
            Some("deaf") => deaf(env.cpus()),
            #[cfg(bare_metal)]
            Some("pin") => pin(),
            #[cfg(bare_metal)]
            Some("triple") => triple(),
            Some(other) => log::error!("no such test: {other}"),
            None => log::info!("nothing to do: no `test=` on the command line"),
        }
        Ok(())
    }
}

#[inline(never)]
#[expect(unconditional_recursion, reason = "that is the test")]
extern "C" fn overflow(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    overflow(depth + 1) + room[(depth % 64) as usize]
}

/// The last CPU takes no interrupts for a while, again and again: a request to all CPUs is not answered then.
#[cfg(bare_metal)]
fn deaf(cpus: usize) {
    use app::thread::{self, Builder, CpuSet, Priority};
    use app::time::{Duration, Instant};
    const WHILE: Duration = Duration::from_secs(2);
    let last = CpuSet(1 << (cpus - 1));
    let spawned = Builder::new("deaf").affinity(last).priority(Priority::Realtime).spawn(move || {
        loop {
            log::info!("CPU {} is deaf", cpus - 1);
            machine::cpu::without_interrupts(|| {
                let start = Instant::now();
                while start.elapsed() < WHILE {
                    core::hint::spin_loop();
                }
            });
            log::info!("CPU {} hears again", cpus - 1);
            thread::sleep(WHILE);
        }
    });
    match spawned {
        Ok(thread) => thread.join(),
        Err(error) => log::error!("no thread: {error:?}"),
    }
}

/// Held by `test=pin`.
pub static PIN: mode::Pin = mode::Pin::new("a test");

/// Holds a pin for a while, again and again.
#[cfg(bare_metal)]
fn pin() {
    use app::thread;
    use app::time::Duration;
    const WHILE: Duration = Duration::from_secs(2);
    loop {
        let held = PIN.hold();
        log::info!("pinned");
        thread::sleep(WHILE);
        drop(held);
        log::info!("not pinned");
        thread::sleep(WHILE);
    }
}

/// A triple fault in guest mode: an exception, and no table to find its handler in.
#[cfg(bare_metal)]
fn triple() {
    use app::time::Duration;
    if let Err(error) = mode::bare::request(Some(mode::Phase::Guest), Duration::from_secs(60)) {
        log::error!("{error}");
        return;
    }
    let nothing = [0u16; 5];
    // SAFETY: unsound on purpose: the CPU can't go on after this.
    unsafe { core::arch::asm!("cli", "lidt [{}]", "ud2", in(reg) &nothing, options(noreturn)) }
}

/// Takes memory until there is none, in pieces of all sizes, then gives it back and takes it again: running out is an error
/// that a program can handle, and nothing is lost.
fn exhaust() {
    let mut taken = [0usize; 2];
    for round in &mut taken {
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        let mut size = 1 << 20;
        while size >= 4096 {
            let mut piece = Vec::new();
            if piece.try_reserve_exact(size).is_err() || pieces.try_reserve(1).is_err() {
                size /= 2;
                continue;
            }
            piece.resize(size, 0xa5);
            *round += size;
            pieces.push(piece);
        }
    }
    log::info!("memory: {} KiB, then {} KiB", taken[0] >> 10, taken[1] >> 10);
    if taken[0].abs_diff(taken[1]) > taken[0] / 100 {
        log::error!("memory was lost");
    } else {
        log::info!("out of memory was survived");
    }
}
