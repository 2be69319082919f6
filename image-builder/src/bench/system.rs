//! The two systems under comparison, each on its emulated machine: q35, `-cpu max`, one CPU, 512 MiB, virtio-net. One
//! builder makes both, so that they can't differ.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::config::{Memory, Nic};
use crate::machine::{Builder, Machine};
use crate::ports;

use super::{Bench, BenchError};

/// How long a system may take to its first answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// The tap devices, and who is at their ends.
pub(super) const OUR_TAP: (&str, Ipv4Addr, Ipv4Addr) =
    ("tap0", Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2));
pub(super) const LINUX_TAP: (&str, Ipv4Addr, Ipv4Addr) =
    ("tap1", Ipv4Addr::new(10, 9, 1, 1), Ipv4Addr::new(10, 9, 1, 2));

/// What makes Linux faster on an emulated machine, so that no cheap win is counted: TCG is slow at `rep movsb`, which Linux
/// takes for its copies where the CPU says it is fast (three times the stream rate without), and mitigations of
/// speculation serve nothing there (a tenth of the requests).
pub(super) const LINUX_AT_ITS_BEST: &str = "clearcpuid=erms mitigations=off";

/// How a machine is to be run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    /// QEMU's user network instead of a tap device.
    pub user_network: bool,
    /// The file in which the plugin counts instructions, under `-icount shift=0`.
    pub counter: Option<&'a Path>,
    /// CPUs.
    pub cpus: u32,
    /// Another amount of memory than usual, all of which the machine has from the beginning, as a machine has. Else this host finds it when it is first
    /// written, and to make room for a large page takes it milliseconds.
    pub memory: Option<Memory>,
}

impl Default for Setting<'_> {
    fn default() -> Self {
        Self { user_network: false, counter: None, cpus: 1, memory: None }
    }
}

/// A network by a bridge: its name, the host's address and the guest's, and the tap devices of two cards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bridge {
    pub name: &'static str,
    pub host: Ipv4Addr,
    pub guest: Ipv4Addr,
    pub taps: [&'static str; 2],
}

/// A running system. Dropping it ends the machine.
#[derive(Debug)]
pub(super) struct System(Machine);

impl Bench<'_> {
    /// Starts our image of some applications.
    pub(super) fn quicksilver(&self, app: &str, setting: Setting<'_>) -> Result<System, BenchError> {
        let builder = self.builder(OUR_TAP, setting)?.elf(self.image(app)).append("log=info");
        Ok(System(builder.spawn()?))
    }

    /// Starts the peer with one service: `redis`, `nginx` or `stream`. `None` where Linux is not measured.
    pub(super) fn linux(&self, service: &str, setting: Setting<'_>) -> Result<Option<System>, BenchError> {
        let Some(peer) = &self.peer else { return Ok(None) };
        let settings = format!("console=ttyS0 quiet panic=-1 {LINUX_AT_ITS_BEST} peer={service}");
        let builder = self.builder(LINUX_TAP, setting)?.elf(&peer.kernel).append(&settings);
        Ok(Some(System(builder.qemu_arg("-initrd").qemu_arg(&peer.initrd.to_string_lossy()).spawn()?)))
    }

    /// Starts our image of some applications on a machine with one network card or two, of which one serves: a virtio-net if there is one, else the
    /// first.
    pub(super) fn with_cards(
        &self,
        app: &str,
        first: Nic,
        second: Option<Nic>,
        bridge: Bridge,
        counter: Option<&Path>,
    ) -> Result<System, BenchError> {
        let Bridge { host, guest, taps, .. } = bridge;
        let setting = Setting { counter, ..Setting::default() };
        let builder = self.builder((taps[0], host, guest), setting)?.nic(first);
        let builder = builder.elf(self.image(app)).append("log=info");
        let model = match second {
            None => return Ok(System(builder.spawn()?)),
            Some(Nic::Virtio) => "virtio-net-pci",
            Some(Nic::E1000) => "e1000",
            Some(Nic::E1000e) => "e1000e",
        };
        let netdev = format!("tap,id=second,ifname={},script=no,downscript=no", taps[1]);
        let device = format!("{model},netdev=second,mac=52:54:00:71:73:09");
        let words = ["-netdev", &netdev, "-device", &device];
        let builder = words.iter().fold(builder, |builder, word| builder.qemu_arg(word));
        Ok(System(builder.spawn()?))
    }

    /// The machine that both run on.
    fn builder(
        &self,
        (tap, host, guest): (&str, Ipv4Addr, Ipv4Addr),
        setting: Setting<'_>,
    ) -> Result<Builder, BenchError> {
        let mut builder = self.named(Machine::builder())?.cpus(setting.cpus);
        if let Some(memory) = setting.memory {
            builder = builder.memory(memory).qemu_arg("-mem-prealloc");
        }
        builder = if setting.user_network {
            builder.forward(7).forward(9).forward(19).append("ip=dhcp")
        } else {
            builder.tap(tap).append(&format!("ip={guest}/24,gw={host}"))
        };
        if let (Some(file), Some(plugin)) = (setting.counter, &self.counter) {
            let plugin = format!("{},counter={}", plugin.display(), file.display());
            builder = builder.icount().qemu_arg("-plugin").qemu_arg(&plugin);
        }
        Ok(builder)
    }
}

impl System {
    /// Where a guest's port is reached.
    pub(super) fn address(&self, guest_port: u16) -> Result<SocketAddr, BenchError> {
        let address = self.0.address().ok_or(BenchError::Unreachable(guest_port))?;
        // On a tap device every port is the guest's own.
        let own = (!address.is_loopback()).then_some(guest_port);
        let port = self.0.port(&ports::service(guest_port)).or(own);
        Ok(SocketAddr::new(address, port.ok_or(BenchError::Unreachable(guest_port))?))
    }

    /// The machine it runs on.
    pub(super) fn machine(&self) -> &Machine {
        &self.0
    }

    /// Stops the guest's clock and CPU, so that it takes nothing from the other system.
    pub(super) fn pause(&self) -> Result<(), BenchError> {
        Ok(self.0.qmp("stop", Value::Null).map(drop)?)
    }

    /// Lets it go on.
    pub(super) fn resume(&self) -> Result<(), BenchError> {
        Ok(self.0.qmp("cont", Value::Null).map(drop)?)
    }

    /// Asks until the service answers `question` with `answer`. Returns the time from QEMU's start to then.
    pub(super) fn wait(&self, guest_port: u16, question: &str, answer: &str) -> Result<Duration, BenchError> {
        self.wait_until(guest_port, question, answer, self.0.started() + PATIENCE)?;
        Ok(self.0.started().elapsed())
    }

    /// The same, until a time.
    pub(super) fn wait_until(
        &self,
        guest_port: u16,
        question: &str,
        answer: &str,
        deadline: Instant,
    ) -> Result<(), BenchError> {
        let address = self.address(guest_port)?;
        while !ask(address, question, answer).unwrap_or(false) {
            if Instant::now() > deadline {
                return Err(BenchError::NoAnswer(address));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
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

/// A connection with deadlines.
pub(super) fn connect(address: SocketAddr) -> Result<TcpStream, BenchError> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Median of at least one duration, in microseconds.
pub(super) fn median_us(mut durations: Vec<Duration>) -> Option<f64> {
    durations.sort_unstable();
    durations.get(durations.len() / 2).map(|median| median.as_secs_f64() * 1e6)
}

/// Takes the time of a piece of work.
pub(super) fn timed<T>(work: impl FnOnce() -> Result<T, BenchError>) -> Result<Duration, BenchError> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}
