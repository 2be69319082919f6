//! The two systems under comparison, each on its emulated machine: q35, `-cpu max`, one CPU, 512 MiB, virtio-net.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use image_builder::qmp::Qmp;
use image_builder::{Machine, ports};
use serde_json::Value;

use crate::Failure;
use crate::peer::Peer;

/// How long a system may take to its first answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// The tap devices, and who is at their ends.
pub const OUR_TAP: (&str, Ipv4Addr, Ipv4Addr) =
    ("tap0", Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2));
pub const LINUX_TAP: (&str, Ipv4Addr, Ipv4Addr) =
    ("tap1", Ipv4Addr::new(10, 9, 1, 1), Ipv4Addr::new(10, 9, 1, 2));

/// How a machine is to be run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting<'a> {
    /// QEMU's user network instead of a tap device.
    pub user_network: bool,
    /// The file in which the plugin counts instructions, under `-icount shift=0`.
    pub counter: Option<&'a Path>,
}

/// A running system. Dropping it ends the machine.
pub enum System {
    Quicksilver(Box<Machine>),
    Linux(Linux),
}

/// What makes Linux faster on an emulated machine, so that no cheap win is counted: TCG is slow at `rep movsb`, which Linux
/// takes for its copies where the CPU says it is fast (three times the stream rate without), and mitigations of
/// speculation serve nothing there (a tenth of the requests).
const LINUX_AT_ITS_BEST: &str = "clearcpuid=erms mitigations=off";

/// A machine that runs the Linux peer.
pub struct Linux {
    control: Qmp,
    started: Instant,
    address: Ipv4Addr,
    /// Guest and host port of each forwarded service.
    forwards: Vec<(u16, u16)>,
    /// Held for its end.
    _process: Process,
}

impl System {
    /// Starts Quicksilver from a finished image.
    pub fn quicksilver(elf: &Path, peer: &Peer, setting: Setting<'_>) -> Result<Self, Failure> {
        let mut builder = Machine::builder().elf(elf).append("log=info");
        if setting.user_network {
            builder = builder.forward(9).forward(19);
        } else {
            let (tap, host, guest) = OUR_TAP;
            builder = builder.tap(tap).append(&format!("ip={guest}/24,gw={host}"));
        }
        if let Some(counter) = setting.counter {
            let plugin = format!("{},counter={}", peer.counter.display(), counter.display());
            builder = builder.icount().qemu_arg("-plugin").qemu_arg(&plugin);
        }
        Ok(System::Quicksilver(Box::new(builder.spawn()?)))
    }

    /// Starts the peer with one service: `redis`, `nginx` or `stream`.
    pub fn linux(service: &str, peer: &Peer, setting: Setting<'_>) -> Result<Self, Failure> {
        Ok(System::Linux(Linux::start(service, peer, setting)?))
    }

    /// Where a guest's port is reached.
    pub fn address(&self, guest_port: u16) -> Result<SocketAddr, Failure> {
        let (address, port) = match self {
            System::Quicksilver(machine) => (machine.address(), machine.port(&ports::service(guest_port))),
            System::Linux(linux) => {
                let forward = linux.forwards.iter().find(|(guest, _)| *guest == guest_port);
                let host =
                    if linux.forwards.is_empty() { Some(guest_port) } else { forward.map(|(_, host)| *host) };
                (Some(linux.address.into()), host)
            }
        };
        // On a tap device every port is the guest's own.
        let port = port.or(matches!(address, Some(address) if !address.is_loopback()).then_some(guest_port));
        match (address, port) {
            (Some(address), Some(port)) => Ok(SocketAddr::new(address, port)),
            _ => Err(Failure::Unreachable(guest_port)),
        }
    }

    /// When QEMU was started.
    pub fn started(&self) -> Instant {
        match self {
            System::Quicksilver(machine) => machine.started(),
            System::Linux(linux) => linux.started,
        }
    }

    /// Stops the guest's clock and CPU, so that it takes nothing from the other system.
    pub fn pause(&mut self) -> Result<(), Failure> {
        self.qmp("stop")
    }

