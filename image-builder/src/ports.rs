//! TCP ports: the services' names, and free ports of the host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};

use crate::config::Forward;

/// The services of an image and the guest ports they listen on.
pub const SERVICES: &[(&str, u16)] = &[
    ("kv", 6379),
    ("http", 80),
    ("metrics", 9100),
    ("ssh", 22),
    ("echo", 7),
    ("discard", 9),
    ("chargen", 19),
];

/// What every machine forwards as far as there is room, the most needed first, at the host port it wishes for: the privileged
/// ones are moved.
pub const ALWAYS: &[Forward] = &[
    Forward { guest: 22, host: 2222 },
    Forward { guest: 6379, host: 6379 },
    Forward { guest: 80, host: 8080 },
    Forward { guest: 9100, host: 9100 },
];

/// Guest ports that are reached through the control NIC of a machine that has one.
pub const CONTROL: &[u16] = &[22, 9100];

/// The name of what listens on a guest port; the number where it has none.
pub fn service(guest: u16) -> String {
    SERVICES
        .iter()
        .find(|(_, port)| *port == guest)
        .map_or_else(|| guest.to_string(), |(name, _)| (*name).to_owned())
}

/// A forward with the host port it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub name: String,
    pub guest: u16,
    pub host: u16,
    /// The port wished for, where that was taken.
    pub instead_of: Option<u16>,
}

/// Grants each wish its port, or a free one where it is taken (or already granted to an earlier wish).
pub fn grant(wishes: &[Forward]) -> std::io::Result<Vec<Granted>> {
    let mut used = BTreeSet::new();
    let mut granted = Vec::new();
    for wish in wishes {
        let wished_free = wish.host != 0 && !used.contains(&wish.host) && is_free(wish.host);
        let host = if wished_free { wish.host } else { free_port(&used)? };
        used.insert(host);
        let instead_of = (wish.host != 0 && !wished_free).then_some(wish.host);
        granted.push(Granted { name: service(wish.guest), guest: wish.guest, host, instead_of });
    }
    Ok(granted)
}

/// The host ports by service name.
pub fn by_name(granted: &[Granted]) -> BTreeMap<String, u16> {
    granted.iter().map(|grant| (grant.name.clone(), grant.host)).collect()
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn free_port(used: &BTreeSet<u16>) -> std::io::Result<u16> {
    // Refused candidates stay bound until one fits, so that the system offers another each time.
    let mut refused = Vec::new();
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        if !used.contains(&port) {
            return Ok(port);
        }
        refused.push(listener);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_replaced_and_reported() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = holder.local_addr().unwrap().port();
        let granted = grant(&[Forward { guest: 6379, host: taken }]).unwrap();
        assert_ne!(granted[0].host, taken);
        assert_eq!(granted[0].instead_of, Some(taken));
        assert_eq!(granted[0].name, "kv");
    }

    #[test]
    fn two_wishes_for_one_port_get_two() {
        let free = free_port(&BTreeSet::new()).unwrap();
        let granted =
            grant(&[Forward { guest: 80, host: free }, Forward { guest: 4000, host: free }]).unwrap();
        assert_ne!(granted[0].host, granted[1].host);
        assert_eq!(by_name(&granted)["4000"], granted[1].host);
    }

    #[test]
    fn no_wish_is_no_replacement() {
        let granted = grant(&[Forward { guest: 7, host: 0 }]).unwrap();
        assert_eq!((granted[0].name.as_str(), granted[0].instead_of), ("echo", None));
    }
}
