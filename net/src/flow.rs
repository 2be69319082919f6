//! Which connection a segment belongs to: the key, and a hash that an outsider can't aim at.

use core::hash::{BuildHasher, Hash, Hasher};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Both ends of a TCP connection. IPv4 addresses are held as IPv4-mapped IPv6 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowKey {
    remote: u128,
    local: u128,
    /// Remote port in the high half, local port in the low one.
    ports: u32,
}

const MAPPED: u128 = 0xffff << 32;

impl FlowKey {
    /// Of IPv4 addresses in network order.
    pub(crate) fn v4(remote: [u8; 4], local: [u8; 4], remote_port: u16, local_port: u16) -> Self {
        let map = |address| MAPPED | u128::from(u32::from_be_bytes(address));
        Self { remote: map(remote), local: map(local), ports: pack(remote_port, local_port) }
    }

    /// Of IPv6 addresses in network order.
    pub(crate) fn v6(remote: [u8; 16], local: [u8; 16], remote_port: u16, local_port: u16) -> Self {
        Self {
            remote: u128::from_be_bytes(remote),
            local: u128::from_be_bytes(local),
            ports: pack(remote_port, local_port),
        }
    }

    /// Of socket addresses.
    pub(crate) fn new(remote: SocketAddr, local: SocketAddr) -> Self {
        let bits = |address| match address {
            IpAddr::V4(v4) => MAPPED | u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        Self { remote: bits(remote.ip()), local: bits(local.ip()), ports: pack(remote.port(), local.port()) }
    }

    /// The port at this end.
    pub(crate) fn local_port(&self) -> u16 {
        self.ports as u16
    }

    /// The address at this end.
    pub(crate) fn local_address(&self) -> IpAddr {
        address(self.local)
    }

    /// The other end.
    pub(crate) fn remote(&self) -> SocketAddr {
        SocketAddr::new(address(self.remote), (self.ports >> 16) as u16)
    }

    /// This end.
    pub(crate) fn local(&self) -> SocketAddr {
        SocketAddr::new(address(self.local), self.local_port())
    }
}

fn pack(remote: u16, local: u16) -> u32 {
    u32::from(remote) << 16 | u32::from(local)
}

fn address(bits: u128) -> IpAddr {
    if bits >> 32 == MAPPED >> 32 {
        Ipv4Addr::from_bits(bits as u32).into()
    } else {
        Ipv6Addr::from_bits(bits).into()
    }
}

impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.remote as u64);
        // Of IPv4 addresses this half is the same always.
        if self.remote >> 32 != MAPPED >> 32 {
            state.write_u64((self.remote >> 64) as u64);
        }
        // The local address tells few connections apart; equality still looks at all of it.
        state.write_u64(u64::from(self.ports) << 32 | u64::from(self.local as u32));
    }
}

/// Hashes by folded multiplication with two secret words, so that nobody can choose ports that all collide.
#[derive(Clone, Debug)]
pub(crate) struct SecretHash {
    keys: [u64; 2],
}

impl SecretHash {
    /// With 128 random bits.
    pub(crate) fn new(random: fn(&mut [u8])) -> Self {
        let mut bytes = [0; 16];
        random(&mut bytes);
        let bits = u128::from_ne_bytes(bytes);
        Self { keys: [bits as u64 | 1, (bits >> 64) as u64 | 1] }
    }
}

impl BuildHasher for SecretHash {
    type Hasher = FoldingHasher;

    fn build_hasher(&self) -> FoldingHasher {
        FoldingHasher { state: self.keys[0], key: self.keys[1] }
    }
}

/// See [`SecretHash`].
pub(crate) struct FoldingHasher {
    state: u64,
    key: u64,
}

impl Hasher for FoldingHasher {
    fn write_u64(&mut self, word: u64) {
        // Adding the state keeps a zero factor from erasing what came before.
        self.state = self.state.rotate_left(23).wrapping_add(fold(self.state ^ word, self.key));
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn finish(&self) -> u64 {
        fold(self.state, self.key.rotate_left(32))
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn key(remote_port: u16) -> FlowKey {
        FlowKey::v4([10, 0, 0, 1], [10, 0, 0, 2], remote_port, 80)
    }

    #[test]
    fn forms_agree_and_give_the_addresses_back() {
        let by_address = FlowKey::new("10.0.0.1:555".parse().unwrap(), "10.0.0.2:80".parse().unwrap());
        assert_eq!(by_address, key(555));
        assert_eq!(by_address.remote(), "10.0.0.1:555".parse().unwrap());
        assert_eq!(by_address.local(), "10.0.0.2:80".parse().unwrap());
        let six = FlowKey::new("[fe80::1]:5".parse().unwrap(), "[fe80::2]:6".parse().unwrap());
        assert_eq!(six.remote(), "[fe80::1]:5".parse().unwrap());
        assert_eq!(six.local_address(), "fe80::2".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn neighbouring_keys_spread() {
        let hash = SecretHash::new(|bytes| {
            bytes.copy_from_slice(b"\xf2\x91\x3c\x07\xe8\x5d\xaa\x6b\x18\xc4\x9f\x73\x2e\xd0\x41\xb6")
        });
        let low: HashSet<u64> = (0..4096).map(|port| hash.hash_one(key(port)) & 0xfff).collect();
        assert!(low.len() > 2000, "{} of 4096 buckets", low.len());
    }

    #[test]
    fn secrets_matter() {
        let one = SecretHash::new(|bytes| bytes.fill(1));
        let two = SecretHash::new(|bytes| bytes.fill(2));
        assert_ne!(one.hash_one(key(1)), two.hash_one(key(1)));
    }
}
