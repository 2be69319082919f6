//! The kernel's command line.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use machine::bootinfo::{CommandLine, setting};
use net::{Network, Nic};

/// Settings as all rooms read them.
pub fn settings(input: &[u8]) {
    let line = CommandLine::from_bytes(input);
    for key in ["log", "panic", "ip", "kv.maxmemory"] {
        if let Some(value) = setting(line.as_str(), key) {
            assert!(!value.contains(char::is_whitespace) || !value.is_ascii());
            kv::parse_memory(value.as_bytes());
        }
    }
    // A wrong setting is an error to be shown.
    for network in [Network::Main, Network::Control] {
        if let Err(error) = net::Config::parse(network, kept(line.as_str())) {
            assert!(!error.to_string().is_empty());
        }
    }
    match Nic::of_control(line.as_str()) {
        Ok(Some(nic)) => assert_eq!(Nic::of_control(&format!("control.nic={nic}")), Ok(Some(nic))),
        Ok(None) => {}
        Err(error) => assert!(error.to_string().contains("control.")),
    }
}

/// A command line that lives for ever, as the kernel's does. Equal ones are kept once.
fn kept(line: &str) -> &'static str {
    static KEPT: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = kept.get_or_insert_default();
    if let Some(line) = kept.get(line) {
        return line;
    }
    let line: &'static str = Box::leak(line.into());
    kept.insert(line);
    line
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let lines: &[&str] = &[
        "ip=dhcp log=debug panic=exit",
        "ip=10.0.0.2/24,gw=10.0.0.1,dns=10.0.0.3 kv.maxmemory=64mb",
        "ip6=fd00::2/64,gw=fe80::1 hostname=quick-silver",
        "ip=off ip6=auto kv.requirepass=secret kv.maxmemory=18446744073709551615gb",
        "ip=1.2.3.4/33 ip6=::/129",
        "control.nic=net1 control.ip=10.0.3.2/24,gw=10.0.3.1 control.ip6=auto control.port=22",
        "ip=off control.nic=52:54:00:71:73:01",
    ];
    lines.iter().map(|line| line.as_bytes().to_vec()).collect()
}
