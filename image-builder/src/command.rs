//! QEMU's command line for a machine. Pure: what it names must exist already.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::{Boot, CONTROL_MAC, Config, DiskModel, HotPlug, MachineType, Medium, Network, Nic};
use crate::plug::{self, DRIVE, HUB, format};
use crate::ports::{self, Granted};

/// Where the machine's serial line goes, besides its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// Nowhere else.
    Log,
    /// To the standard output that QEMU inherits.
    Stdout,
}

/// The files a machine is made of.
#[derive(Clone, Debug)]
pub struct Files {
    /// The ELF image (direct boot) or the ISO.
    pub image: PathBuf,
    /// UEFI firmware: read-only code, and variables of this machine alone.
    pub firmware: Option<(PathBuf, PathBuf)>,
    /// Log of the serial line.
    pub serial: PathBuf,
    /// QMP socket for everybody.
    pub qmp: PathBuf,
    /// QMP socket for the one who started the machine.
    pub control: PathBuf,
}

/// QEMU's arguments.
pub fn arguments(
    config: &Config,
    name: &str,
    files: &Files,
    ports: &[Granted],
    console: Console,
) -> Vec<OsString> {
    let mut line = Line::default();
    line.option("-name", name);
    for flag in ["-nodefaults", "-no-user-config", "-no-reboot", "-S"] {
        line.flag(flag);
    }
    line.option("-display", "none");
    line.option("-machine", machine(config.machine));
    if config.machine == MachineType::Microvm {
        // QEMU's virtio-mmio speaks the version before the standard unless told otherwise.
        line.option("-global", "virtio-mmio.force-legacy=false");
    }
    line.option("-accel", config.accelerator.to_string());
    line.option("-cpu", "max");
    line.option("-smp", config.cpus.to_string());
    line.option("-m", config.memory.to_string());
    if config.icount {
        line.option("-icount", "shift=0");
    }

    let serial = escaped(&files.serial);
    match console {
        Console::Log => line.option("-chardev", format!("file,id=serial0,path={serial}")),
        Console::Stdout => line.option("-chardev", format!("stdio,id=serial0,signal=off,logfile={serial}")),
    }
    line.option("-serial", "chardev:serial0");
    for (id, socket) in [("qmp", &files.qmp), ("control", &files.control)] {
        line.option("-chardev", format!("socket,id={id},path={},server=on,wait=off", escaped(socket)));
        line.option("-mon", format!("chardev={id},mode=control"));
    }
    line.option("-device", "isa-debug-exit,iobase=0xf4,iosize=4");

    boot(&mut line, config, files);
    root_ports(&mut line, config);
    network(&mut line, config, ports);
    // Random bytes come at moments of the host's: where instructions are counted, no two runs would be equal.
    if !config.icount {
        line.option("-device", format!("virtio-rng-{}", bus(config.machine)));
    }
    if let Some(disk) = &config.disk {
        line.option("-drive", format!("if=none,id={DRIVE},format={},file={}", format(disk), escaped(disk)));
        let device = match config.disk_model {
            DiskModel::VirtioBlk => format!("virtio-blk-{}", bus(config.machine)),
            // QEMU wants a serial number.
            DiskModel::Nvme => "nvme,serial=disk0".into(),
        };
        let place = place(config, plug::DISKS);
        line.option("-device", format!("{device},id=blk0,drive={DRIVE}{place}"));
    }
    line.0.extend(config.qemu_args.iter().map(OsString::from));
    line.0
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn flag(&mut self, flag: &str) {
        self.0.push(flag.into());
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }
}

fn machine(machine: MachineType) -> &'static str {
    match machine {
        MachineType::Q35 => "q35",
        MachineType::Pc => "pc",
        // The timer, clock and interrupt controller of the PC stay, so that all machines boot by one path.
        MachineType::Microvm => "microvm,acpi=on,rtc=on,pit=on,pic=on,isa-serial=on",
    }
}

/// The suffix of virtio device names.
fn bus(machine: MachineType) -> &'static str {
    match machine {
        MachineType::Q35 | MachineType::Pc => "pci",
        MachineType::Microvm => "device",
    }
}

fn boot(line: &mut Line, config: &Config, files: &Files) {
    if config.boot == Boot::Direct {
        line.option("-kernel", files.image.clone());
        let settings = config.kernel_settings();
        if !settings.is_empty() {
            line.option("-append", settings);
        }
        return;
    }
    if let Some((code, variables)) = &files.firmware {
        line.option("-drive", format!("if=pflash,unit=0,format=raw,readonly=on,file={}", escaped(code)));
        line.option("-drive", format!("if=pflash,unit=1,format=raw,file={}", escaped(variables)));
    }
    let (drive, device) = match config.medium {
        Medium::Cdrom => ("media=cdrom,readonly=on", "ide-cd,bus=ide.0"),
        Medium::Disk => ("snapshot=on", "ide-hd,bus=ide.0"),
        Medium::Usb => ("snapshot=on", "usb-storage,bus=xhci.0,removable=on"),
    };
    if config.medium == Medium::Usb {
        line.option("-device", "qemu-xhci,id=xhci");
    }
    let (format, image) = (format(&files.image), escaped(&files.image));
    line.option("-drive", format!("if=none,id=medium,format={format},{drive},file={image}"));
    line.option("-device", format!("{device},drive=medium,bootindex=0"));
}

