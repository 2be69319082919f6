//! The MSR bitmap (SDM vol. 3, 25.6.9): one bit a register for reads, one for writes; 4 KiB. Registers outside of it always exit.

/// Bytes of the bitmap.
pub const MSR_BITMAP: usize = 4096;

/// Where the writes' half begins.
const WRITES: usize = 2048;

/// Byte and bit of a register's reads; `None` for registers outside of the bitmap.
const fn place(register: u32) -> Option<(usize, u8)> {
    let (start, index) = match register {
        0..0x2000 => (0, register),
        0xc000_0000..0xc000_2000 => (1024, register - 0xc000_0000),
        _ => return None,
    };
    Some((start + (index / 8) as usize, 1 << (index % 8)))
}

/// Makes reads of a register exit.
pub fn intercept_read(bitmap: &mut [u8; MSR_BITMAP], register: u32) {
    if let Some((byte, bit)) = place(register) {
        bitmap[byte] |= bit;
    }
}

/// Makes writes of a register exit.
pub fn intercept_write(bitmap: &mut [u8; MSR_BITMAP], register: u32) {
    if let Some((byte, bit)) = place(register) {
        bitmap[WRITES + byte] |= bit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registers::msr;

    #[test]
    fn registers_have_their_bits() {
        let mut bitmap = [0; MSR_BITMAP];
        intercept_read(&mut bitmap, msr::TSC_AUX);
        intercept_write(&mut bitmap, msr::EFER);
        intercept_write(&mut bitmap, 0x3a);
        intercept_write(&mut bitmap, 0x4000_0000);
        assert_eq!(bitmap[1024 + 0x20], 1 << 3);
        assert_eq!(bitmap[3072 + 0x10], 1);
        assert_eq!(bitmap[2048 + 7], 1 << 2);
        assert_eq!(bitmap.iter().filter(|&&byte| byte != 0).count(), 3);
    }
}
