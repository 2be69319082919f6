//! An NVMe controller for tests: registers in memory, and a thread that does what the controller does by itself.

extern crate std;
use super::controller::{CC_EN, CSTS_CFS, CSTS_RDY, register};
use super::*;
use crate::fake::{assert_pooled, put, word};
use core::ptr::NonNull;
use std::boxed::Box;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::vec;
use std::vec::Vec;

/// Bytes of the registers.
pub const LENGTH: usize = 0x2000;
pub const NAMESPACE: u32 = 7;

/// What the controller is and how it behaves.
#[derive(Clone, Debug)]
pub struct Model {
    pub disk: Vec<u8>,
    /// MDTS.
    pub transfer: u8,
    /// Sectors have 2 to the power of this many bytes.
    pub sector: u8,
    pub metadata: u16,
    pub has_cache: bool,
    pub is_protected: bool,
    pub has_namespace: bool,
    /// It follows CC.EN.
    pub gets_ready: bool,
    /// It ends commands of queue 1; else these wait.
    pub answers: bool,
    /// Commands with this opcode, of this queue, end with this status field.
    pub fails: Option<(u16, u8, u16)>,
    /// Added to the identifiers of commands that end.
    pub lie: u16,
    /// It has no MSI-X: it is acknowledged at each interrupt, and answers no I/O command before it was unmasked.
    pub has_line: bool,
    /// Queue and opcode of all commands that were taken.
    pub seen: Vec<(u16, u8)>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            disk: vec![0; 512 * 512],
            transfer: 0,
            sector: 9,
            metadata: 0,
            has_cache: true,
            is_protected: false,
            has_namespace: true,
            gets_ready: true,
            answers: true,
            fails: None,
            lie: 0,
            has_line: false,
            seen: Vec::new(),
        }
    }
}

/// Where a queue pair is.
#[derive(Clone, Copy, Default)]
struct Rings {
    submissions: u64,
    completions: u64,
    entries: u32,
    head: u32,
    tail: u32,
    round: u32,
}

/// The controller. Tests look at its model, and change it.
pub struct Fake {
    pub registers: Registers,
    pub completion: Completion,
    model: Arc<Mutex<Model>>,
    runs: Arc<Mutex<bool>>,
    thread: Option<JoinHandle<()>>,
    _memory: Box<[u64]>,
}

impl Fake {
    /// With doorbells `4 << stride` bytes apart and I/O queues of `entries`.
    pub fn new(model: Model, stride: u64, entries: u64, completion: Completion) -> Self {
        let mut memory = vec![0u64; LENGTH / 8].into_boxed_slice();
        // SAFETY: the memory lives as long as the fake, which outlives the driver in every test.
        let registers = unsafe { Registers::new(NonNull::new(memory.as_mut_ptr().cast()).unwrap(), LENGTH) };
        registers.write(register::CAP, (entries - 1) | 1 << 16 | stride << 32 | 1 << 37);
        let (model, runs) = (Arc::new(Mutex::new(model)), Arc::new(Mutex::new(true)));
        let mut device = Device {
            registers,
            completion: completion.clone(),
            stride: 4 << stride,
            rings: [None; 2],
            completions: (0, 0),
        };
        let (theirs, running) = (model.clone(), runs.clone());
        let thread = std::thread::spawn(move || {
            loop {
                // A turn is not torn by `remove`.
                let running = running.lock().unwrap();
                if !*running {
                    break;
                }
                device.turn(&mut theirs.lock().unwrap());
                drop(running);
                std::thread::yield_now();
            }
        });
        Self { registers, completion, model, runs, thread: Some(thread), _memory: memory }
    }

    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    pub fn disk(&self) -> Result<Nvme, NvmeError> {
        let has_msix = !self.model().has_line;
        Nvme::new(self.registers, has_msix, self.completion.clone())
    }

    /// Takes it out of the machine: nothing answers any more.
    pub fn remove(&mut self) {
        *self.runs.lock().unwrap() = false;
        for offset in (0..LENGTH).step_by(8) {
            self.registers.write(offset, u64::MAX);
        }
    }