/// The network of the control NIC; QEMU's other one is 10.0.2.0/24.
const CONTROL_NET: &str = ",net=10.0.3.0/24";

fn network(line: &mut Line, config: &Config, ports: &[Granted]) {
    match &config.network {
        Network::User => {
            let is_control = |port: &&Granted| config.control_nic && ports::CONTROL.contains(&port.guest);
            let (control, others): (Vec<_>, Vec<_>) = ports.iter().partition(is_control);
            line.option("-netdev", user_network("net0", "", &others));
            let end = if config.hot_plug == HotPlug::Off { "net0" } else { hub(line, "net0") };
            line.option("-device", card(config, "nic0", end) + &place(config, plug::CARDS));
            if config.control_nic {
                line.option("-netdev", user_network("net1", CONTROL_NET, &control));
                line.option("-device", format!("{},mac={CONTROL_MAC}", card(config, "control0", "net1")));
            }
        }
        Network::Tap { interface } => {
            line.option("-netdev", format!("tap,id=net0,ifname={interface},script=no,downscript=no"));
            let (card, place) = (card(config, "nic0", "net0"), place(config, plug::CARDS));
            line.option("-device", format!("{card},mac={}{place}", plug::mac(interface)));
        }
    }
}

fn user_network(id: &str, options: &str, ports: &[&Granted]) -> String {
    let forward = |port: &&Granted| format!(",hostfwd=tcp:127.0.0.1:{}-:{}", port.host, port.guest);
    format!("user,id={id}{options}{}", ports.iter().map(forward).collect::<String>())
}

/// Puts a hub between a network and its card, so that others can be plugged into it; the end for that card.
fn hub(line: &mut Line, network: &str) -> &'static str {
    line.option("-netdev", format!("hubport,id=hub,hubid={HUB},netdev={network}"));
    line.option("-netdev", format!("hubport,id=nic0,hubid={HUB}"));
    "nic0"
}

/// Whether what can leave has to be in a port: nothing leaves the root bus of q35.
fn has_ports(config: &Config) -> bool {
    config.machine == MachineType::Q35 && config.hot_plug != HotPlug::Off
}

/// What q35 has to plug devices into. Their addresses leave those that devices are given by themselves as they are.
fn root_ports(line: &mut Line, config: &Config) {
    if !has_ports(config) {
        return;
    }
    if config.hot_plug == HotPlug::Native {
        line.option("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off");
    }
    let last = if config.disk.is_some() { plug::DISKS } else { plug::CARDS };
    for number in 1..=last {
        let (id, address) = (plug::port_id(number), plug::FIRST_PORT + number - 1);
        let place = format!("id={id},bus=pcie.0,addr={address:#x},chassis={number},slot={number}");
        line.option("-device", format!("pcie-root-port,{place}"));
    }
}

/// The end of a device's option that puts it into a port, if it can leave there alone.
fn place(config: &Config, port: u8) -> String {
    if has_ports(config) { format!(",bus={}", plug::port_id(port)) } else { String::new() }
}

fn card(config: &Config, id: &str, network: &str) -> String {
    // An empty ROM file keeps the firmware from loading network boot code that nobody needs.
    match config.nic {
        Nic::Virtio if config.machine == MachineType::Microvm => {
            format!("virtio-net-device,id={id},netdev={network}")
        }
        Nic::Virtio => format!("virtio-net-pci,id={id},netdev={network},romfile="),
        nic => format!("{nic},id={id},netdev={network},romfile="),
    }
}

