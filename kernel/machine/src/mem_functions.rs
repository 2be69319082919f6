//! The C memory functions that compiled Rust calls, which a hosted build gets from libc.
//!
//! SSE copies rather than `rep movs`: they are fast everywhere, whereas `rep movs` is several times slower under TCG.

core::arch::global_asm!(include_str!("mem_functions.s"));

/// Called by unwinding code in the precompiled `core`, which never runs: panics abort.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As above.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    panic!("unwinding in a kernel that aborts on panic")
}