    pub fn give_up(&self) {
        let status: u32 = self.registers.read(register::CSTS);
        self.registers.write(register::CSTS, status | CSTS_CFS);
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Ok(mut runs) = self.runs.lock() {
            *runs = false;
        }
        let outcome = self.thread.take().expect("it is joined once").join();
        assert!(outcome.is_ok() || std::thread::panicking(), "the controller panicked");
    }
}

struct Device {
    registers: Registers,
    completion: Completion,
    stride: usize,
    rings: [Option<Rings>; 2],
    /// Address and entries of the completion queue that was made for queue 1.
    completions: (u64, u32),
}

impl Device {
    fn address(&self, offset: usize) -> u64 {
        u64::from(self.registers.read::<u32>(offset))
            | u64::from(self.registers.read::<u32>(offset + 4)) << 32
    }

    fn turn(&mut self, model: &mut Model) {
        let configuration: u32 = self.registers.read(register::CC);
        let status: u32 = self.registers.read(register::CSTS);
        let (is_enabled, is_ready) = (configuration & CC_EN != 0, status & CSTS_RDY != 0);
        if !model.gets_ready {
            return;
        }
        if is_enabled && !is_ready {
            assert_eq!(configuration, 0x46_0001);
            let sizes: u32 = self.registers.read(register::AQA);
            assert_eq!(sizes & 0xfff, sizes >> 16);
            let [submissions, completions] =
                [register::ASQ, register::ACQ].map(|offset| self.address(offset));
            self.rings[0] = Some(Rings::new(submissions, completions, (sizes & 0xfff) + 1));
            self.registers.write(register::CSTS, CSTS_RDY);
        } else if !is_enabled && status != 0 {
            self.rings = [None; 2];
            for doorbell in 0..4 {
                self.registers.write(register::DOORBELLS + doorbell * self.stride, 0u32);
            }
            self.registers.write(register::CSTS, 0u32);
        } else if is_ready && status & CSTS_CFS == 0 {
            self.serve(0, model);
            let is_masked = model.has_line && self.registers.read::<u32>(register::INTMC) == 0;
            if model.answers && !is_masked {
                self.serve(1, model);
            }
        }
    }

    fn serve(&mut self, number: u16, model: &mut Model) {
        let Some(mut rings) = self.rings[usize::from(number)] else { return };
        let doorbell = register::DOORBELLS + 2 * usize::from(number) * self.stride;
        while rings.head != self.registers.read::<u32>(doorbell) {
            let command: Command = word(rings.submissions + u64::from(rings.head) * 64);
            assert_eq!((command.flags, command.reserved, command.metadata), (0, 0, 0));
            rings.head = (rings.head + 1) % rings.entries;
            model.seen.push((number, command.opcode));
            let status = match model.fails {
                Some((queue, opcode, status)) if (queue, opcode) == (number, command.opcode) => status,
                _ if number == 0 => self.administer(&command, model),
                _ => transfer(&command, model),
            };
            // Before the driver can see the end, and unmask for its next command.
            if model.has_line {
                acknowledge(&self.registers);
                self.registers.write(register::INTMC, 0u32);
            }
            assert_eq!(self.registers.read::<u32>(doorbell + self.stride), rings.tail, "all ends were taken");
            // The words of an entry; the phase tag comes last.
            let entry = rings.completions + u64::from(rings.tail) * 16;
            put(entry + 8, rings.head | u32::from(number) << 16);
            let phase = (rings.round & 1) ^ 1;
            let id = command.id.wrapping_add(model.lie);
            put(entry + 12, u32::from(id) | phase << 16 | u32::from(status) << 17);
            rings.tail = (rings.tail + 1) % rings.entries;
            rings.round += u32::from(rings.tail == 0);
            self.completion.notify();
        }
        if let Some(place) = &mut self.rings[usize::from(number)] {
            *place = rings;
        }
    }

