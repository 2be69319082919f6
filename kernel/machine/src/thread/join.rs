//! Starting a thread and waiting for its result.

use super::{Builder, CpuSet, Inner, SpawnError, Thread, scheduler, stack};
use crate::sync::SpinLock;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

struct Packet<T> {
    result: Option<T>,
    waiter: Option<Thread>,
}

/// Waits for a thread's result. Dropping it lets the thread run on.
pub struct JoinHandle<T> {
    thread: Thread,
    packet: Arc<SpinLock<Packet<T>>>,
}

impl<T> JoinHandle<T> {
    /// Waits until the thread has ended and returns what it returned.
    pub fn join(self) -> T {
        loop {
            {
                let mut packet = self.packet.lock();
                if let Some(result) = packet.result.take() {
                    return result;
                }
                packet.waiter = Some(super::current());
            }
            super::park();
        }
    }

    /// The thread.
    pub fn thread(&self) -> &Thread {
        &self.thread
    }
}

pub(super) fn start<T: Send + 'static>(
    builder: Builder<'_>,
    affinity: CpuSet,
    threads: usize,
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, SpawnError> {
    scheduler::reserve_timers(threads + 1).map_err(|()| SpawnError::OutOfMemory)?;
    let stack = stack::Stack::new(builder.stack_size).ok_or(SpawnError::OutOfMemory)?;
    let top = stack.top();
    let packet = Arc::new(SpinLock::new(Packet { result: None, waiter: None }));
    let inner = Arc::new(Inner::new(builder.name, builder.priority, affinity, Some(stack)));
    let in_thread = packet.clone();
    *inner.start.lock() = Some(Box::new(move || {
        let result = f();
        let waiter = {
            let mut packet = in_thread.lock();
            packet.result = Some(result);
            packet.waiter.take()
        };
        drop(in_thread);
        if let Some(waiter) = waiter {
            waiter.unpark();
        }
    }));
    // What `switch_stacks` pops: control words, r15 to r12, rbp, rbx, and where it returns to.
    unsafe extern "C" {
        static thread_entry: u8;
    }
    let frame =
        [0x037f_0000_1f80, 0, 0, 0, Arc::as_ptr(&inner) as u64, 0, 0, &raw const thread_entry as u64, 0, 0];
    let stack_pointer = top - size_of_val(&frame) as u64;
    // SAFETY: the stack is new, mapped, and large enough; nobody runs on it yet.
    unsafe {
        (stack_pointer as *mut [u64; 10]).write(frame);
        *inner.stack_pointer.get() = stack_pointer;
    }
    inner.state.store(scheduler::READY, Ordering::Release);
    inner.last_cpu.store(crate::cpu::id(), Ordering::Relaxed);
    let thread = Thread { inner: inner.clone() };
    scheduler::make_ready(inner);
    super::give_way();
    Ok(JoinHandle { thread, packet })
}
