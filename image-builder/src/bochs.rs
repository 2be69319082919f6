//! Bochs's configuration for a machine. Pure: what it names is laid out by others.
//!
//! All files but the firmware lie in the machine's directory, in which Bochs is started, so their names need no quotes. The
//! syntax is that of Bochs 2.7 (its user manual, "The configuration file bochsrc").

use std::path::Path;

use crate::config::{Bochs, Clock, Config, Network};
use crate::ports::Granted;

/// The configuration itself.
pub const RC: &str = "bochsrc";
/// The user network's forwarded ports.
pub const SLIRP: &str = "slirp.conf";
/// What the debugger is told to do: Debian's Bochs has one, and it waits to be told.
pub const DEBUGGER: &str = "debugger";
/// The boot image.
pub const IMAGE: &str = "boot.iso";
/// The serial line.
pub const SERIAL: &str = "serial.log";
/// What Bochs and its BIOS say.
pub const LOG: &str = "bochs.log";
/// What Bochs and its libraries print beside their log.
pub const STDERR: &str = "bochs.stderr";

/// Goes on, and ends when something (SIGINT) breaks that.
pub const DEBUGGER_COMMANDS: &str = "c\nq\n";

/// Emulated instructions a second of the machine's time; its TSC counts as many. Busy hosts manage as many with two
/// CPUs, too.
const INSTRUCTIONS_A_SECOND: u32 = 50_000_000;

/// The date at which time begins where nothing may differ between runs, in seconds since the epoch: 2020-01-01T00:00:00Z.
const EPOCH: u32 = 1_577_836_800;

/// The address that the user network's DHCP server gives to the first who asks.
const GUEST: &str = "10.0.2.15";

/// Arguments for Bochs, started in the machine's directory.
pub const ARGUMENTS: [&str; 5] = ["-q", "-f", RC, "-rc", DEBUGGER];

/// The configuration file.
pub fn bochsrc(config: &Config, bochs: &Bochs, bios: &Path, vga_bios: &Path) -> String {
    let clock = match bochs.clock {
        Clock::Paced => "sync=slowdown, time0=utc".to_owned(),
        Clock::Instructions => format!("sync=none, time0={EPOCH}"),
    };
    let first = match &config.network {
        Network::User => format!("ethmod=slirp, script={SLIRP}"),
        Network::Tap { interface } => tap(interface),
    };
    let cards: Vec<_> = core::iter::once(first).chain(bochs.taps.iter().map(|name| tap(name))).collect();
    let slots: String = (1..=cards.len()).map(|slot| format!(", slot{slot}=e1000")).collect();
    let cards = cards.iter().enumerate().map(|(number, network)| {
        let mac = 0x56 + number;
        format!("e1000: card={number}, enabled=1, mac=52:54:00:12:34:{mac:02x}, {network}")
    });
    let lines = [
        "config_interface: textconfig".to_owned(),
        // Makes a pseudo-terminal of its own, that nobody looks at.
        "display_library: term".to_owned(),
        // A triple fault is an end, with a message, and not the beginning of another run.
        format!(
            "cpu: model={}, count={}, ips={INSTRUCTIONS_A_SECOND}, reset_on_triple_fault=0",
            bochs.model, config.cpus
        ),
        format!("memory: guest={0}, host={0}", config.memory.bytes() >> 20),
        format!("romimage: file=\"{}\"", bios.display()),
        format!("vgaromimage: file=\"{}\"", vga_bios.display()),
        "ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14".to_owned(),
        format!("ata0-master: type=cdrom, path={IMAGE}, status=inserted"),
        "boot: cdrom".to_owned(),
        format!("com1: enabled=1, mode=file, dev={SERIAL}"),
        format!("clock: {clock}"),
        format!("pci: enabled=1, chipset=i440fx{slots}"),
        "plugin_ctrl: e1000=1".to_owned(),
        // No sound: without a card, the sound libraries only complain.
        "sound: driver=dummy".to_owned(),
        "panic: action=fatal".to_owned(),
        "error: action=report".to_owned(),
        // The machine's end is told by a line of this kind.
        "info: action=report".to_owned(),
        "debug: action=ignore".to_owned(),
        format!("log: {LOG}"),
    ];
    lines.into_iter().chain(cards).map(|line| line + "\n").collect()
}

/// What a card is connected to.
fn tap(interface: &str) -> String {
    format!("ethmod=tuntap, ethdev=/dev/net/tun:{interface}")
}

/// The user network's file: its first line is what it is known by.
pub fn slirp(ports: &[Granted]) -> String {
    let forward = |port: &Granted| format!("hostfwd = tcp:127.0.0.1:{}-{GUEST}:{}\n", port.host, port.guest);
    "# slirp config\n".to_owned() + &ports.iter().map(forward).collect::<String>()
}

/// Whether the log says that all devices stand.
pub fn stands(log: &str) -> bool {
    log.contains("bx_pc_system_c::Reset(HARDWARE) called")
}

