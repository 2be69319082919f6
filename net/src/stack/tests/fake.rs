//! A device that does in software what its `Offloads` promise, and a wire between two stacks.
#![expect(unsafe_code, reason = "the driver's side of received frames")]

use crate::checksum;
use crate::config::{Config, Ipv4Config};
use crate::stack::Stack;
use core::net::Ipv4Addr;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Poll, Waker};
use drivers_api::*;
use std::boxed::Box;
use std::collections::VecDeque;
use std::vec::Vec;

pub(crate) const MTU: usize = 1500;
pub(crate) const MILLI: u64 = 1_000_000;

pub(crate) struct Fake {
    pub(crate) link: LinkInfo,
    pub(crate) received: VecDeque<Vec<u8>>,
    /// As they go over the wire: cut, with checksums.
    pub(crate) sent: Vec<Vec<u8>>,
    /// Frames taken until the next `flush`.
    pub(crate) room: usize,
    pub(crate) used: usize,
    /// Frames handed over by the stack, before cutting.
    pub(crate) handed: usize,
    /// Received frames come with good checksums.
    pub(crate) trusted: bool,
    /// Received segments that follow one another are merged.
    pub(crate) merging: bool,
    lent: usize,
}

impl Fake {
    pub(crate) fn new(last: u8, offloads: Offloads) -> Self {
        Self {
            link: LinkInfo { mac: MacAddr([2, 0, 0, 0, 0, last]), mtu: MTU, offloads },
            received: VecDeque::new(),
            sent: Vec::new(),
            room: usize::MAX,
            used: 0,
            handed: 0,
            trusted: false,
            merging: false,
            lent: 0,
        }
    }
}

impl Device for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }
    fn state(&self) -> DeviceState {
        DeviceState::Running
    }
    fn quiesce(&mut self) -> Result<(), LifecycleError> {
        Ok(())
    }
    fn export(&self) -> Result<ExportedState, LifecycleError> {
        Err(LifecycleError::Timeout)
    }
    fn import(&mut self, _: &ExportedState) -> Result<(), LifecycleError> {
        Ok(())
    }
    fn resume(&mut self) -> Result<(), LifecycleError> {
        Ok(())
    }
    fn halt(&mut self) {}
    fn abandon(&mut self) {}
}

impl NetDevice for Fake {
    fn link(&self) -> LinkInfo {
        self.link
    }
    fn link_up(&self) -> bool {
        true
    }
    fn receive(&mut self) -> Option<RxFrame> {
        let mut frame = self.received.pop_front()?;
        while self.merging
            && let Some(next) = self.received.front()
            && merge(&mut frame, next)
        {
            self.received.pop_front();
        }
        let frame = Box::leak(frame.into_boxed_slice());
        self.lent += 1;
        let checksum = if self.trusted || self.merging { Checksum::Good } else { Checksum::Unknown };
        Some(RxFrame { data: NonNull::from(frame), checksum, token: 0 })
    }
    fn recycle(&mut self, frame: RxFrame) {
        self.lent -= 1;
        // SAFETY: leaked in `receive`, and given back once.
        drop(unsafe { Box::from_raw(frame.data.as_ptr()) });
    }
    fn can_transmit(&mut self) -> bool {
        self.used < self.room
    }
    fn transmit(
        &mut self,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> TxMeta,
    ) -> Result<(), TransmitError> {
        if !self.can_transmit() {
            return Err(TransmitError::Full);
        }
        let mut frame = std::vec![0xa5; len];
        let meta = fill(&mut frame);
        assert!(len <= MTU + 14 || meta.segmentation.is_some(), "{len} bytes in one frame");
        self.used += 1;
        self.handed += 1;
        match meta.segmentation {
            Some(segmentation) => self.sent.extend(cut(&frame, segmentation, meta.checksum.unwrap())),
            None => {
                if let Some(request) = meta.checksum {
                    assert!(self.link.offloads.tx_checksum);
                    complete(&mut frame, request);
                }
                self.sent.push(frame);
            }
        }
        Ok(())
    }
    fn flush(&mut self) {
        self.used = 0;
    }
    fn set_interrupts(&mut self, enabled: bool) -> bool {
        enabled && !self.received.is_empty()
    }
}

fn complete(frame: &mut [u8], request: TxChecksum) {
    let start = usize::from(request.start);
    let sum = !checksum::sum(&frame[start..]);
    frame[start + usize::from(request.offset)..][..2].copy_from_slice(&sum.to_be_bytes());
}

