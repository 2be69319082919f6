//! Little-endian fields, one after another.

use alloc::vec::Vec;

use crate::Error;

/// What is left to be read. Each read names its field, for where there is not enough.
pub struct Fields<'b>(pub &'b [u8]);

impl<'b> Fields<'b> {
    pub fn bytes(&mut self, count: usize, field: &'static str) -> Result<&'b [u8], Error> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Error::Field(field))?;
        self.0 = rest;
        Ok(bytes)
    }

    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Error> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Error::Field(field))?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub fn u16(&mut self, field: &'static str) -> Result<u16, Error> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub fn u32(&mut self, field: &'static str) -> Result<u32, Error> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, field: &'static str) -> Result<u64, Error> {
        self.array(field).map(u64::from_le_bytes)
    }
}

/// Adds to a list if there is memory for it.
pub fn push<T>(list: &mut Vec<T>, item: T) -> Result<(), Error> {
    list.try_reserve(1).map_err(|_| Error::Memory)?;
    list.push(item);
    Ok(())
}
