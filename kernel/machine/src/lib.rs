//! All privileged code of Quicksilver (interface sketch).
#![no_std]
#![expect(unsafe_code, reason = "this is the room where the hardware is touched")]
#![expect(unused_variables, reason = "sketch")]
extern crate alloc;

/// Clocks. All monotonic times are nanoseconds since boot.
pub mod time {
    pub use core::time::Duration;
    /// Nanoseconds since boot; monotonic over all CPUs.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Instant(u64);
    impl Instant {
        pub const fn from_nanos(ns: u64) -> Self {
            Self(ns)
        }
        pub const fn as_nanos(self) -> u64 {
            self.0
        }
        pub fn now() -> Self {
            unimplemented!()
        }
        pub fn elapsed(self) -> Duration {
            unimplemented!()
        }
        pub fn saturating_add(self, d: Duration) -> Self {
            unimplemented!()
        }
        pub fn saturating_since(self, earlier: Self) -> Duration {
            unimplemented!()
        }
    }
    /// Wall clock: time since the UNIX epoch (from the RTC at boot, plus monotonic time).
    pub fn wall_clock() -> Duration {
        unimplemented!()
    }
}

/// Threads: preemptive, prioritised, on all CPUs.
pub mod thread {
    use crate::time::{Duration, Instant};
    use alloc::sync::Arc;
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Priority {
        Low,
        Normal,
        High,
        Realtime,
    }
    /// A set of CPUs, one bit each (CPU 0 is bit 0).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CpuSet(pub u64);
    #[derive(Debug)]
    pub enum SpawnError {
        OutOfMemory,
        NoSuchCpu,
    }
    pub struct Builder {}
    impl Builder {
        pub fn new(name: &str) -> Self {
            unimplemented!()
        }
        pub fn priority(self, p: Priority) -> Self {
            unimplemented!()
        }
        pub fn affinity(self, c: CpuSet) -> Self {
            unimplemented!()
        }
        /// bytes
        pub fn stack_size(self, b: usize) -> Self {
            unimplemented!()
        }
        pub fn spawn<T: Send + 'static>(
            self,
            f: impl FnOnce() -> T + Send + 'static,
        ) -> Result<JoinHandle<T>, SpawnError> {
            unimplemented!()
        }
    }
    pub struct JoinHandle<T>(core::marker::PhantomData<T>);
    impl<T> JoinHandle<T> {
        pub fn join(self) -> T {
            unimplemented!()
        }
        pub fn thread(&self) -> &Thread {
            unimplemented!()
        }
    }
    /// A handle to a thread.
    #[derive(Clone)]
    pub struct Thread {
        _inner: Arc<()>,
    }
    impl Thread {
        /// Makes the next (or current) `park` of the thread return. Callable from interrupt handlers.
        pub fn unpark(&self) {
            unimplemented!()
        }
        pub fn name(&self) -> &str {
            unimplemented!()
        }
    }
    pub fn current() -> Thread {
        unimplemented!()
    }
    /// Sleeps until unparked (may return early only if a token was already there).
    pub fn park() {
        unimplemented!()
    }
    /// Like `park`, at most until `deadline`.
    pub fn park_until(deadline: Instant) {
        unimplemented!()
    }
    pub fn sleep(d: Duration) {
        unimplemented!()
    }
    pub fn yield_now() {
        unimplemented!()
    }
    /// Runs a future on this thread; its waker unparks the thread.
    pub fn block_on<F: core::future::Future>(f: F) -> F::Output {
        unimplemented!()
    }
}