    fn administer(&mut self, command: &Command, model: &Model) -> u16 {
        let [first, second, ..] = command.words;
        let (queue, entries) = (first & 0xffff, (first >> 16) + 1);
        match (command.opcode, first) {
            (admin::IDENTIFY, page) => {
                assert_pooled(command.prp1, 4096);
                let page = match page {
                    cns::CONTROLLER => controller_page(model),
                    cns::ACTIVE_NAMESPACES => namespaces(model),
                    _ if command.namespace == NAMESPACE => namespace_page(model),
                    _ => return 0x0b,
                };
                page.iter().enumerate().for_each(|(offset, byte)| put(command.prp1 + offset as u64, *byte));
                0
            }
            (admin::SET_FEATURES, NUMBER_OF_QUEUES) => u16::from(second != 0),
            (admin::CREATE_COMPLETION_QUEUE, _) if (queue, second) == (1, 3) => {
                self.completions = (command.prp1, entries);
                0
            }
            (admin::CREATE_SUBMISSION_QUEUE, _)
                if (queue, second) == (1, 1 << 16 | 1) && entries == self.completions.1 =>
            {
                self.rings[1] = Some(Rings::new(command.prp1, self.completions.0, entries));
                0
            }
            _ => 1,
        }
    }
}

impl Rings {
    fn new(submissions: u64, completions: u64, entries: u32) -> Self {
        assert_pooled(submissions, entries * 64);
        assert_pooled(completions, entries * 16);
        Self { submissions, completions, entries, ..Self::default() }
    }
}

pub fn controller_page(model: &Model) -> Vec<u8> {
    let mut page = vec![0; 4096];
    page[4..24].copy_from_slice(b"S-0042              ");
    page[24..64].fill(b' ');
    page[24..34].copy_from_slice(b"Fake Drive");
    page[77] = model.transfer;
    page[525] = u8::from(model.has_cache);
    page
}

fn namespaces(model: &Model) -> Vec<u8> {
    let mut page = vec![0; 4096];
    if model.has_namespace {
        page[..4].copy_from_slice(&NAMESPACE.to_le_bytes());
        page[4..8].copy_from_slice(&(NAMESPACE + 1).to_le_bytes());
    }
    page
}

pub fn namespace_page(model: &Model) -> Vec<u8> {
    let mut page = vec![0; 4096];
    page[..8].copy_from_slice(&((model.disk.len() >> model.sector) as u64).to_le_bytes());
    // Three formats, of which the last is in use.
    (page[25], page[26]) = (2, 2);
    page[136..138].copy_from_slice(&model.metadata.to_le_bytes());
    page[138] = model.sector;
    page[99] = u8::from(model.is_protected);
    page
}

/// The pages of a transfer (4.3): address and length.
fn pages(command: &Command, length: usize) -> Vec<(u64, usize)> {
    let first = length.min(4096 - (command.prp1 % 4096) as usize);
    let mut found = vec![(command.prp1, first)];
    let rest = length - first;
    let is_list = rest > 4096;
    if is_list {
        assert_pooled(command.prp2, (rest.div_ceil(4096) * 8) as u32);
    }
    for (number, start) in (0..rest).step_by(4096).enumerate() {
        let address = if is_list { word(command.prp2 + number as u64 * 8) } else { command.prp2 };
        assert_eq!(address % 4096, 0);
        found.push((address, (rest - start).min(4096)));
    }
    found.iter().for_each(|(address, length)| assert_pooled(*address, *length as u32));
    found
}

fn transfer(command: &Command, model: &mut Model) -> u16 {
    if command.namespace != NAMESPACE {
        return 0x0b;
    }
    if command.opcode == nvm::FLUSH {
        return 0;
    }
    let [low, high, blocks, rest @ ..] = command.words;
    assert_eq!(rest, [0; 3]);
    let length = (blocks as usize + 1) * SECTOR;
    if model.transfer != 0 && length > 4096 << model.transfer {
        return 0x02;
    }
    let start = (u64::from(low) | u64::from(high) << 32) as usize * SECTOR;
    if start + length > model.disk.len() {
        return 0x80;
    }
    let mut at = start;
    for (address, length) in pages(command, length) {
        for offset in 0..length {
            let (place, byte) = (address + offset as u64, &mut model.disk[at + offset]);
            match command.opcode {
                nvm::READ => put(place, *byte),
                nvm::WRITE => *byte = word(place),
                _ => return 0x01,
            }
        }
        at += length;
    }
    0
}
