//! Which machine an operator means.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::state::State;

/// The name of the control server's port.
pub const SERVICE: &str = "ssh";

/// Why it is not clear which machine is meant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TargetError {
    /// None was named, and none runs.
    #[error("no machine is running; give HOST:PORT for one that was started elsewhere")]
    None,
    /// None was named, and several run.
    #[error("several machines are running, say which: {}", .0.join(", "))]
    Several(Vec<String>),
    /// No running machine has this name.
    #[error("no machine named '{name}' is running{}", list(.running))]
    NotRunning {
        /// The name that was given.
        name: String,
        /// Those that run.
        running: Vec<String>,
    },
    /// The machine was started without it.
    #[error("machine '{0}' has no port named '{SERVICE}'")]
    NoPort(String),
}

fn list(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" (running: {})", names.join(", ")) }
}

/// A machine to be operated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host and port of its control server.
    pub address: String,
    /// The log of its serial line, where it is one of ours: there it tells its host key.
    pub serial: Option<PathBuf>,
}

/// The machine that is meant. A target with a colon is its host and port; another one is the name of one of the machines; none
/// is the only one that runs.
pub fn resolve(target: Option<&str>, machines: &[State]) -> Result<Target, TargetError> {
    if let Some(address) = target.filter(|target| target.contains(':')) {
        return Ok(Target { address: address.to_owned(), serial: None });
    }
    let running: Vec<&State> = machines.iter().filter(|state| state.running).collect();
    let names = || running.iter().map(|state| state.name.clone()).collect();
    let state = match (target, &*running) {
        (Some(name), _) => running
            .iter()
            .find(|state| state.name == name)
            .ok_or_else(|| TargetError::NotRunning { name: name.to_owned(), running: names() })?,
        (None, [only]) => only,
        (None, []) => return Err(TargetError::None),
        (None, _) => return Err(TargetError::Several(names())),
    };
    let port = state.ports.get(SERVICE).ok_or_else(|| TargetError::NoPort(state.name.clone()))?;
    let address = format!("{}:{port}", Ipv4Addr::LOCALHOST);
    Ok(Target { address, serial: Some(state.serial.clone()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str, port: Option<u16>) -> State {
        let ports: serde_json::Value = port.map(|port| (SERVICE, port)).into_iter().collect();
        serde_json::from_value(serde_json::json!({
            "name": name, "app": "kv", "process": { "pid": 1, "start_time": 1 }, "ports": ports, "qmp": "",
            "serial": format!("/{name}/serial.log"), "machine": "q35", "cpus": 1, "memory": "64M", "started": 0, "running": true,
        }))
        .unwrap()
    }

    #[test]
    fn a_name_leads_to_the_machine_s_port() {
        let machines = [machine("a", Some(4022)), machine("b", Some(1234)), machine("old", None)];
        assert_eq!(resolve(Some("b"), &machines).unwrap().address, "127.0.0.1:1234");
        assert_eq!(resolve(Some("b"), &machines).unwrap().serial, Some("/b/serial.log".into()));
        assert_eq!(resolve(Some("old"), &machines), Err(TargetError::NoPort("old".to_owned())));
        let error = resolve(Some("c"), &machines).unwrap_err();
        assert_eq!(error.to_string(), "no machine named 'c' is running (running: a, b, old)");
    }

    #[test]
    fn an_address_needs_no_machine_of_ours() {
        let of = |address: &str| Ok(Target { address: address.to_owned(), serial: None });
        assert_eq!(resolve(Some("host.example:4022"), &[]), of("host.example:4022"));
        assert_eq!(resolve(Some("[::1]:1"), &[machine("a", Some(1))]), of("[::1]:1"));
    }

    #[test]
    fn without_a_target_the_only_machine_is_meant() {
        let mut machines = vec![machine("a", Some(4022))];
        assert_eq!(resolve(None, &machines).unwrap().address, "127.0.0.1:4022");
        machines.push(machine("b", Some(4023)));
        assert_eq!(
            resolve(None, &machines).unwrap_err().to_string(),
            "several machines are running, say which: a, b"
        );
        machines[0].running = false;
        assert_eq!(
            resolve(None, &machines).unwrap().address,
            "127.0.0.1:4023",
            "one that is being built does not count"
        );
        assert_eq!(resolve(None, &[]), Err(TargetError::None));
    }
}