/// The line of the log that says that a port was snatched by somebody else. Bochs goes on without it.
pub fn lost_port(log: &str) -> Option<&str> {
    log.lines().find(|line| line.contains("could not set up host forwarding rule"))
}

/// What Bochs has to say about its failure to start: its log's panics and errors, else the end of what it printed, without
/// the noise of the sound library.
pub fn complaint(log: &str, stderr: &str) -> Option<String> {
    let severe = |line: &&str| {
        matches!(line.split_once('[').map(|(head, _)| head.chars().last()), Some(Some('p' | 'e')))
    };
    let mut lines: Vec<&str> = log.lines().filter(severe).collect();
    if lines.is_empty() {
        let printed = stderr.lines().map(str::trim);
        let own = printed
            .filter(|line| !line.is_empty() && !line.starts_with("ALSA ") && !line.starts_with("0000"));
        lines = own.collect();
        lines.drain(..lines.len().saturating_sub(3));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CpuModel, Emulator, Memory};

    fn rc(bochs: Bochs) -> String {
        let config = Config { cpus: 2, memory: Memory::mebibytes(64), ..Config::of(Emulator::Bochs(bochs)) };
        bochsrc(&config, &bochs, Path::new("/bios"), Path::new("/vga"))
    }

    #[test]
    fn a_machine_in_lines() {
        let rc = rc(Bochs::default());
        for line in [
            "cpu: model=corei7_skylake_x, count=2, ips=50000000, reset_on_triple_fault=0",
            "memory: guest=64, host=64",
            "romimage: file=\"/bios\"",
            "vgaromimage: file=\"/vga\"",
            "ata0-master: type=cdrom, path=boot.iso, status=inserted",
            "com1: enabled=1, mode=file, dev=serial.log",
            "clock: sync=slowdown, time0=utc",
            "e1000: card=0, enabled=1, mac=52:54:00:12:34:56, ethmod=slirp, script=slirp.conf",
        ] {
            assert!(rc.lines().any(|other| other == line), "{line} in {rc}");
        }
    }

    #[test]
    fn further_cards_are_on_tap_devices() {
        let bochs = Bochs { taps: &["tap1", "tap2"], ..Bochs::default() };
        let network = Network::Tap { interface: "tap0".into() };
        let config = Config { network, ..Config::of(Emulator::Bochs(bochs)) };
        let rc = bochsrc(&config, &bochs, Path::new("/bios"), Path::new("/vga"));
        for line in [
            "pci: enabled=1, chipset=i440fx, slot1=e1000, slot2=e1000, slot3=e1000",
            "e1000: card=0, enabled=1, mac=52:54:00:12:34:56, ethmod=tuntap, ethdev=/dev/net/tun:tap0",
            "e1000: card=2, enabled=1, mac=52:54:00:12:34:58, ethmod=tuntap, ethdev=/dev/net/tun:tap2",
        ] {
            assert!(rc.lines().any(|other| other == line), "{line} in {rc}");
        }
    }

    #[test]
    fn equal_runs_begin_on_the_same_day() {
        let rc = rc(Bochs { model: CpuModel::Ryzen, clock: Clock::Instructions, ..Bochs::default() });
        assert!(rc.contains("cpu: model=ryzen, "), "{rc}");
        assert!(rc.contains("clock: sync=none, time0=1577836800\n"), "{rc}");
    }

    #[test]
    fn ports_are_forwarded_to_the_first_guest() {
        let granted = |guest, host| Granted { name: "x".into(), guest, host, instead_of: None };
        assert_eq!(
            slirp(&[granted(6379, 1234), granted(80, 8080)]),
            "# slirp config\nhostfwd = tcp:127.0.0.1:1234-10.0.2.15:6379\n\
             hostfwd = tcp:127.0.0.1:8080-10.0.2.15:80\n"
        );
    }

    #[test]
    fn the_log_tells_how_far_it_came() {
        let log = "00000000000i[E1000A] E1000 initialized\n\
                   00000000000e[SLIRP0] could not set up host forwarding rule 'tcp:127.0.0.1:1-10.0.2.15:1'\n";
        assert!(!stands(log));
        assert!(stands("00000000000i[SYS   ] bx_pc_system_c::Reset(HARDWARE) called\n"));
        assert!(lost_port(log).is_some_and(|line| line.contains(":1-10.0.2.15:1")));
        assert_eq!(lost_port(""), None);
    }

    #[test]
    fn complaints_are_found_among_noise() {
        let log = "00000000000i[      ] Bochs x86 Emulator 2.7\n00000000000p[MEM0  ] >>PANIC<< ROM: couldn't open\n";
        let noise = "00000000000i[      ] lt_dlhandle\nALSA lib conf.c: no card\n\n";
        assert_eq!(complaint(log, noise).unwrap(), "00000000000p[MEM0  ] >>PANIC<< ROM: couldn't open");
        assert_eq!(complaint("", noise), None);
        assert_eq!(
            complaint("", &format!("{noise}cannot open shared object\n")).unwrap(),
            "cannot open shared object"
        );
    }
}
