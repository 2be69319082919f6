//! How the interface gets its addresses, and what connections may take; with the parser of the command line's settings.

mod nic;
#[cfg(test)]
mod tests;

pub use nic::Nic;

use crate::Network;
use alloc::boxed::Box;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// Most connections by default.
const MAX_CONNECTIONS: usize = 16384;
/// Most memory for connections by default, in bytes.
const CONNECTION_MEMORY: usize = 256 << 20;
/// Most connections of the control network: some two dozen operators, and those in TIME-WAIT.
const CONTROL_CONNECTIONS: usize = 1024;
/// Most memory for connections of the control network, in bytes.
const CONTROL_MEMORY: usize = 16 << 20;

/// Where the IPv4 address comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ipv4Config {
    /// Asked for, and renewed, by DHCP (RFC 2131).
    #[default]
    Dhcp,
    /// Given.
    Static {
        /// Our address.
        address: Ipv4Addr,
        /// Length of the network's prefix in bits, 0 to 32.
        prefix: u8,
        /// The router, if other networks can be reached.
        gateway: Option<Ipv4Addr>,
        /// A name server.
        dns: Option<Ipv4Addr>,
    },
    /// No IPv4.
    Off,
}

/// Where IPv6 addresses come from. There is always a link-local one, but for `Off`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ipv6Config {
    /// Made from the Ethernet address (RFC 4291, appendix A).
    #[default]
    LinkLocal,
    /// And others as routers advertise (RFC 4862).
    Auto,
    /// And a given one.
    Static {
        /// Our address.
        address: Ipv6Addr,
        /// Length of the network's prefix in bits, 0 to 128.
        prefix: u8,
        /// The router, if other networks can be reached.
        gateway: Option<Ipv6Addr>,
    },
    /// No IPv6.
    Off,
}

/// What a network is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The IPv4 address.
    pub ipv4: Ipv4Config,
    /// The IPv6 addresses.
    pub ipv6: Ipv6Config,
    /// The name told to the DHCP server.
    pub hostname: Option<&'static str>,
    /// Most TCP connections at once.
    pub max_connections: usize,
    /// Most memory for TCP connections, in bytes.
    pub connection_memory: usize,
}

impl Default for Config {
    /// The main network's.
    fn default() -> Self {
        Self::of(Network::Main)
    }
}

/// Which setting can't be understood, and which part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Name of the setting.
    pub setting: &'static str,
    /// The part of its value that is wrong.
    pub part: Box<str>,
    /// What is wrong with it.
    pub reason: ConfigReason,
}

/// What is wrong with a part of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigReason {
    /// Not an address that a host can have.
    Address,
    /// No length of the prefix, or one out of range.
    Prefix,
    /// Neither `gw=` nor `dns=`.
    UnknownKey,
    /// Not 1 to 63 letters, digits and hyphens.
    Hostname,
    /// Neither a card's number nor an Ethernet address.
    Nic,
    /// Set for a network that there is only with `control.nic`.
    NoNic,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.reason {
            ConfigReason::Address => "is not a host's address",
            ConfigReason::Prefix => "needs a prefix length, as in 10.0.0.2/24",
            ConfigReason::UnknownKey => "is not one of gw=ADDRESS, dns=ADDRESS",
            ConfigReason::Hostname => "is not a host name",
            ConfigReason::Nic => "is neither net0, net1, … nor an Ethernet address",
            ConfigReason::NoNic => "needs control.nic",
        };
        write!(f, "setting {}: `{}` {reason}", self.setting, self.part)
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    /// What a network is started with by default.
    pub fn of(network: Network) -> Self {
        let (max_connections, connection_memory) = match network {
            Network::Main => (MAX_CONNECTIONS, CONNECTION_MEMORY),
            Network::Control => (CONTROL_CONNECTIONS, CONTROL_MEMORY),
        };
        Self {
            ipv4: Ipv4Config::default(),
            ipv6: Ipv6Config::default(),
            hostname: None,
            max_connections,
            connection_memory,
        }
    }

    /// Reads `ip=dhcp|off|ADDRESS/LENGTH[,gw=ADDRESS][,dns=ADDRESS]`, `ip6=auto|local|off|ADDRESS/LENGTH[,gw=ADDRESS]` and
    /// `hostname=NAME` from a command line of `key=value` words; for the control network `control.ip=` and `control.ip6=`, the
    /// same way. Other words are left alone; the last of equal keys counts.
    pub fn parse(network: Network, command_line: &'static str) -> Result<Self, ConfigError> {
        let (ip, ip6) = match network {
            Network::Main => ("ip", "ip6"),
            Network::Control => (CONTROL_IP, CONTROL_IP6),
        };
        let mut config = Self::of(network);
        for (key, value) in settings(command_line) {
            if key == ip {
                config.ipv4 = parse_ipv4(ip, value)?;
            } else if key == ip6 {
                config.ipv6 = parse_ipv6(ip6, value)?;
            } else if key == "hostname" {
                let valid = (1..=63).contains(&value.len())
                    && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
                if !valid {
                    return Err(error("hostname", value, ConfigReason::Hostname));
                }
                config.hostname = Some(value);
            }
        }
        Ok(config)
    }
}