/// Appends a TCP over IPv4 segment without options to the one before it, if they are neighbors.
fn merge(frame: &mut Vec<u8>, next: &[u8]) -> bool {
    let is_data = |frame: &[u8]| frame.len() > 54 && frame[12] == 8 && frame[23] == 6 && frame[46] == 0x50;
    let sequence = |frame: &[u8]| u32::from_be_bytes(frame[38..42].try_into().unwrap());
    let fits = is_data(frame)
        && is_data(next)
        && frame.len() + next.len() < 65000
        && frame[26..38] == next[26..38]
        && sequence(frame).wrapping_add((frame.len() - 54) as u32) == sequence(next);
    if fits {
        frame.extend_from_slice(&next[54..]);
        frame[47] |= next[47];
        let total = (frame.len() - 14) as u16;
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame[24..26].fill(0);
        let sum = !checksum::sum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    fits
}

/// Cuts a TCP over IPv4 frame as a device does.
fn cut(frame: &[u8], segmentation: Segmentation, request: TxChecksum) -> Vec<Vec<u8>> {
    let header_len = usize::from(segmentation.header_len);
    let (header, payload) = frame.split_at(header_len);
    let size = usize::from(segmentation.segment_size);
    let last = payload.len().div_ceil(size) - 1;
    let segment = |(index, piece): (usize, &[u8])| {
        let mut frame = header.to_vec();
        frame.extend_from_slice(piece);
        let total = (frame.len() - 14) as u16;
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame[24..26].fill(0);
        let ip = !checksum::sum(&frame[14..34]);
        frame[24..26].copy_from_slice(&ip.to_be_bytes());
        let sequence = u32::from_be_bytes(header[38..42].try_into().unwrap());
        frame[38..42].copy_from_slice(&sequence.wrapping_add((index * size) as u32).to_be_bytes());
        if index != last {
            frame[47] &= !0x09;
        }
        let pseudo = checksum::pseudo_header(&frame[26..34], 6, frame.len() - 34);
        frame[50..52].copy_from_slice(&pseudo.to_be_bytes());
        complete(&mut frame, request);
        frame
    };
    payload.chunks(size).enumerate().map(segment).collect()
}

/// A generator whose numbers differ between calls and hosts.
pub(crate) fn random(bytes: &mut [u8]) {
    static STATE: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);
    for byte in bytes {
        let state = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        *byte = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb).to_be_bytes()[0];
    }
}

pub(crate) struct Host {
    pub(crate) stack: Stack,
    pub(crate) device: Fake,
}

impl Host {
    /// With address 10.0.0.`last`.
    pub(crate) fn new(last: u8, offloads: Offloads) -> Self {
        let ipv4 = Ipv4Config::Static {
            address: Ipv4Addr::new(10, 0, 0, last),
            prefix: 24,
            gateway: None,
            dns: Some(Ipv4Addr::new(10, 0, 0, 53)),
        };
        Self::with(last, offloads, &Config { ipv4, ..Config::default() })
    }

    pub(crate) fn with(last: u8, offloads: Offloads, config: &Config) -> Self {
        let mut device = Fake::new(last, offloads);
        let stack = Stack::new(&mut device, config, random, 0).unwrap();
        Self { stack, device }
    }

    pub(crate) fn poll(&mut self, now: u64) -> usize {
        let count = self.stack.poll(now, &mut self.device, 64);
        self.device.flush();
        let mut wakers = Vec::new();
        self.stack.swap_wakers(&mut wakers);
        wakers.into_iter().for_each(Waker::wake);
        assert_eq!(self.device.lent, 0, "frames are given back");
        count
    }
}

/// Two hosts and the time.
pub(crate) struct Net {
    pub(crate) a: Host,
    pub(crate) b: Host,
    pub(crate) now: u64,
    /// Whether the n-th frame is lost.
    pub(crate) lose: Box<dyn FnMut(usize) -> bool>,
    pub(crate) carried: usize,
}

impl Net {
    pub(crate) fn new(offloads: Offloads) -> Self {
        Self::of(Host::new(1, offloads), Host::new(2, offloads))
    }

    pub(crate) fn of(a: Host, b: Host) -> Self {
        Self { a, b, now: MILLI, lose: Box::new(|_| false), carried: 0 }
    }

    /// Exchanges frames until none is left. The time stands still.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut moved = self.a.poll(self.now) + self.b.poll(self.now);
            let (a, b) = (&mut self.a.device, &mut self.b.device);
            for (from, to) in [(&mut a.sent, &mut b.received), (&mut b.sent, &mut a.received)] {
                for frame in from.drain(..) {
                    moved += 1;
                    self.carried += 1;
                    if !(self.lose)(self.carried) {
                        to.push_back(frame);
                    }
                }
            }
            if moved == 0 {
                return;
            }
        }
        panic!("they never stop talking");
    }

    /// Lets the time run to the next timer, at most to `until`, then exchanges frames. False when `until` is reached.
    pub(crate) fn step(&mut self, until: u64) -> bool {
        self.settle();
        let next = [self.a.stack.next_deadline(), self.b.stack.next_deadline()].into_iter().flatten().min();
        let next = next.unwrap_or(u64::MAX).max(self.now + 1000);
        self.now = next.min(until);
        self.settle();
        self.now < until
    }

    pub(crate) fn run(&mut self, duration: u64) {
        let until = self.now + duration;
        while self.step(until) {}
    }
}

pub(crate) fn no_waker() -> &'static Waker {
    Waker::noop()
}

pub(crate) fn ready<T>(poll: Poll<T>) -> T {
    match poll {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("not ready"),
    }
}
