//! The MSR permission map (APM vol. 2, 15.11): two bits a register, read and write; 8 KiB.

/// Bytes of the map.
pub const MSR_MAP: usize = 8192;
/// Bytes of the I/O permission map (15.10.1): one bit a port, and the three a 4-byte access may reach beyond.
pub const IO_MAP: usize = 12288;

/// Byte and shift of a register's two bits; `None` for registers outside of the map, which always exit.
const fn place(register: u32) -> Option<(usize, u32)> {
    let (start, first) = match register {
        0..0x2000 => (0, 0),
        0xc000_0000..0xc000_2000 => (0x800, 0xc000_0000),
        0xc001_0000..0xc001_2000 => (0x1000, 0xc001_0000),
        _ => return None,
    };
    let index = register - first;
    Some((start + (index / 4) as usize, index % 4 * 2))
}

/// Makes writes of a register exit.
pub fn intercept_write(map: &mut [u8; MSR_MAP], register: u32) {
    if let Some((byte, shift)) = place(register) {
        map[byte] |= 2 << shift;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registers::msr;

    #[test]
    fn registers_have_their_bits() {
        let mut map = [0; MSR_MAP];
        intercept_write(&mut map, msr::EFER);
        intercept_write(&mut map, msr::VM_HSAVE_PA);
        intercept_write(&mut map, 0x4000_0000);
        assert_eq!(map[0x800 + 0x20], 2);
        assert_eq!(map[0x1000 + 0x45], 2 << 6);
        assert_eq!(map.iter().filter(|&&byte| byte != 0).count(), 2);
    }
}
