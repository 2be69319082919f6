use super::*;
use clap::CommandFactory;
use image_builder::Model;
use image_builder::disk::DiskSize;
use image_builder::plug::Wish;

fn run(words: &str) -> Result<RunOptions, clap::Error> {
    let words = ["qs", "run"].into_iter().chain(words.split_whitespace());
    Arguments::try_parse_from(words).map(|arguments| match arguments.command {
        Command::Run(options) => *options,
        other => panic!("{other:?}"),
    })
}

fn mode(words: &str) -> Result<(Action, Option<String>), String> {
    let words = ["qs", "mode"].into_iter().chain(words.split_whitespace());
    match Arguments::try_parse_from(words).map_err(|error| error.to_string())?.command {
        Command::Mode(options) => match options.request() {
            Ok((action, target)) => Ok((action, target.map(str::to_owned))),
            Err(error) => Err(error.to_string()),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_mode_a_machine_or_both() {
    let of = |name: &str| Some(name.to_owned());
    assert_eq!(mode(""), Ok((Action::Status, None)));
    assert_eq!(mode("toggle"), Ok((Action::Toggle, None)));
    assert_eq!(mode("kv-2"), Ok((Action::Status, of("kv-2"))));
    assert_eq!(mode("guest kv"), Ok((Action::Guest, of("kv"))));
    assert_eq!(mode("native [::1]:2222 --deadline 50"), Ok((Action::Native, of("[::1]:2222"))));
    // A machine may have an action's name.
    assert_eq!(mode("status toggle"), Ok((Action::Status, of("toggle"))));
}

#[test]
fn modes_that_make_no_sense() {
    assert_eq!(mode("kv guest").unwrap_err(), UsageError::NoAction("kv".to_owned()).to_string());
    assert_eq!(mode("kv --deadline 5").unwrap_err(), UsageError::DeadlineOfNothing.to_string());
    assert!(mode("guest kv --deadline 60001").is_err());
    assert!(mode("guest kv again").is_err());
}

#[test]
fn the_definition_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn defaults() {
    let options = run("").unwrap();
    let config = options.config().unwrap();
    assert_eq!((options.app.as_str(), config.cpus, config.memory), ("kv", 1, Memory::mebibytes(512)));
    assert_eq!((config.machine, config.boot, config.nic), (MachineType::Q35, Boot::Direct, Nic::Virtio));
    assert_eq!(config.hot_plug, HotPlug::Acpi);
    assert!(!config.control_nic && run("--control-nic").unwrap().config().unwrap().control_nic);
}

#[test]
fn everything_at_once() {
    let config = run("web --cpus 4 --memory 4G --machine pc --boot uefi --nic e1000e --disk d --disk-model nvme --forward 7:1007 \
         --forward 9:0 --name x --detach --json --icount --qemu q --qemu-arg -S --qemu-arg -s --append a=1 --append b=2")
    .unwrap()
    .config()
    .unwrap();
    assert_eq!((config.cpus, config.memory, config.machine), (4, Memory::gibibytes(4), MachineType::Pc));
    assert_eq!((config.boot, config.nic, config.icount), (Boot::Uefi, Nic::E1000e, true));
    assert_eq!(config.forwards, [Forward { guest: 7, host: 1007 }, Forward { guest: 9, host: 0 }]);
    assert_eq!((config.disk, config.disk_model), (Some("d".into()), DiskModel::Nvme));
    assert_eq!(config.qemu_args, ["-S", "-s"]);
    assert_eq!(config.command_line, "a=1 b=2");
}

#[test]
fn machines_have_ports_unless_they_can_t() {
    let way = |words: &str| run(words).unwrap().config().unwrap().hot_plug;
    assert_eq!(way("--machine pc"), HotPlug::Acpi);
    assert_eq!(way("--hot-plug native"), HotPlug::Native);
    assert_eq!(way("--hot-plug off"), HotPlug::Off);
    assert_eq!(way("--machine microvm"), HotPlug::Off);
    assert_eq!(way("--emulator bochs"), HotPlug::Off);
    for words in ["--machine pc --hot-plug native", "--machine microvm --hot-plug acpi"] {
        assert!(run(words).unwrap().config().unwrap().validate().is_err(), "{words}");
    }
    assert!(run("--hot-plug").is_err() && run("--hot-plug on").is_err());
}

#[test]
fn what_is_plugged_in_and_out() {
    let parse = |words: &str| {
        let words = ["qs"].into_iter().chain(words.split_whitespace());
        Arguments::try_parse_from(words).map(|arguments| arguments.command)
    };
    let plug = |words: &str| match parse(&format!("plug {words}")).unwrap() {
        Command::Plug(options) => options,
        other => panic!("{other:?}"),
    };
    assert_eq!(plug("kv").wish(), None);
    assert_eq!(plug("kv e1000e").wish(), Some(Wish::of(Model::E1000e)));
    let wish = Wish { port: Some(2), tap: Some("tap1".into()), ..Wish::of(Model::VirtioNet) };
    assert_eq!(plug("kv virtio-net --port 2 --tap tap1").wish(), Some(wish));
    let wish = Wish { size: Some(DiskSize::mebibytes(64)), ..Wish::of(Model::Nvme) };
    assert_eq!(plug("kv nvme --size 64M").wish(), Some(wish));
    let wish = Wish { file: Some("d.img".into()), ..Wish::of(Model::VirtioBlk) };
    assert_eq!(plug("kv virtio-blk --file d.img").wish(), Some(wish));
    match parse("unplug kv nic1 --surprise --timeout 7").unwrap() {
        Command::Unplug(options) => {
            assert_eq!((options.name.as_str(), options.device.as_str()), ("kv", "nic1"));
            assert!(options.surprise && options.timeout == 7);
        }
        other => panic!("{other:?}"),
    }
    for words in [
        "plug",
        "plug kv rtl8139",
        "plug kv e1000 --port 0",
        "plug kv e1000 --port 32",
        "plug kv nvme --size 1M",
        "plug kv --port 1",
        "unplug kv",
        "unplug kv nic1 --timeout 0",
    ] {
        assert!(parse(words).is_err(), "{words}");
    }
}

#[test]
fn a_machine_is_told_which_checkpoint_on_its_disk() {
    let line = |words: &str| run(words).unwrap().config().unwrap().command_line;
    assert_eq!(line("--restore disk.qsc --new-identity"), "");
    assert_eq!(line("--disk d --restore disk --append log=debug"), "log=debug restore=disk:latest");
    assert_eq!(line("--disk d --restore disk:7 --new-identity"), "restore=disk:7 restore.identity=new");
}

#[test]
fn machines_in_bochs() {
    let config = |words: &str| run(&format!("--emulator bochs {words}")).unwrap().config();
    let intel = config("").unwrap();
    assert_eq!(intel.emulator, Emulator::Bochs(Bochs::default()));
    assert_eq!((intel.machine, intel.boot, intel.nic), (MachineType::Pc, Boot::Bios, Nic::E1000));
    assert_eq!((intel.memory, intel.validate()), (Memory::mebibytes(256), Ok(())));
    let amd = config("--vendor amd --cpus 2 --memory 64M").unwrap();
    assert_eq!(amd.emulator, Emulator::Bochs(Bochs::of(Some(Vendor::Amd), None).unwrap()));
    assert_eq!((amd.cpus, amd.memory, amd.validate()), (2, Memory::mebibytes(64), Ok(())));
    assert!(config("--vendor amd --cpu-model tigerlake").is_err());
    for words in
        ["--machine q35", "--nic virtio", "--boot direct", "--control-nic", "--icount", "--qemu-arg -S"]
    {
        assert!(config(words).unwrap().validate().is_err(), "{words}");
    }
    assert!(run("--vendor amd").unwrap().config().is_err());
    assert!(run("--emulator bochs --cpu-model bx_generic").is_err());
}

#[test]
fn nonsense_is_refused() {
    for words in [
        "--cpus 0",
        "--cpus 65",
        "--cpus x",
        "--memory 1M",
        "--memory lots",
        "--machine vax",
        "--nic rtl8139",
        "--disk-model nvme",
        "--disk d --disk-model ide",
        "--forward 7",
        "--json",
        "--nosuch",
        "kv web",
    ] {
        assert!(run(words).is_err(), "{words}");
    }
}
