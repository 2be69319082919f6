//! The same room on a hosted system: threads, clocks and memory from `std`, no devices. It lets the rooms above be tested
//! with `cargo test`; nothing of it is in an image.

pub mod cpu {
    //! CPUs, as the host tells.
    use core::sync::atomic::{AtomicU64, Ordering};

    /// A process has none to switch off.
    pub fn without_interrupts<R>(f: impl FnOnce() -> R) -> R {
        f()
    }

    /// One: the host's threads are not ours to count.
    pub fn count() -> usize {
        1
    }
    /// Always the first.
    pub fn id() -> usize {
        0
    }
    /// Numbers that differ (the standard library's hasher keys); not for secrets.
    pub fn hardware_random() -> Option<u64> {
        use core::hash::{BuildHasher, Hasher};
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
        hasher.write_u64(CALLS.fetch_add(1, Ordering::Relaxed));
        Some(hasher.finish())
    }
    /// The time-stamp counter.
    pub fn tsc() -> u64 {
        // SAFETY: RDTSC is part of x86-64.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
}

pub mod time {
    //! The host's clocks.
    pub use core::time::Duration;
    use std::sync::OnceLock;
    use std::time as host;

    /// Nanoseconds since the first reading.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Instant(u64);

    impl Instant {
        /// From nanoseconds since boot.
        pub const fn from_nanos(nanos: u64) -> Self {
            Self(nanos)
        }
        /// As nanoseconds since boot.
        pub const fn as_nanos(self) -> u64 {
            self.0
        }
        /// The time now.
        pub fn now() -> Self {
            static START: OnceLock<host::Instant> = OnceLock::new();
            Self(START.get_or_init(host::Instant::now).elapsed().as_nanos() as u64)
        }
        /// Time passed since.
        pub fn elapsed(self) -> Duration {
            Self::now().saturating_since(self)
        }
        /// Later by `duration`.
        pub fn saturating_add(self, duration: Duration) -> Self {
            Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
        }
        /// From `earlier` to this; zero if `earlier` is later.
        pub const fn saturating_since(self, earlier: Self) -> Duration {
            Duration::from_nanos(self.0.saturating_sub(earlier.0))
        }
    }

    /// Time since the UNIX epoch.
    pub fn wall_clock() -> Duration {
        host::SystemTime::now().duration_since(host::UNIX_EPOCH).unwrap_or_default()
    }
}

pub mod thread {
    //! The host's threads; priorities and affinities are ignored.
    use crate::time::{Duration, Instant};
    use alloc::string::String;
    use alloc::sync::Arc;
    use alloc::task::Wake;
    use core::future::Future;
    use core::pin::pin;
    use core::task::{Context, Poll};
    use std::thread as host;

