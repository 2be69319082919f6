//! The kinds of work that CoreMark is made of, in code of our own: its scores are not CoreMark's.
//!
//! One iteration sorts, reverses and searches a linked list, multiplies a matrix, reads numbers with a state machine, and takes
//! checksums of all results. Nothing depends on earlier iterations.

use crate::chase::Random;
use crate::context::Failure;
use alloc::vec::Vec;

/// What each iteration comes to.
pub const CHECKSUM: u16 = 51616;

/// Nodes of the list.
const NODES: usize = 200;
/// Rows and columns of the matrix.
const ORDER: usize = 12;
/// The end of a list.
const NONE: u16 = u16::MAX;

/// What the state machine reads, over and over.
const TEXT: &[u8] = b"5012,1234,-874,+122,35.54400,.1234500,-110.700,+0.64400,5.500e+3,-.123e-2,-87e+832,+0.6e-12,T0.3e-1F,-T.T++Tq,\
1T3.4e4z,34.0e-T^,9,,-,+.,e5,1e,2e-,";

/// CRC-16/ARC: polynomial 0x8005, bits reflected.
pub fn crc(mut crc: u16, bytes: &[u8]) -> u16 {
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xa001 } else { crc >> 1 };
        }
    }
    crc
}

fn crc_word(crc_before: u16, word: u16) -> u16 {
    crc(crc_before, &word.to_le_bytes())
}

/// A linked list in an array: links are places.
#[derive(Clone, Debug, Default)]
struct Node {
    next: u16,
    value: u16,
    /// Where it was in the beginning.
    place: u16,
}

#[derive(Debug)]
struct List {
    nodes: Vec<Node>,
    head: u16,
}

impl List {
    fn node(&mut self, at: u16) -> &mut Node {
        &mut self.nodes[at as usize]
    }

    fn iter(&self) -> impl Iterator<Item = &Node> {
        let at = |place: u16| self.nodes.get(place as usize);
        core::iter::successors(at(self.head), move |node| at(node.next))
    }

    /// The first node with a value.
    fn find(&self, value: u16) -> Option<&Node> {
        self.iter().find(|node| node.value == value)
    }

    fn reverse(&mut self) {
        let (mut at, mut reversed) = (self.head, NONE);
        while at != NONE {
            let node = self.node(at);
            let next = core::mem::replace(&mut node.next, reversed);
            (reversed, at) = (at, next);
        }
        self.head = reversed;
    }

    /// Sorts by merging ever longer runs; equal ones stay in order.
    fn sort(&mut self, key: fn(&Node) -> u16) {
        let mut length = 1;
        loop {
            let (mut left, mut tail, mut merges) = (self.head, NONE, 0);
            self.head = NONE;
            while left != NONE {
                merges += 1;
                let (mut right, mut lefts) = (left, 0);
                while lefts < length && right != NONE {
                    lefts += 1;
                    right = self.node(right).next;
                }
                let mut rights = length;
                while lefts > 0 || (rights > 0 && right != NONE) {
                    let takes_left = lefts > 0
                        && (rights == 0 || right == NONE || key(self.node(left)) <= key(self.node(right)));
                    let taken = if takes_left { &mut left } else { &mut right };
                    let at = *taken;
                    *taken = self.nodes[at as usize].next;
                    if takes_left {
                        lefts -= 1
                    } else {
                        rights -= 1
                    }
                    if tail == NONE {
                        self.head = at
                    } else {
                        self.node(tail).next = at
                    }
                    tail = at;
                }
                left = right;
            }
            if tail != NONE {
                self.node(tail).next = NONE;
            }
            if merges <= 1 {
                return;
            }
            length *= 2;
        }
    }
}

/// Where the state machine stands in a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Sign,
    Whole,
    Fraction,
    Exponent,
    ExponentSign,
    Scientific,
    Invalid,
}

impl State {
    fn next(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Start, b'+' | b'-') => Self::Sign,
            (Self::Start | Self::Sign | Self::Whole, b'0'..=b'9') => Self::Whole,
            (Self::Start | Self::Sign | Self::Whole, b'.') => Self::Fraction,
            (Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Whole | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::ExponentSign,
            (Self::Exponent | Self::ExponentSign | Self::Scientific, b'0'..=b'9') => Self::Scientific,
            _ => Self::Invalid,
        }
    }
}

/// How many words of a text end in each state, commas between.
fn read(text: &[u8]) -> [u16; 8] {
    let mut ends = [0; 8];
    let mut state = State::Start;
    for byte in text {
        if *byte == b',' {
            ends[state as usize] += 1;
            state = State::Start;
        } else {
            state = state.next(*byte);
        }
    }
    ends
}