    pub fn resume(&mut self) -> Result<(), Failure> {
        self.qmp("cont")
    }

    fn qmp(&mut self, command: &str) -> Result<(), Failure> {
        match self {
            System::Quicksilver(machine) => machine.qmp(command, Value::Null).map(drop)?,
            System::Linux(linux) => linux.control.execute(command, Value::Null).map(drop)?,
        }
        Ok(())
    }

    /// Asks until the service answers `question` with `answer`. Returns the time from QEMU's start to then.
    pub fn wait(&self, guest_port: u16, question: &str, answer: &str) -> Result<Duration, Failure> {
        let address = self.address(guest_port)?;
        loop {
            if ask(address, question, answer).unwrap_or(false) {
                return Ok(self.started().elapsed());
            }
            if self.started().elapsed() > PATIENCE {
                return Err(Failure::NoAnswer(address));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// One try. Packets to a guest without a network yet are lost, so a try is short: it must not wait for TCP to send its
/// first packet again a second later.
fn ask(address: SocketAddr, question: &str, answer: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(20))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(question.as_bytes())?;
    let mut buffer = vec![0; answer.len()];
    stream.read_exact(&mut buffer)?;
    Ok(buffer == answer.as_bytes())
}

impl Linux {
    fn start(service: &str, peer: &Peer, setting: Setting<'_>) -> Result<Self, Failure> {
        let directory = std::env::temp_dir().join(format!("qs-peer-{}-{service}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let (socket, serial) = (directory.join("qmp.sock"), directory.join("serial.log"));
        let (tap, _, guest) = LINUX_TAP;
        let address = if setting.user_network { "dhcp".to_owned() } else { format!("{guest}/24") };

        // A wrapper so that the machine goes when the benchmark goes, however that happens.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"]);
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        command.args(["-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "512M"]);
        command.arg("-kernel").arg(&peer.kernel).arg("-initrd").arg(&peer.initrd);
        command.args([
            "-append",
            &format!("console=ttyS0 quiet panic=-1 {LINUX_AT_ITS_BEST} peer={service} address={address}"),
        ]);
        command.args(["-serial", &format!("file:{}", serial.display())]);
        command.args(["-qmp", &format!("unix:{},server=on,wait=off", socket.display())]);
        let mut forwards = Vec::new();
        if setting.user_network {
            let wishes =
                [6379, 80, 9, 19, 9100].map(|guest| image_builder::config::Forward { guest, host: 0 });
            forwards = ports::grant(&wishes)?.iter().map(|grant| (grant.guest, grant.host)).collect();
            let forward = |(guest, host): &(u16, u16)| format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}");
            let list: String = forwards.iter().map(forward).collect();
            command.args(["-netdev", &format!("user,id=net0{list}")]);
        } else {
            command.args(["-netdev", &format!("tap,id=net0,ifname={tap},script=no,downscript=no")]);
        }
        command.args(["-device", "virtio-net-pci,netdev=net0,romfile=", "-device", "virtio-rng-pci"]);
        if let Some(counter) = setting.counter {
            let plugin = format!("{},counter={}", peer.counter.display(), counter.display());
            command.args(["-icount", "shift=0", "-plugin", &plugin]);
        }
        let started = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut process = Process { child, directory };
        let control = loop {
            match Qmp::connect(&socket, Duration::from_secs(10)) {
                Ok(control) => break control,
                Err(error) if started.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => thread::sleep(Duration::from_millis(2)),
            }
            if process.child.try_wait()?.is_some() {
                return Err(Failure::Ended("the Linux peer's QEMU".into()));
            }
        };
        let address = if setting.user_network { Ipv4Addr::LOCALHOST } else { guest };
        Ok(Self { _process: process, control, started, address, forwards })
    }
}

/// QEMU and the directory of its files.
struct Process {
    child: Child,
    directory: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where there is nothing left to end or remove.
        drop(self.child.kill().and_then(|()| self.child.wait()));
        drop(fs::remove_dir_all(&self.directory));
    }
}
