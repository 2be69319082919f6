//! What settings mean, and what is wrong with them.

use super::*;
use proptest::prelude::*;
use std::string::ToString;

fn reason(line: &'static str) -> ConfigReason {
    Config::parse(Network::Main, line).unwrap_err().reason
}

#[test]
fn defaults_are_dhcp_and_link_local() {
    let config = Config::parse(Network::Main, "log=debug kv.maxmemory=64mb quiet").unwrap();
    assert_eq!((config.ipv4, config.ipv6, config.hostname), (Ipv4Config::Dhcp, Ipv6Config::LinkLocal, None));
}

#[test]
fn everything_at_once() {
    let line = "ip=10.0.0.2/24,gw=10.0.0.1,dns=10.0.0.3 ip6=fd00::2/64,gw=fe80::1 hostname=kv-1";
    let config = Config::parse(Network::Main, line).unwrap();
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
    let error = Config::parse(Network::Main, "ip=10.0.0.2/24,gw=router").unwrap_err();
    assert_eq!(error.to_string(), "setting ip: `router` is not a host's address");
}

#[test]
fn each_network_has_settings_of_its_own() {
    let line = "ip=10.0.0.2/24 control.ip=10.1.0.2/16,gw=10.1.0.1 ip6=off control.ip6=auto hostname=kv-1";
    let main = Config::parse(Network::Main, line).unwrap();
    let control = Config::parse(Network::Control, line).unwrap();
    let ipv4 = |address: [u8; 4], prefix, gateway: Option<[u8; 4]>| Ipv4Config::Static {
        address: address.into(),
        prefix,
        gateway: gateway.map(Ipv4Addr::from),
        dns: None,
    };
    assert_eq!((main.ipv4, main.ipv6), (ipv4([10, 0, 0, 2], 24, None), Ipv6Config::Off));
    assert_eq!(
        (control.ipv4, control.ipv6),
        (ipv4([10, 1, 0, 2], 16, Some([10, 1, 0, 1])), Ipv6Config::Auto)
    );
    assert_eq!((main.hostname, control.hostname), (Some("kv-1"), Some("kv-1")));
    assert!(control.max_connections < main.max_connections);
    // What is wrong with one leaves the other alone.
    let line = "control.ip=10.1.0.2 ip6=local";
    assert!(Config::parse(Network::Main, line).is_ok());
    let error = Config::parse(Network::Control, line).unwrap_err();
    assert_eq!((error.setting, error.reason), ("control.ip", ConfigReason::Prefix));
    let control = Config::parse(Network::Control, "ip=off ip6=off").unwrap();
    assert_eq!((control.ipv4, control.ipv6), (Ipv4Config::Dhcp, Ipv6Config::LinkLocal));
}

proptest! {
    #[test]
    fn anything_is_refused_or_understood(value in "[ -~]{0,40}") {
        let line = std::format!("ip={value} ip6={value} control.ip={value} control.ip6={value} hostname={value}");
        let line = line.leak();
        for network in [Network::Main, Network::Control] {
            let _ = Config::parse(network, line);
        }
    }
}