/// A square matrix, row by row.
type Matrix = [i16; ORDER * ORDER];

/// The checksum of a product, a product with a constant, and a product of parts of the elements' bits.
fn multiply(a: &Matrix, b: &Matrix) -> u16 {
    let mut sum = 0;
    for row in a.chunks_exact(ORDER) {
        for column in 0..ORDER {
            let pairs = || row.iter().zip(b.iter().skip(column).step_by(ORDER));
            let product: i32 = pairs().map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
            let bits = |value: i32| (value >> 2 & 15) * (value >> 5 & 127);
            let parts: i32 = pairs().map(|(a, b)| bits(i32::from(*a) * i32::from(*b))).sum();
            sum = crc_word(sum, product as u16 ^ parts as u16);
        }
        let constant: i32 = row.iter().map(|a| i32::from(*a) * 7).sum();
        sum = crc_word(sum, constant as u16);
    }
    sum
}

/// What is worked on.
#[derive(Debug)]
pub struct Work {
    list: List,
    a: Matrix,
    b: Matrix,
}

impl Work {
    /// The same each time; an error without memory for it.
    pub fn new() -> Result<Self, Failure> {
        let mut random = Random::new(0x5eed);
        let mut word = || random.below(1 << 16) as u16;
        let mut nodes = Vec::new();
        nodes.try_reserve_exact(NODES)?;
        nodes.extend((0..NODES as u16).map(|place| Node {
            next: if place + 1 == NODES as u16 { NONE } else { place + 1 },
            value: word() & 0x3ff,
            place,
        }));
        let mut matrix = || core::array::from_fn(|_| word() as i16 >> 4);
        Ok(Self { list: List { nodes, head: 0 }, a: matrix(), b: matrix() })
    }

    /// One iteration. Everything is as it was afterwards.
    #[inline(never)]
    pub fn iterate(&mut self) -> u16 {
        let list = &mut self.list;
        list.sort(|node| node.value);
        let mut sum = list.iter().fold(0, |sum, node| crc_word(sum, node.value));
        for value in (0..0x400).step_by(64) {
            sum = crc_word(sum, list.find(value).map_or(NONE, |node| node.place));
        }
        list.reverse();
        sum = list.iter().fold(sum, |sum, node| crc_word(sum, node.place));
        list.sort(|node| node.place);
        sum = crc_word(sum, multiply(&self.a, &self.b));
        read(TEXT).iter().fold(sum, |sum, count| crc_word(sum, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(values: &[u16]) -> List {
        let count = values.len() as u16;
        let nodes = values.iter().zip(0..count).map(|(value, place)| Node {
            next: if place + 1 == count { NONE } else { place + 1 },
            value: *value,
            place,
        });
        List { nodes: nodes.collect(), head: if count == 0 { NONE } else { 0 } }
    }

    #[test]
    fn the_checksum_is_known() {
        let mut work = Work::new().unwrap();
        assert_eq!([work.iterate(), work.iterate()], [CHECKSUM; 2]);
    }

    #[test]
    fn the_crc_is_arcs() {
        assert_eq!(crc(0, b"123456789"), 0xbb3d);
    }

    #[test]
    fn numbers_are_read() {
        let end = |text: &str| text.bytes().fold(State::Start, State::next);
        assert_eq!(end("-12"), State::Whole);
        assert_eq!(end("+.5"), State::Fraction);
        assert_eq!(end("1.5e-7"), State::Scientific);
        assert_eq!(end("1e"), State::Exponent);
        assert_eq!(end("1T3"), State::Invalid);
        assert_eq!(read(TEXT).iter().sum::<u16>(), TEXT.iter().filter(|byte| **byte == b',').count() as u16);
        assert!(read(TEXT).iter().all(|count| *count > 0), "{:?}", read(TEXT));
    }

    proptest! {
        #[test]
        fn lists_are_sorted_and_reversed(values in proptest::collection::vec(0u16..40, 0..80)) {
            let mut ours = list(&values);
            let mut theirs: Vec<(u16, u16)> = values.iter().copied().zip(0..).collect();
            ours.sort(|node| node.value);
            theirs.sort();
            let seen = |list: &List| list.iter().map(|node| (node.value, node.place)).collect::<Vec<_>>();
            prop_assert_eq!(&seen(&ours), &theirs);
            prop_assert_eq!(ours.find(7).map(|node| node.place), values.iter().position(|value| *value == 7).map(|at| at as u16));
            ours.reverse();
            theirs.reverse();
            prop_assert_eq!(seen(&ours), theirs);
        }
    }
}
