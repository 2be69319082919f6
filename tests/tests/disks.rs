//! What a machine keeps on its disk, seen by OpenSSH's client; and that all other disks stay as they are.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use control::access::PublicKey;
use control::host;
use image_builder::control::{self as client, Keys, SERVICE, SSH_FAILED, Target};
use image_builder::disk::{self, DiskSize};
use image_builder::machine::Builder;
use image_builder::{DiskModel, Machine, MachineType, Memory};
use tests::guest::{self, Guest, PATIENCE};
use tests::noise::Noise;
use tests::program;

const MIB: usize = 1 << 20;
const SIZE: usize = 4 * MIB;
/// Where the partition of a disk of ours is, in bytes; behind it nothing is ours.
const PARTITION: std::ops::Range<usize> = MIB..2 * MIB;
/// Bytes of a slot.
const SLOT: usize = 64 * 1024;

/// A directory with disks, gone at the end of a test that passes.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("qs-disks-{test}-{}", std::process::id()));
        drop(fs::remove_dir_all(&directory));
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    /// A fresh disk, with noise where other partitions may be.
    fn fresh(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        disk::create(&path, DiskSize::mebibytes((SIZE / MIB) as u64), None).unwrap();
        let behind = Noise::new(7).bytes(MIB);
        File::options().write(true).open(&path).unwrap().write_all_at(&behind, PARTITION.end as u64).unwrap();
        path
    }

    fn with(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            drop(fs::remove_dir_all(&self.0));
        }
    }
}

/// A machine without a host key in its image.
fn keyless() -> Builder {
    Machine::builder().elf(&guest::image_without_host_key("kv,web")).memory(Memory::MINIMUM)
}

/// The key that a machine has told, and the line about it.
fn told(guest: &Guest) -> (PublicKey, String) {
    let line =
        guest.wait_for_line("control: SSH on tcp port 22 of the main network, host key ", PATIENCE).unwrap();
    guest.wait_for_line("for known_hosts", PATIENCE).unwrap();
    let key = host::announced(&guest.serial_text()).unwrap();
    assert!(line.contains(&key.fingerprint()), "{line}");
    (key, line)
}

