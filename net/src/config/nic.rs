//! Which network card is the operators' own.

use super::{CONTROL_IP, CONTROL_IP6, ConfigError, ConfigReason, error, settings};
use core::fmt;
use drivers_api::MacAddr;

const CONTROL_NIC: &str = "control.nic";

/// A network card as a setting names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nic {
    /// `net0`, `net1`, …, in the order in which they were found.
    Number(usize),
    /// By its Ethernet address.
    Mac(MacAddr),
}

impl fmt::Display for Nic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "net{number}"),
            Self::Mac(mac) => write!(f, "{mac}"),
        }
    }
}

impl Nic {
    /// The card of the control network: reads `control.nic=netN|ADDRESS` from a command line. `None` is no network of its own;
    /// to have set its addresses then is an error, because somebody counts on one.
    pub fn of_control(command_line: &str) -> Result<Option<Self>, ConfigError> {
        let mut nic = None;
        let mut address = None;
        for (key, value) in settings(command_line) {
            match key {
                CONTROL_NIC => {
                    let wrong = || error(CONTROL_NIC, value, ConfigReason::Nic);
                    nic = Some(Self::parse(value).ok_or_else(wrong)?);
                }
                CONTROL_IP => address = Some(error(CONTROL_IP, value, ConfigReason::NoNic)),
                CONTROL_IP6 => address = Some(error(CONTROL_IP6, value, ConfigReason::NoNic)),
                _ => {}
            }
        }
        match (nic, address) {
            (None, Some(error)) => Err(error),
            (nic, _) => Ok(nic),
        }
    }

    /// Which of these cards it is.
    pub fn find(&self, cards: impl IntoIterator<Item = MacAddr>) -> Option<usize> {
        let is_it = |(number, mac): (usize, MacAddr)| match self {
            Self::Number(wanted) => number == *wanted,
            Self::Mac(wanted) => mac == *wanted,
        };
        cards.into_iter().enumerate().position(is_it)
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(digits) = text.strip_prefix("net") {
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            return digits.parse().ok().filter(|_| is_number).map(Self::Number);
        }
        let mut parts = text.split(':');
        let mut mac = [0; 6];
        for byte in &mut mac {
            let part = parts.next()?;
            let is_byte = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            *byte = u8::from_str_radix(part, 16).ok().filter(|_| is_byte)?;
        }
        parts.next().is_none().then_some(Self::Mac(MacAddr(mac)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0xab]);

    #[test]
    fn a_card_is_named_by_number_or_address() {
        assert_eq!(Nic::of_control("ip=dhcp control.port=22"), Ok(None));
        assert_eq!(Nic::of_control("control.nic=net1 control.ip=dhcp"), Ok(Some(Nic::Number(1))));
        assert_eq!(Nic::of_control("control.nic=52:54:00:12:34:AB"), Ok(Some(Nic::Mac(MAC))));
        assert_eq!(Nic::of_control("control.nic=net1 control.nic=net2"), Ok(Some(Nic::Number(2))));
        assert_eq!(Nic::Mac(MAC).to_string(), "52:54:00:12:34:ab");
        assert_eq!(Nic::Number(1).to_string(), "net1");
    }

    #[test]
    fn what_names_none_is_an_error() {
        for value in [
            "",
            "net",
            "net-1",
            "net+1",
            "eth0",
            "1",
            "net99999999999999999999",
            "52:54:00:12:34",
            "52:54:00:12:34:ab:cd",
            "52:54:00:12:34:+a",
            "5254:00:12:34:ab",
        ] {
            let error = Nic::of_control(&std::format!("control.nic={value}")).unwrap_err();
            assert_eq!((error.setting, error.reason), ("control.nic", ConfigReason::Nic), "{value}");
        }
    }

    #[test]
    fn addresses_without_a_card_are_an_error() {
        for key in ["control.ip", "control.ip6"] {
            let error = Nic::of_control(&std::format!("{key}=off")).unwrap_err();
            assert_eq!(error.to_string(), std::format!("setting {key}: `off` needs control.nic"));
        }
    }

    #[test]
    fn a_card_that_is_not_there_is_not_found() {
        let cards = [MacAddr([2; 6]), MAC];
        assert_eq!(Nic::Number(0).find(cards), Some(0));
        assert_eq!(Nic::Number(2).find(cards), None);
        assert_eq!(Nic::Mac(MAC).find(cards), Some(1));
        assert_eq!(Nic::Mac(MacAddr([4; 6])).find(cards), None);
        assert_eq!(Nic::Number(0).find([]), None);
    }

    proptest! {
        #[test]
        fn anything_is_refused_or_understood(value in "[ -~]{0,40}") {
            let line = std::format!("control.nic={value}");
            if let Ok(Some(nic)) = Nic::of_control(&line) {
                prop_assert_eq!(Nic::of_control(&std::format!("control.nic={nic}")), Ok(Some(nic)));
            }
        }

        #[test]
        fn what_is_written_is_read(mac: [u8; 6], number: usize) {
            for nic in [Nic::Mac(MacAddr(mac)), Nic::Number(number)] {
                prop_assert_eq!(Nic::of_control(&std::format!("control.nic={nic}")), Ok(Some(nic)));
            }
        }
    }
}