/// A path inside an option of QEMU, where a comma has to be doubled.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(config: &Config) -> String {
        let files = Files {
            image: "/i".into(),
            firmware: (config.boot == Boot::Uefi).then(|| ("/code".into(), "/vars".into())),
            serial: "/s,1".into(),
            qmp: "/q".into(),
            control: "/c".into(),
        };
        let ports = [Granted { name: "kv".into(), guest: 6379, host: 1234, instead_of: None }];
        let words = arguments(config, "x", &files, &ports, Console::Log);
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_default_machine() {
        let line = line(&Config { command_line: "log=debug ip=dhcp".into(), ..Config::default() });
        for part in [
            "-machine q35 -accel tcg -cpu max -smp 1 -m 512M",
            "file,id=serial0,path=/s,,1 ",
            "-kernel /i -append log=debug ip=dhcp",
            "user,id=net0,hostfwd=tcp:127.0.0.1:1234-:6379",
            "virtio-net-pci,id=nic0,netdev=net0",
            "-device virtio-rng-pci",
            "isa-debug-exit,iobase=0xf4,iosize=4",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn nothing_is_random_where_instructions_are_counted() {
        let line = line(&Config { icount: true, ..Config::default() });
        assert!(line.contains("-icount shift=0") && !line.contains("virtio-rng"), "{line}");
    }

    #[test]
    fn a_control_nic_has_the_operators_ports() {
        let ports = [(6379, 1234), (22, 1235), (9100, 1236)];
        let ports =
            ports.map(|(guest, host)| Granted { name: ports::service(guest), guest, host, instead_of: None });
        let networks = |control_nic| {
            let mut line = Line::default();
            network(&mut line, &Config { control_nic, ..Config::default() }, &ports);
            line.0.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        let forward = |host, guest| format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}");
        let [kv, ssh, metrics] = [forward(1234, 6379), forward(1235, 22), forward(1236, 9100)];
        assert_eq!(
            networks(true),
            format!(
                "-netdev user,id=net0{kv} -device virtio-net-pci,id=nic0,netdev=net0,romfile= \
                 -netdev user,id=net1,net=10.0.3.0/24{ssh}{metrics} \
                 -device virtio-net-pci,id=control0,netdev=net1,romfile=,mac=52:54:00:71:73:01"
            )
        );
        assert_eq!(
            networks(false),
            format!(
                "-netdev user,id=net0{kv}{ssh}{metrics} -device virtio-net-pci,id=nic0,netdev=net0,romfile="
            )
        );
    }

    #[test]
    fn what_can_leave_is_in_ports_and_cards_are_on_a_hub() {
        let of = |machine, hot_plug| {
            line(&Config { machine, hot_plug, disk: Some("/none".into()), ..Config::default() })
        };
        let ports = (1..=6).map(|number| {
            format!(
                "-device pcie-root-port,id=port{number},bus=pcie.0,addr={:#x},chassis={number},slot={number}",
                0xf + number
            )
        });
        let ports = ports.collect::<Vec<_>>().join(" ");
        let hub = "-netdev hubport,id=hub,hubid=0,netdev=net0 -netdev hubport,id=nic0,hubid=0 \
                   -device virtio-net-pci,id=nic0,netdev=nic0,romfile=";
        let native = "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off";
        for (machine, way, has_ports) in [
            (MachineType::Q35, HotPlug::Acpi, true),
            (MachineType::Q35, HotPlug::Native, true),
            (MachineType::Pc, HotPlug::Acpi, false),
        ] {
            let line = of(machine, way);
            assert!(line.contains(hub), "{line}");
            for part in [&ports, "romfile=,bus=port5", "id=blk0,drive=disk0,bus=port6"] {
                assert_eq!(line.contains(part), has_ports, "{part} in {line}");
            }
            assert_eq!(line.contains(native), way == HotPlug::Native, "{line}");
        }
        let line = of(MachineType::Q35, HotPlug::Off);
        assert!(!line.contains("hubport") && !line.contains("port1"), "{line}");
        let line = self::line(&Config { hot_plug: HotPlug::Acpi, ..Config::default() });
        assert!(line.contains("id=port5") && !line.contains("port6"), "{line}");
    }

    #[test]
    fn microvm_has_no_pci() {
        let config =
            Config { machine: MachineType::Microvm, disk: Some("/none".into()), ..Config::default() };
        let line = line(&config);
        assert!(!line.contains("-pci"), "{line}");
        assert!(line.contains("virtio-blk-device,id=blk0,drive=disk0"), "{line}");
        assert!(line.contains("virtio-mmio.force-legacy=false"), "{line}");
    }

    #[test]
    fn a_disk_is_what_is_asked_for() {
        let disk = |disk_model| line(&Config { disk: Some("/none".into()), disk_model, ..Config::default() });
        assert!(disk(DiskModel::default()).contains("-device virtio-blk-pci,id=blk0,drive=disk0"));
        assert!(disk(DiskModel::Nvme).contains("-device nvme,serial=disk0,id=blk0,drive=disk0"));
    }

    #[test]
    fn firmware_boots_from_a_medium() {
        let config = Config { boot: Boot::Uefi, medium: Medium::Usb, nic: Nic::E1000, ..Config::default() };
        let line = line(&config);
        assert!(!line.contains("-kernel"), "{line}");
        assert!(line.contains("pflash,unit=1,format=raw,file=/vars"), "{line}");
        assert!(line.contains("usb-storage,bus=xhci.0,removable=on,drive=medium,bootindex=0"), "{line}");
        assert!(line.contains("e1000,id=nic0,netdev=net0"), "{line}");
    }

    #[test]
    fn taps_get_addresses_of_their_own() {
        let tap = |interface: &str| Config {
            network: Network::Tap { interface: interface.into() },
            qemu_args: vec!["-S".into()],
            ..Config::default()
        };
        assert!(line(&tap("tap0")).contains("tap,id=net0,ifname=tap0,script=no,downscript=no"));
        assert!(line(&tap("tap0")).ends_with("-S"));
    }
}
