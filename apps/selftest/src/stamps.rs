//! Pages that all CPUs stamp in step: what is read of them tells whether it is of one instant.

use alloc::sync::Arc;
use alloc::vec::Vec;
use app::Env;
use app::thread::{self, Builder, CpuSet, Priority};
use app::time::Duration;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use machine::cpu::MAX_CPUS;
use machine::frames;
use machine::paging::PAGE;

/// Pages that each CPU stamps, and the order of their block.
pub const PAGES: u64 = 1 << ORDER;
pub const ORDER: u32 = 6;

/// Pages of one CPU's for `stamps=on`, as an order.
const SERVED: u32 = 8;
/// What each of those begins with, behind its stamp: whoever reads a checkpoint knows it by that.
const MARK: u64 = u64::from_le_bytes(*b"QS stamp");

/// Pages that one CPU stamps, in one block of frames.
pub struct Block {
    start: u64,
    order: u32,
}

impl Block {
    pub fn new(order: u32) -> Option<Self> {
        frames::allocate(order).map(|start| Self { start, order })
    }

    /// The words that are stamped, in order: the first and the last of each page.
    fn words(&self) -> impl Iterator<Item = *mut u64> + use<> {
        self.frames()
            .step_by(PAGE as usize)
            .flat_map(|page| [page as *mut u64, (page + PAGE - 8) as *mut u64])
    }

    /// Writes a number to the first and to the last word of each page, in order.
    pub fn stamp(&self, step: u64) {
        // SAFETY: frames of ours, identity-mapped.
        self.words().for_each(|word| unsafe { word.write_volatile(step) });
    }

    /// Physical addresses of its pages.
    pub fn frames(&self) -> Range<u64> {
        self.start..self.start + (PAGE << self.order)
    }

    /// What is in the words that are stamped.
    pub fn stamps(&self) -> impl Iterator<Item = u64> + '_ {
        // SAFETY: as in `stamp`.
        self.words().map(|word| unsafe { word.read_volatile() })
    }

    /// Writes into each page what it is: the mark, its address (copies of it lie elsewhere, in memory that was lent for them), the CPU, the page's
    /// number, and how many there are of both.
    fn mark(&self, cpu: usize, cpus: usize) {
        for (number, page) in self.frames().step_by(PAGE as usize).enumerate() {
            let words = [MARK, page, cpu as u64, number as u64, cpus as u64, 1 << self.order];
            // SAFETY: as in `stamp`; behind the first word.
            unsafe { ((page + 8) as *mut [u64; 6]).write_volatile(words) };
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        frames::free(self.start, self.order);
    }
}

/// Pages of all CPUs, and how far each has come.
pub struct Stamps {
    pub blocks: Vec<Block>,
    steps: [AtomicU64; MAX_CPUS],
    over: AtomicBool,
}

impl Stamps {
    pub fn new(cpus: usize, order: u32) -> Option<Arc<Self>> {
        let blocks: Vec<_> = (0..cpus).map_while(|_| Block::new(order)).collect();
        (blocks.len() == cpus).then(|| {
            blocks.iter().for_each(|block| block.stamp(0));
            Arc::new(Self {
                blocks,
                steps: [const { AtomicU64::new(0) }; MAX_CPUS],
                over: AtomicBool::new(false),
            })
        })
    }

    /// The least of what all have completed.
    fn completed(&self) -> u64 {
        let steps = self.steps[..self.blocks.len()].iter();
        steps.map(|step| step.load(Ordering::SeqCst)).min().unwrap_or(0)
    }

    /// Stamps the pages of a CPU with one number after the other, none before all have completed the last one.
    fn write(&self, cpu: usize) {
        let mut step = 0;
        while !self.over.load(Ordering::SeqCst) {
            if self.completed() < step {
                thread::yield_now();
                continue;
            }
            step += 1;
            self.blocks[cpu].stamp(step);
            self.steps[cpu].store(step, Ordering::SeqCst);
        }
    }

    /// Does something while writers on all CPUs go on.
    pub fn written_during<T>(
        self: &Arc<Self>,
        work: impl FnOnce() -> Result<T, &'static str>,
    ) -> Result<T, &'static str> {
        let writers: Result<Vec<_>, _> = (0..self.blocks.len())
            .map(|cpu| {
                let stamps = self.clone();
                let builder = Builder::new("writer").affinity(CpuSet(1 << cpu)).priority(Priority::Low);
                builder.spawn(move || stamps.write(cpu))
            })
            .collect();
        let result = if writers.is_ok() { work() } else { Err("no thread") };
        self.over.store(true, Ordering::SeqCst);
        writers.into_iter().flatten().for_each(|writer| writer.join());
        result
    }

    /// Waits until all have completed more steps.
    pub fn go_on(&self, more: u64) {
        let target = self.completed() + more;
        while self.completed() < target {
            thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Has all CPUs stamp pages that say what they are, for ever.
pub fn serve(env: &'static Env) -> Result<(), &'static str> {
    let cpus = env.cpus();
    let stamps = Stamps::new(cpus, SERVED).ok_or("no memory")?;
    stamps.blocks.iter().enumerate().for_each(|(cpu, block)| block.mark(cpu, cpus));
    log::info!("selftest: {cpus} CPUs stamp {} pages each", 1 << SERVED);
    stamps.written_during(|| {
        loop {
            thread::park();
        }
    })
}