/// What ssh says when it knows no other key than those of a file.
fn ssh(guest: &Guest, known_hosts: &Path, line: &str) -> (Option<i32>, String, String) {
    let target = Target { address: guest.at(SERVICE).to_string(), serial: None };
    let usual = client::ssh(&target, &Keys::of_user().unwrap()).unwrap();
    // The first of two settings counts.
    let known = format!("UserKnownHostsFile={}", known_hosts.display());
    let mut command = program::command("ssh", PATIENCE);
    let output = command.args(["-o", &known]).args(usual.get_args()).args(["--", line]).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// It has the key that its disk kept, and whoever knows that one gets in.
fn assert_same(machine: Builder, first: &PublicKey, known_hosts: &Path) {
    let guest = Guest::serving(machine);
    let (key, line) = told(&guest);
    assert_eq!(key, *first);
    assert!(line.ends_with(", kept on disk0"), "{line}");
    let (status, out, err) = ssh(&guest, known_hosts, "version");
    assert!(status == Some(0) && out.starts_with("Quicksilver"), "{out}{err}");
}

#[test]
fn a_machine_is_the_same_at_each_boot() {
    let place = Place::new("kept");
    let disk = place.fresh("disk");
    let fresh = fs::read(&disk).unwrap();
    let known = place.0.join("known_hosts");
    let first = {
        let guest = Guest::serving(keyless().disk(&disk));
        let (key, line) = told(&guest);
        assert!(line.ends_with("made now, kept on disk0"), "{line}");
        fs::write(&known, format!("quicksilver {key}\n")).unwrap();
        let (status, out, err) = ssh(&guest, &known, "device list");
        assert!(status == Some(0) && out.contains("keeps the machine's state"), "{out}{err}");
        key
    };
    let print = program::run("ssh-keygen", PATIENCE, ["-lf", known.to_str().unwrap()]).unwrap();
    assert!(print.contains(&first.fingerprint()), "{print}");
    let kept = fs::read(&disk).unwrap();
    // Another machine, but the same disk: for all who know it, it is the same.
    assert_same(keyless().machine(MachineType::Microvm).disk(&disk), &first, &known);
    // Written once, and nowhere but in the partition.
    assert!(fs::read(&disk).unwrap() == kept);
    assert!(fresh[..PARTITION.start] == kept[..PARTITION.start]);
    assert!(fresh[PARTITION.end..] == kept[PARTITION.end..]);
    // Another disk, another machine.
    let guest = Guest::serving(keyless().disk(&place.fresh("other")));
    assert_ne!(told(&guest).0, first);
    let (status, out, err) = ssh(&guest, &known, "version");
    assert_eq!((status, out.as_str()), (Some(SSH_FAILED), ""));
    assert!(err.contains("Host key verification failed"), "{err}");
}

#[test]
fn an_nvme_disk_keeps_what_a_virtio_disk_keeps() {
    let place = Place::new("nvme");
    let disk = place.fresh("disk");
    let fresh = fs::read(&disk).unwrap();
    let known = place.0.join("known_hosts");
    let nvme = |machine| keyless().machine(machine).disk(&disk).disk_model(DiskModel::Nvme);
    let first = {
        let guest = Guest::serving(nvme(MachineType::Q35));
        let (key, line) = told(&guest);
        assert!(line.ends_with("made now, kept on disk0"), "{line}");
        let log = guest.serial_text();
        assert!(log.contains("disk 0: 4 MiB, nvme, QEMU NVMe Ctrl, serial number disk0"), "{log}");
        fs::write(&known, format!("quicksilver {key}\n")).unwrap();
        let (status, out, err) = ssh(&guest, &known, "device list");
        let of_disk = |line: &&str| line.contains("disk0") && line.contains("nvme");
        let line = out.lines().find(of_disk).unwrap_or_else(|| panic!("{out}{err}"));
        assert!(status == Some(0) && line.contains("keeps the machine's state"), "{out}{err}");
        key
    };
    let kept = fs::read(&disk).unwrap();
    assert!(fresh[..PARTITION.start] == kept[..PARTITION.start]);
    assert!(fresh[PARTITION.end..] == kept[PARTITION.end..]);
    for again in [nvme(MachineType::Q35), nvme(MachineType::Pc), keyless().disk(&disk)] {
        assert_same(again, &first, &known);
    }
    assert!(fs::read(&disk).unwrap() == kept);
    // First written by a machine of the other chipset.
    let guest = Guest::serving(
        keyless().machine(MachineType::Pc).disk(&place.fresh("other")).disk_model(DiskModel::Nvme),
    );
    let (key, line) = told(&guest);
    assert!(key != first && line.ends_with("made now, kept on disk0"), "{line}");
}

#[test]
fn nvme_sectors_of_4_kib_are_refused() {
    let place = Place::new("sectors");
    let disk = place.fresh("disk");
    let before = fs::read(&disk).unwrap();
    let drive = format!("if=none,id=d,format=raw,file={}", disk.display());
    let device = "nvme,serial=d,drive=d,logical_block_size=4096,physical_block_size=4096";
    let machine = ["-drive", &drive, "-device", device].iter().fold(keyless(), |b, word| b.qemu_arg(word));
    let guest = Guest::serving(machine);
    let (_, line) = told(&guest);
    assert!(line.ends_with("made now, not kept"), "{line}");
    let log = guest.serial_text();
    assert!(log.contains("is not used: its sectors have 4096 bytes"), "{log}");
    drop(guest);
    assert!(fs::read(&disk).unwrap() == before);
}

/// Disks of others, all in one machine: none, one divided by an MBR, by a GPT, by a broken one; and one of ours with a doubtful GPT.
#[test]
fn other_disks_stay_as_they_are() {
    let place = Place::new("others");
    let noise = Noise::new(3).bytes(SIZE);
    let mut mbr = noise.clone();
    mbr[446..510].fill(0);
    mbr[446 + 4] = 0x83;
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut broken = fs::read(place.fresh("broken-gpt")).unwrap();
    broken[512 + 20] ^= 1;
    broken[SIZE - 512 + 20] ^= 1;
    let mut doubtful = fs::read(place.fresh("doubtful-gpt")).unwrap();
    doubtful[SIZE - 512 + 56] ^= 1;
    let gpt = place.with("gpt", &noise);
    let foreign =
        ["--clear", "--new=1:2048:4095", "--typecode=1:8300", "--new=2:4096:0", gpt.to_str().unwrap()];
    program::run("sgdisk", PATIENCE, foreign).unwrap();
    let disks = [
        place.with("zeros", &vec![0; SIZE]),
        place.with("noise", &noise),
        place.with("mbr", &mbr),
        gpt,
        place.with("broken-gpt", &broken),
        place.with("doubtful-gpt", &doubtful),
    ];
    let before = disks.each_ref().map(|disk| fs::read(disk).unwrap());
    let mut keys = Vec::new();
    // Once without, and once with the disk that has a partition of ours.
    for count in [5, 6] {
        let mut builder = keyless();
        for (number, disk) in disks[..count].iter().enumerate() {
            let drive = format!("if=none,id=d{number},format=raw,file={}", disk.display());
            let device = format!("virtio-blk-pci,drive=d{number}");
            builder = ["-drive", &drive, "-device", &device].iter().fold(builder, |b, word| b.qemu_arg(word));
        }
        let guest = Guest::serving(builder);
        let (key, line) = told(&guest);
        assert!(line.ends_with("made now, not kept"), "{line}");
        let log = guest.serial_text();
        assert_eq!(log.matches(": 4 MiB, virtio-blk").count(), count, "{log}");
        assert!(log.contains("disk4 is left alone: HeaderCRC32 in the primary header of its GPT"), "{log}");
        let why = match count {
            5 => "WARN  kernel: control: no disk keeps the host key",
            _ => "WARN  kernel: control: disk5 does not keep the host key: the disk is read-only",
        };
        assert!(log.contains(why), "{log}");
        // It serves all the same, for as long as it is up.
        let known = place.0.join("known_hosts");
        fs::write(&known, format!("quicksilver {key}\n")).unwrap();
        assert_eq!(ssh(&guest, &known, "version").0, Some(0));
        keys.push(key);
    }
    assert_ne!(keys[0], keys[1]);
    for (disk, before) in disks.iter().zip(before) {
        assert!(fs::read(disk).unwrap() == before, "{}", disk.display());
    }
}

#[test]
fn damaged_state_is_not_replaced() {
    let place = Place::new("damaged");
    let disk = place.fresh("disk");
    let (key, _) = told(&Guest::serving(keyless().disk(&disk)));
    let whole = fs::read(&disk).unwrap();
    let mut damaged = whole.clone();
    damaged[PARTITION.start + 72] ^= 1;
    damaged[PARTITION.start + SLOT + 72] ^= 1;
    fs::write(&disk, &damaged).unwrap();
    {
        // The applications serve, and nobody operates.
        let guest = Guest::serving(keyless().disk(&disk));
        guest.wait_for_line("the control server stays off", PATIENCE).unwrap();
        let log = guest.serial_text();
        let why = "no host key on disk0: what is kept is damaged (slot A broken: hash; slot B broken: hash)";
        assert!(log.contains(why) && host::announced(&log).is_none(), "{log}");
        assert_eq!(guest.redis_cli(&["PING"]), "PONG");
        assert!(guest::exchange(guest.connect(SERVICE), b"").is_empty());
    }
    assert!(fs::read(&disk).unwrap() == damaged);
    // One slot is enough, and the other is made good.
    damaged[PARTITION].copy_from_slice(&whole[PARTITION]);
    damaged[PARTITION.start + 72] ^= 1;
    fs::write(&disk, &damaged).unwrap();
    for is_mended in [false, true] {
        let guest = Guest::serving(keyless().disk(&disk));
        assert_eq!(told(&guest).0, key);
        let log = guest.serial_text();
        let mends = log.contains("a slot on disk0 was broken: hash; it is written again");
        assert_ne!(mends, is_mended, "{log}");
    }
}

#[test]
fn the_image_s_key_goes_before_the_disk_s() {
    let place = Place::new("image");
    let disk = place.fresh("disk");
    let before = fs::read(&disk).unwrap();
    let guest = Guest::serving(Machine::builder().elf(&guest::image("kv,web")).disk(&disk));
    let (key, line) = told(&guest);
    assert!(line.ends_with(", from the image"), "{line}");
    assert_eq!(key, Keys::of_user().unwrap().host_key());
    drop(guest);
    assert!(fs::read(&disk).unwrap() == before);
}

/// Where time is counted in instructions, the health tests see that timings do not vary.
#[test]
fn no_key_is_made_from_bad_entropy() {
    let place = Place::new("entropy");
    let disk = place.fresh("disk");
    let before = fs::read(&disk).unwrap();
    let guest = Guest::serving(keyless().icount().disk(&disk));
    guest.wait_for_line("the control server stays off", PATIENCE).unwrap();
    let log = guest.serial_text();
    let why = "no host key on disk0: none is made from entropy that is not good; entropy: degraded";
    assert!(log.contains(why) && host::announced(&log).is_none(), "{log}");
    drop(guest);
    assert!(fs::read(&disk).unwrap() == before);
}