    /// How urgent a thread is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[expect(missing_docs, reason = "documented in the bare-metal room")]
    pub enum Priority {
        Low,
        Background,
        Normal,
        High,
        Realtime,
    }
    /// A set of CPUs, one bit each.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CpuSet(pub u64);
    impl CpuSet {
        /// Every CPU that runs.
        pub fn all() -> Self {
            Self(1)
        }
    }
    /// Ignored.
    pub fn set_priority(_: Priority) -> Priority {
        Priority::Normal
    }
    /// Why a thread was not started.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[expect(missing_docs, reason = "documented in the bare-metal room")]
    pub enum SpawnError {
        OutOfMemory,
        NoSuchCpu,
    }
    /// Describes a thread to be started.
    #[derive(Debug)]
    pub struct Builder {
        name: String,
    }
    impl Builder {
        /// A thread with this name.
        pub fn new(name: &str) -> Self {
            Self { name: name.into() }
        }
        /// Ignored.
        pub fn priority(self, _: Priority) -> Self {
            self
        }
        /// Ignored.
        pub fn affinity(self, _: CpuSet) -> Self {
            self
        }
        /// Ignored.
        pub fn stack_size(self, _: usize) -> Self {
            self
        }
        /// Starts the thread.
        pub fn spawn<T: Send + 'static>(
            self,
            f: impl FnOnce() -> T + Send + 'static,
        ) -> Result<JoinHandle<T>, SpawnError> {
            let handle =
                host::Builder::new().name(self.name).spawn(f).map_err(|_| SpawnError::OutOfMemory)?;
            Ok(JoinHandle { thread: Thread(handle.thread().clone()), handle })
        }
    }
    /// Waits for a thread's result.
    pub struct JoinHandle<T> {
        handle: host::JoinHandle<T>,
        thread: Thread,
    }
    impl<T> JoinHandle<T> {
        /// Waits until the thread has ended; its panic goes on here.
        pub fn join(self) -> T {
            self.handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        }
        /// The thread.
        pub fn thread(&self) -> &Thread {
            &self.thread
        }
    }
    /// A handle to a thread.
    #[derive(Clone, Debug)]
    pub struct Thread(host::Thread);
    impl Thread {
        /// Makes the current or next `park` of the thread return.
        pub fn unpark(&self) {
            self.0.unpark();
        }
        /// The thread's name.
        pub fn name(&self) -> &str {
            self.0.name().unwrap_or("")
        }
    }
    impl Wake for Thread {
        fn wake(self: Arc<Self>) {
            self.unpark();
        }
    }
    /// The running thread.
    pub fn current() -> Thread {
        Thread(host::current())
    }
    /// Sleeps until unparked.
    pub fn park() {
        host::park();
    }
    /// Like `park`, at most until `deadline`.
    pub fn park_until(deadline: Instant) {
        host::park_timeout(deadline.saturating_since(Instant::now()));
    }
    /// Sleeps for at least `duration`.
    pub fn sleep(duration: Duration) {
        host::sleep(duration);
    }
    /// Lets other threads run.
    pub fn yield_now() {
        host::yield_now();
    }
    /// Never: what the host's CPUs do is not ours to know.
    pub fn idle_time(_: usize) -> Duration {
        Duration::ZERO
    }
    /// Whether no other thread waits for this CPU.
    pub fn is_uncontended() -> bool {
        true
    }
    /// Runs a future on this thread.
    pub fn block_on<F: Future>(future: F) -> F::Output {
        let mut future = pin!(future);
        let waker = Arc::new(current()).into();
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            park();
        }
    }
}

pub mod sync {
    //! Locks over the host's.
    use std::sync as host;

    /// Stands for the lock that keeps interrupts off.
    #[derive(Debug)]
    pub struct SpinLock<T>(host::Mutex<T>);
    /// Holds a lock.
    pub type SpinLockGuard<'a, T> = host::MutexGuard<'a, T>;
    /// Holds a lock.
    pub type MutexGuard<'a, T> = host::MutexGuard<'a, T>;
    /// Mutual exclusion between threads.
    pub type Mutex<T> = SpinLock<T>;

    impl<T> SpinLock<T> {
        /// A free lock.
        pub const fn new(value: T) -> Self {
            Self(host::Mutex::new(value))
        }
        /// Takes the lock.
        pub fn lock(&self) -> host::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(host::PoisonError::into_inner)
        }
        /// Takes the lock if it is free.
        pub fn try_lock(&self) -> Option<host::MutexGuard<'_, T>> {
            match self.0.try_lock() {
                Ok(guard) => Some(guard),
                Err(host::TryLockError::Poisoned(error)) => Some(error.into_inner()),
                Err(host::TryLockError::WouldBlock) => None,
            }
        }
    }

    /// Lets threads wait for a condition.
    #[derive(Debug, Default)]
    pub struct Condvar(host::Condvar);

    impl Condvar {
        /// Nobody waits.
        pub const fn new() -> Self {
            Self(host::Condvar::new())
        }
        /// Releases the lock, waits for a notification, takes the lock again.
        pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(guard).unwrap_or_else(host::PoisonError::into_inner)
        }
        /// Like [`Condvar::wait`], at most until `deadline`; false if that passed.
        pub fn wait_until<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            deadline: super::time::Instant,
        ) -> (MutexGuard<'a, T>, bool) {
            let patience = deadline.saturating_since(super::time::Instant::now());
            let (guard, timeout) =
                self.0.wait_timeout(guard, patience).unwrap_or_else(host::PoisonError::into_inner);
            (guard, !timeout.timed_out())
        }
        /// Wakes one waiting thread.
        pub fn notify_one(&self) {
            self.0.notify_one();
        }
        /// Wakes all waiting threads.
        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// Counts permits.
    #[derive(Debug)]
    pub struct Semaphore {
        permits: SpinLock<u32>,
        freed: Condvar,
    }

    impl Semaphore {
        /// With this many permits.
        pub const fn new(permits: u32) -> Self {
            Self { permits: SpinLock::new(permits), freed: Condvar::new() }
        }
        /// Takes a permit, sleeping as long as there is none.
        pub fn acquire(&self) {
            let mut permits = self.permits.lock();
            while *permits == 0 {
                permits = self.freed.wait(permits);
            }
            *permits -= 1;
        }
        /// Takes a permit if there is one.
        pub fn try_acquire(&self) -> bool {
            let mut permits = self.permits.lock();
            let there = *permits > 0;
            *permits -= u32::from(there);
            there
        }
        /// Gives a permit.
        pub fn release(&self) {
            *self.permits.lock() += 1;
            self.freed.notify_one();
        }
    }
}