/// Locks.
pub mod sync {
    use core::cell::UnsafeCell;
    use core::ops::{Deref, DerefMut};
    /// Spins with interrupts off; for data that interrupt handlers share. (same shape as std's lock(), no poisoning)
    pub struct SpinLock<T>(UnsafeCell<T>);
    // SAFETY: sketch
    unsafe impl<T: Send> Sync for SpinLock<T> {}
    impl<T> SpinLock<T> {
        pub const fn new(value: T) -> Self {
            Self(UnsafeCell::new(value))
        }
        pub fn lock(&self) -> Guard<'_, T> {
            unimplemented!()
        }
    }
    /// Blocks the thread; not for interrupt handlers.
    pub struct Mutex<T>(UnsafeCell<T>);
    // SAFETY: sketch
    unsafe impl<T: Send> Sync for Mutex<T> {}
    impl<T> Mutex<T> {
        pub const fn new(value: T) -> Self {
            Self(UnsafeCell::new(value))
        }
        pub fn lock(&self) -> Guard<'_, T> {
            unimplemented!()
        }
        pub fn try_lock(&self) -> Option<Guard<'_, T>> {
            unimplemented!()
        }
    }
    pub struct Guard<'a, T>(&'a UnsafeCell<T>);
    impl<T> Deref for Guard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            unimplemented!()
        }
    }
    impl<T> DerefMut for Guard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            unimplemented!()
        }
    }
}

/// Interrupts as drivers see them.
pub mod irq {
    use alloc::boxed::Box;
    /// Where an MSI or MSI-X table entry has to point.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MsiMessage {
        pub address: u64,
        pub data: u32,
    }
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Trigger {
        EdgeHigh,
        LevelLow,
        LevelHigh,
    }
    #[derive(Debug)]
    pub enum IrqError {
        NoVector,
        NoSuchLine,
    }
    /// An allocated vector; freed when dropped. The handler runs with interrupts off, on the CPU the vector targets.
    pub struct Irq {}
    impl Irq {
        pub fn new(name: &str, handler: Box<dyn Fn() + Send + Sync>) -> Result<Self, IrqError> {
            unimplemented!()
        }
        pub fn msi(&self) -> MsiMessage {
            unimplemented!()
        }
        /// Routes a global system interrupt (I/O APIC input) to this vector. Several `Irq`s may share a level line.
        pub fn route_gsi(&self, gsi: u32, trigger: Trigger) -> Result<(), IrqError> {
            unimplemented!()
        }
    }
}

/// The one pool of memory that devices may read and write. Identity-mapped: virtual = physical.
pub mod dma {
    use core::ptr::NonNull;
    /// Pages of 4 KiB, physically contiguous, zeroed; freed when dropped.
    pub struct DmaRegion {}
    impl DmaRegion {
        pub fn new(pages: usize) -> Option<Self> {
            unimplemented!()
        }
        pub fn physical(&self) -> u64 {
            unimplemented!()
        }
        pub fn pointer(&self) -> NonNull<u8> {
            unimplemented!()
        }
        pub fn len(&self) -> usize {
            unimplemented!()
        }
    }
}

/// Device memory and ports.
pub mod io {
    use core::ptr::NonNull;
    /// Maps device memory (uncached) at its physical address (identity) and returns it.
    pub fn map_device(physical: u64, bytes: usize) -> Option<NonNull<u8>> {
        unimplemented!()
    }
    /// # Safety
    /// Writing a port can do anything the device behind it can do.
    pub unsafe fn outb(port: u16, v: u8) {
        unimplemented!()
    }
    /// # Safety
    /// see `outb`
    pub unsafe fn outw(port: u16, v: u16) {
        unimplemented!()
    }
    /// # Safety
    /// see `outb`
    pub unsafe fn outl(port: u16, v: u32) {
        unimplemented!()
    }
    /// # Safety
    /// Reading a port can have effects on the device.
    pub unsafe fn inb(port: u16) -> u8 {
        unimplemented!()
    }
    /// # Safety
    /// see `inb`
    pub unsafe fn inw(port: u16) -> u16 {
        unimplemented!()
    }
    /// # Safety
    /// see `inb`
    pub unsafe fn inl(port: u16) -> u32 {
        unimplemented!()
    }
}

/// CPUs.
pub mod cpu {
    /// CPUs that run.
    pub fn count() -> usize {
        unimplemented!()
    }
    /// The CPU this runs on, from 0.
    pub fn id() -> usize {
        unimplemented!()
    }
    /// Raw entropy from RDSEED, else RDRAND; None where the CPU has neither or it ran dry.
    pub fn hardware_random() -> Option<u64> {
        unimplemented!()
    }
    /// The time-stamp counter.
    pub fn tsc() -> u64 {
        unimplemented!()
    }
}
