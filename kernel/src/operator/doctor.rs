//! What the machine can do, and what would refuse a switch now.

use super::{line, modes};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use control::request::{DEADLINE, Switch, Target};
use net::Network;
use net::ssh::{Output, exit};
use serde::Serialize;

#[derive(Serialize)]
struct Finding {
    check: &'static str,
    ok: bool,
    detail: String,
}

fn findings() -> Vec<Finding> {
    let mode = modes::mode();
    let monitor = Finding {
        check: "virtualization",
        ok: mode.unavailable.is_none(),
        detail: mode
            .unavailable
            .unwrap_or_else(|| format!("{}, nested paging", mode.vendor.unwrap_or("present"))),
    };
    let rehearsal =
        Switch { target: Target::Toggle, dry_run: true, deadline: DEADLINE, operation: None, expected: None };
    let refusal = super::changes::busy().or_else(|| modes::carry_out(&rehearsal).2);
    let switch = Finding {
        check: "switch",
        ok: refusal.is_none(),
        detail: refusal.unwrap_or_else(|| "would be carried out now".to_string()),
    };
    let health = drivers::entropy::health();
    let entropy = Finding { check: "entropy", ok: health.is_good(), detail: health.to_string() };
    #[cfg(feature = "vmm")]
    let key = Some(checkpoint_key());
    #[cfg(not(feature = "vmm"))]
    let key = None;
    let network = addressed("network", Network::Main);
    let control = Network::Control.is_running().then(|| addressed("control network", Network::Control));
    [monitor, switch, entropy, network].into_iter().chain(control).chain(key).collect()
}

/// Whether others can make what this machine would go on from.
#[cfg(feature = "vmm")]
fn checkpoint_key() -> Finding {
    let ok = super::key::key().is_some();
    let detail = if ok { "the image's" } else { "none: whoever can write a checkpoint can forge it" };
    Finding { check: "checkpoint key", ok, detail: detail.to_string() }
}

/// Whether a network has an address.
fn addressed(check: &'static str, network: Network) -> Finding {
    let count = network.addresses().len();
    let detail = match count {
        0 => "no address".to_string(),
        _ => format!("{count} addresses"),
    };
    Finding { check, ok: count > 0, detail }
}

/// Examines the machine. What is wrong with it makes no difference to the exit status: it was examined.
pub fn examine(json: bool, output: &mut dyn Output) -> u8 {
    let told = findings().iter().try_for_each(|finding| {
        if json {
            return line(output, finding);
        }
        let word = if finding.ok { "ok" } else { "NOT OK" };
        output.out(&format!("{:<15} {word:<7} {}\n", finding.check, finding.detail))
    });
    if told.is_ok() { exit::DONE } else { exit::UNKNOWN }
}