pub mod irq {
    //! No interrupts come on a hosted system; handlers are kept and never called.
    use alloc::boxed::Box;

    /// Where an MSI or MSI-X table entry has to point.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[expect(missing_docs, reason = "documented in the bare-metal room")]
    pub struct MsiMessage {
        pub address: u64,
        pub data: u32,
    }
    /// How a line signals.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[expect(missing_docs, reason = "documented in the bare-metal room")]
    pub enum Trigger {
        EdgeHigh,
        LevelLow,
        LevelHigh,
    }
    /// Why an interrupt was not set up.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[expect(missing_docs, reason = "documented in the bare-metal room")]
    pub enum IrqError {
        NoVector,
        NoSuchLine,
    }
    /// A vector and its handler.
    pub struct Irq {
        _handler: Box<dyn Fn() + Send + Sync>,
    }
    impl Irq {
        /// Keeps the handler.
        pub fn new(_: &str, handler: Box<dyn Fn() + Send + Sync>) -> Result<Self, IrqError> {
            Ok(Self { _handler: handler })
        }
        /// A plausible message.
        pub fn msi(&self) -> MsiMessage {
            MsiMessage { address: 0xfee0_0000, data: 0x30 }
        }
        /// Accepts every line.
        pub fn route_gsi(&self, _: u32, _: Trigger) -> Result<(), IrqError> {
            Ok(())
        }
    }
}

pub(crate) mod frames {
    //! Frames from the host's allocator.
    use crate::memory::map::PAGE;
    use alloc::alloc::alloc_zeroed;
    use core::alloc::Layout;

    /// `2^order` frames, aligned to their size; they are never given back.
    pub(crate) fn allocate_low(order: u32) -> Option<u64> {
        let bytes = (PAGE as usize) << order;
        let layout = Layout::from_size_align(bytes, bytes).ok()?;
        // SAFETY: the layout is not empty.
        let block = unsafe { alloc_zeroed(layout) };
        (!block.is_null()).then_some(block as u64)
    }
}

pub mod io {
    //! No device memory, no ports.
    use core::ptr::NonNull;

    /// There is none.
    pub fn map_device(_: u64, _: usize) -> Option<NonNull<u8>> {
        None
    }
    macro_rules! port {
        ($in:ident, $out:ident, $type:ty) => {
            /// Reads as an absent device does: all ones.
            ///
            /// # Safety
            /// None needed here; the bare-metal twin can affect devices.
            pub unsafe fn $in(_: u16) -> $type {
                <$type>::MAX
            }
            /// Does nothing.
            ///
            /// # Safety
            /// As above.
            pub unsafe fn $out(_: u16, _: $type) {}
        };
    }
    port!(inb, outb, u8);
    port!(inw, outw, u16);
    port!(inl, outl, u32);
}