const CONTROL_IP: &str = "control.ip";
const CONTROL_IP6: &str = "control.ip6";

/// The words of the form `key=value`.
fn settings(command_line: &str) -> impl Iterator<Item = (&str, &str)> {
    command_line.split_ascii_whitespace().filter_map(|word| word.split_once('='))
}

fn parse_ipv4(setting: &'static str, value: &str) -> Result<Ipv4Config, ConfigError> {
    match value {
        "dhcp" => return Ok(Ipv4Config::Dhcp),
        "off" => return Ok(Ipv4Config::Off),
        _ => {}
    }
    let (address, prefix, options) = split(setting, value, 32, is_host_v4)?;
    let (mut gateway, mut dns) = (None, None);
    for option in options {
        match option.split_once('=') {
            Some(("gw", router)) => gateway = Some(host(setting, router, is_host_v4)?),
            Some(("dns", server)) => dns = Some(host(setting, server, is_host_v4)?),
            _ => return Err(error(setting, option, ConfigReason::UnknownKey)),
        }
    }
    Ok(Ipv4Config::Static { address, prefix, gateway, dns })
}

fn parse_ipv6(setting: &'static str, value: &str) -> Result<Ipv6Config, ConfigError> {
    match value {
        "auto" => return Ok(Ipv6Config::Auto),
        "local" => return Ok(Ipv6Config::LinkLocal),
        "off" => return Ok(Ipv6Config::Off),
        _ => {}
    }
    let (address, prefix, options) = split(setting, value, 128, is_host_v6)?;
    let mut gateway = None;
    for option in options {
        match option.split_once('=') {
            Some(("gw", router)) => gateway = Some(host(setting, router, is_host_v6)?),
            _ => return Err(error(setting, option, ConfigReason::UnknownKey)),
        }
    }
    Ok(Ipv6Config::Static { address, prefix, gateway })
}

/// `ADDRESS/LENGTH,option,option…`
fn split<'a, A: FromStr>(
    setting: &'static str,
    value: &'a str,
    longest: u8,
    is_host: fn(&A) -> bool,
) -> Result<(A, u8, impl Iterator<Item = &'a str>), ConfigError> {
    let mut parts = value.split(',');
    let cidr = parts.next().unwrap_or("");
    let prefix_error = || error(setting, cidr, ConfigReason::Prefix);
    let (address, prefix) = cidr.split_once('/').ok_or_else(prefix_error)?;
    let address = host(setting, address, is_host)?;
    let prefix = prefix.parse().ok().filter(|&bits| bits <= longest).ok_or_else(prefix_error)?;
    Ok((address, prefix, parts))
}

fn host<A: FromStr>(setting: &'static str, text: &str, is_host: fn(&A) -> bool) -> Result<A, ConfigError> {
    text.parse().ok().filter(is_host).ok_or_else(|| error(setting, text, ConfigReason::Address))
}

fn is_host_v4(address: &Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_broadcast() || address.is_multicast())
}

fn is_host_v6(address: &Ipv6Addr) -> bool {
    !(address.is_unspecified() || address.is_multicast())
}

fn error(setting: &'static str, part: &str, reason: ConfigReason) -> ConfigError {
    ConfigError { setting, part: part.into(), reason }
}
