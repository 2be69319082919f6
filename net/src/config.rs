//! How the interface gets its addresses, and what connections may take; with the parser of the command line's settings.

use alloc::boxed::Box;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// Most connections by default.
const MAX_CONNECTIONS: usize = 16384;
/// Most memory for connections by default, in bytes.
const CONNECTION_MEMORY: usize = 256 << 20;

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

/// What the stack is started with.
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
    fn default() -> Self {
        Self {
            ipv4: Ipv4Config::default(),
            ipv6: Ipv6Config::default(),
            hostname: None,
            max_connections: MAX_CONNECTIONS,
            connection_memory: CONNECTION_MEMORY,
        }
    }
}

/// Which setting can't be understood, and which part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Name of the setting: `ip`, `ip6` or `hostname`.
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
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.reason {
            ConfigReason::Address => "is not a host's address",
            ConfigReason::Prefix => "needs a prefix length, as in 10.0.0.2/24",
            ConfigReason::UnknownKey => "is not one of gw=ADDRESS, dns=ADDRESS",
            ConfigReason::Hostname => "is not a host name",
        };
        write!(f, "setting {}: `{}` {reason}", self.setting, self.part)
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    /// Reads `ip=dhcp|off|ADDRESS/LENGTH[,gw=ADDRESS][,dns=ADDRESS]`, `ip6=auto|local|off|ADDRESS/LENGTH[,gw=ADDRESS]` and
    /// `hostname=NAME` from a command line of `key=value` words. Other words are left alone; the last of equal keys counts.
    pub fn parse(command_line: &'static str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for (key, value) in command_line.split_ascii_whitespace().filter_map(|word| word.split_once('=')) {
            match key {
                "ip" => config.ipv4 = parse_ipv4(value)?,
                "ip6" => config.ipv6 = parse_ipv6(value)?,
                "hostname" => {
                    let valid = (1..=63).contains(&value.len())
                        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
                    if !valid {
                        return Err(error("hostname", value, ConfigReason::Hostname));
                    }
                    config.hostname = Some(value);
                }
                _ => {}
            }
        }
        Ok(config)
    }
}

fn parse_ipv4(value: &str) -> Result<Ipv4Config, ConfigError> {
    match value {
        "dhcp" => return Ok(Ipv4Config::Dhcp),
        "off" => return Ok(Ipv4Config::Off),
        _ => {}
    }
    let (address, prefix, options) = split("ip", value, 32, is_host_v4)?;
    let (mut gateway, mut dns) = (None, None);
    for option in options {
        match option.split_once('=') {
            Some(("gw", router)) => gateway = Some(host("ip", router, is_host_v4)?),
            Some(("dns", server)) => dns = Some(host("ip", server, is_host_v4)?),
            _ => return Err(error("ip", option, ConfigReason::UnknownKey)),
        }
    }
    Ok(Ipv4Config::Static { address, prefix, gateway, dns })
}

fn parse_ipv6(value: &str) -> Result<Ipv6Config, ConfigError> {
    match value {
        "auto" => return Ok(Ipv6Config::Auto),
        "local" => return Ok(Ipv6Config::LinkLocal),
        "off" => return Ok(Ipv6Config::Off),
        _ => {}
    }
    let (address, prefix, options) = split("ip6", value, 128, is_host_v6)?;
    let mut gateway = None;
    for option in options {
        match option.split_once('=') {
            Some(("gw", router)) => gateway = Some(host("ip6", router, is_host_v6)?),
            _ => return Err(error("ip6", option, ConfigReason::UnknownKey)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    fn reason(line: &'static str) -> ConfigReason {
        Config::parse(line).unwrap_err().reason
    }

    #[test]
    fn defaults_are_dhcp_and_link_local() {
        let config = Config::parse("log=debug kv.maxmemory=64mb quiet").unwrap();
        assert_eq!(
            (config.ipv4, config.ipv6, config.hostname),
            (Ipv4Config::Dhcp, Ipv6Config::LinkLocal, None)
        );
    }

    #[test]
    fn everything_at_once() {
        let line = "ip=10.0.0.2/24,gw=10.0.0.1,dns=10.0.0.3 ip6=fd00::2/64,gw=fe80::1 hostname=kv-1";
        let config = Config::parse(line).unwrap();
        assert_eq!(
            config.ipv4,
            Ipv4Config::Static {
                address: Ipv4Addr::new(10, 0, 0, 2),
                prefix: 24,
                gateway: Some(Ipv4Addr::new(10, 0, 0, 1)),
                dns: Some(Ipv4Addr::new(10, 0, 0, 3)),
            }
        );
        assert_eq!(
            config.ipv6,
            Ipv6Config::Static {
                address: "fd00::2".parse().unwrap(),
                prefix: 64,
                gateway: Some("fe80::1".parse().unwrap()),
            }
        );
        assert_eq!(config.hostname, Some("kv-1"));
    }

    #[test]
    fn errors_name_the_part() {
        assert_eq!(reason("ip=10.0.0.2"), ConfigReason::Prefix);
        assert_eq!(reason("ip=10.0.0.2/33"), ConfigReason::Prefix);
        assert_eq!(reason("ip=10.0.0/24"), ConfigReason::Address);
        assert_eq!(reason("ip=224.0.0.1/24"), ConfigReason::Address);
        assert_eq!(reason("ip=10.0.0.2/24,via=10.0.0.1"), ConfigReason::UnknownKey);
        assert_eq!(reason("ip6=fd00::2/129"), ConfigReason::Prefix);
        assert_eq!(reason("ip6=fd00::2/64,dns=::1"), ConfigReason::UnknownKey);
        assert_eq!(reason("hostname=a.b"), ConfigReason::Hostname);
        let error = Config::parse("ip=10.0.0.2/24,gw=router").unwrap_err();
        assert_eq!(error.to_string(), "setting ip: `router` is not a host's address");
    }

    proptest! {
        #[test]
        fn anything_is_refused_or_understood(value in "[ -~]{0,40}") {
            let line = std::format!("ip={value} ip6={value} hostname={value}");
            let _ = Config::parse(line.leak());
        }
    }
}
