//! What CPUs are able to do: bits of CPUID and XCR0.
//!
//! A chunk of features is a list of words, each of 20 bytes, ascending by the first three fields, at most 64:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 4 | leaf of CPUID; 0 for XCR0 |
//! | 4 | 4 | subleaf |
//! | 8 | 4 | register: 0 EAX, 1 EBX, 2 ECX, 3 EDX, 4 XCR0 |
//! | 12 | 8 | the bits that are needed, at least one; of EAX to EDX the lower 32 |

use alloc::vec::Vec;
use core::fmt;

use crate::fields::{self, Fields};
use crate::{Error, names};

/// Words at most.
pub const MAX_WORDS: usize = 64;

/// Where bits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
#[expect(missing_docs, reason = "register names")]
pub enum Register {
    Eax = 0,
    Ebx = 1,
    Ecx = 2,
    Edx = 3,
    /// The extended control register, not an answer of CPUID.
    Xcr0 = 4,
}

impl Register {
    const ALL: [Self; 5] = [Self::Eax, Self::Ebx, Self::Ecx, Self::Edx, Self::Xcr0];
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eax => "EAX",
            Self::Ebx => "EBX",
            Self::Ecx => "ECX",
            Self::Edx => "EDX",
            Self::Xcr0 => "XCR0",
        })
    }
}

/// Bits of one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// Leaf of CPUID (EAX); 0 for XCR0.
    pub leaf: u32,
    /// Subleaf (ECX); 0 for XCR0.
    pub subleaf: u32,
    /// The register of the answer.
    pub register: Register,
    /// One bit a feature, not zero; of EAX to EDX the lower 32.
    pub bits: u64,
}

impl Word {
    fn place(&self) -> (u32, u32, Register) {
        (self.leaf, self.subleaf, self.register)
    }

    fn is_sound(&self) -> bool {
        let (limit, is_named) = match self.register {
            Register::Xcr0 => (u64::MAX, (self.leaf, self.subleaf) == (0, 0)),
            _ => (u32::MAX.into(), true),
        };
        is_named && (1..=limit).contains(&self.bits)
    }
}

/// A set of features. It is shown as their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features(Vec<Word>);

impl Features {
    /// None.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds the bits of a register that comes after those which are in: by leaf, then by subleaf, then by register.
    pub fn push(&mut self, word: Word) -> Result<(), Error> {
        if !word.is_sound() {
            return Err(Error::Field("feature bits"));
        }
        if self.0.last().is_some_and(|last| last.place() >= word.place()) {
            return Err(Error::Field("feature order"));
        }
        if self.0.len() == MAX_WORDS {
            return Err(Error::Field("number of feature words"));
        }
        fields::push(&mut self.0, word)
    }

    /// Ascending.
    pub fn words(&self) -> &[Word] {
        &self.0
    }

    /// Those that are not in `here`.
    pub fn missing(&self, here: &Self) -> Self {
        let bits = |word: &Word| {
            here.0.binary_search_by_key(&word.place(), Word::place).map_or(0, |found| here.0[found].bits)
        };
        let words = self.0.iter().map(|word| Word { bits: word.bits & !bits(word), ..*word });
        Self(words.filter(|word| word.bits != 0).collect())
    }

    /// Nothing is needed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn encode(&self, raw: &mut Vec<u8>) {
        for word in &self.0 {
            for field in [word.leaf, word.subleaf, word.register as u32] {
                raw.extend_from_slice(&field.to_le_bytes());
            }
            raw.extend_from_slice(&word.bits.to_le_bytes());
        }
    }

    pub(crate) fn decode(raw: &[u8]) -> Result<Self, Error> {
        let (mut fields, mut features) = (Fields(raw), Self::new());
        while !fields.0.is_empty() {
            let (leaf, subleaf) = (fields.u32("feature leaf")?, fields.u32("feature subleaf")?);
            let register = fields.u32("feature register")?;
            let register = Register::ALL.into_iter().find(|known| *known as u32 == register);
            let register = register.ok_or(Error::Field("feature register"))?;
            features.push(Word { leaf, subleaf, register, bits: fields.u64("feature bits")? })?;
        }
        Ok(features)
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = |word: &Word| {
            let word = *word;
            (0..u64::BITS).filter(move |bit| word.bits >> bit & 1 != 0).map(move |bit| (word, bit))
        };
        for (index, (word, bit)) in self.0.iter().flat_map(bits).enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            match names::of(&word, bit) {
                Some(name) => f.write_str(name)?,
                None if word.register == Register::Xcr0 => write!(f, "XCR0 bit {bit}")?,
                None => {
                    let Word { leaf, subleaf, register, .. } = word;
                    write!(f, "CPUID {leaf:X}h.{subleaf} {register} bit {bit}")?;
                }
            }
        }
        Ok(())
    }
}
