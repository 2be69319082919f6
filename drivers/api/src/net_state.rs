//! What a network card tells its successor, whatever either is.

use alloc::vec::Vec;

use crate::{ExportedState, LifecycleError, LinkInfo, MacAddr, Offloads, StateKind};

/// The shortest packet that every host has to take (RFC 791, 3.1).
const LEAST_MTU: usize = 576;

/// The link of a card. Its successor takes over the address; that its MTU and offloads may be others is for who uses it to adapt to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetState {
    /// The Ethernet address.
    pub mac: MacAddr,
    /// Longest IP packet, in bytes.
    pub mtu: usize,
    /// What it did in place of software. How long a segmented frame may be is not kept: [`Offloads::max_tso`] is 0.
    pub offloads: Offloads,
}

impl NetState {
    /// Layout: MAC address (6 bytes), MTU (u16), offloads (u8: checksum 1, TSO4 2, TSO6 4).
    pub const KIND: StateKind = StateKind { kind: *b"net0", version: 1 };

    /// Of a card with this link.
    pub fn of(link: &LinkInfo) -> Self {
        Self { mac: link.mac, mtu: link.mtu, offloads: Offloads { max_tso: 0, ..link.offloads } }
    }

    /// As a driver exports it.
    pub fn encode(&self) -> ExportedState {
        let Offloads { tx_checksum, tso4, tso6, .. } = self.offloads;
        let mut payload = Vec::from(self.mac.0);
        payload.extend_from_slice(&u16::try_from(self.mtu).unwrap_or(u16::MAX).to_le_bytes());
        payload.push(u8::from(tx_checksum) | u8::from(tso4) << 1 | u8::from(tso6) << 2);
        ExportedState { kind: Self::KIND, payload }
    }

    /// What a driver has exported.
    ///
    /// # Errors
    /// Another kind or version, and the name of a field that is malformed.
    pub fn decode(state: &ExportedState) -> Result<Self, LifecycleError> {
        if state.kind != Self::KIND {
            return Err(LifecycleError::ForeignState(state.kind));
        }
        let [a, b, c, d, e, f, mtu_low, mtu_high, offloads] = state.payload[..] else {
            return Err(LifecycleError::Malformed("length"));
        };
        let mac = MacAddr([a, b, c, d, e, f]);
        // Nobody's own: that of a group (IEEE 802, 8.2), or none.
        if a & 1 != 0 || mac.0 == [0; 6] {
            return Err(LifecycleError::Malformed("mac"));
        }
        let mtu = usize::from(u16::from_le_bytes([mtu_low, mtu_high]));
        if mtu < LEAST_MTU {
            return Err(LifecycleError::Malformed("mtu"));
        }
        if offloads > 7 {
            return Err(LifecycleError::Malformed("offloads"));
        }
        let is_set = |bit: u8| offloads & bit != 0;
        let offloads = Offloads { tx_checksum: is_set(1), tso4: is_set(2), tso6: is_set(4), max_tso: 0 };
        Ok(Self { mac, mtu, offloads })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(mac: [u8; 6], mtu: usize) -> NetState {
        NetState { mac: MacAddr(mac), mtu, offloads: Offloads { tso4: true, ..Offloads::default() } }
    }

    #[test]
    fn what_is_exported_is_imported() {
        for mtu in [576, 1500, 9000, 65535] {
            let state = state([2, 0, 0, 0, 0, 9], mtu);
            assert_eq!(NetState::decode(&state.encode()), Ok(state));
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let good = state([2, 0, 0, 0, 0, 9], 1500).encode();
        let field = |change: fn(&mut Vec<u8>)| {
            let mut bad = good.clone();
            change(&mut bad.payload);
            NetState::decode(&bad)
        };
        let malformed = |name| Err(LifecycleError::Malformed(name));
        assert_eq!(field(|payload| payload.push(0)), malformed("length"));
        assert_eq!(field(|payload| payload.truncate(8)), malformed("length"));
        assert_eq!(field(|payload| payload[0] |= 1), malformed("mac"));
        assert_eq!(field(|payload| payload[..6].fill(0)), malformed("mac"));
        assert_eq!(field(|payload| payload[7] = 1), malformed("mtu"));
        assert_eq!(field(|payload| payload[8] = 8), malformed("offloads"));
        let mut foreign = good.clone();
        foreign.kind.version = 2;
        assert_eq!(NetState::decode(&foreign), Err(LifecycleError::ForeignState(foreign.kind)));
    }
}
