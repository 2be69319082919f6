//! Quicksilver's composition root: the order in which everything comes up, and the table of applications.
//!
//! 1. `boot`: one of three doors hands over memory map, command line and ACPI root pointer.
//! 2. `machine`: exceptions, memory (with the VMM's reserve carved out), interrupts, clocks; then threads.
//! 3. On the first thread: the other CPUs, the monitor (asleep), devices, network, control, metrics, applications.
//! 4. The code that began all this ends as the idle thread of the first CPU.
//!
//! A hosted build is a stub: an image is built with `cargo qs build`.
#![cfg_attr(bare_metal, no_std, no_main)]
#![cfg_attr(bare_metal, expect(unsafe_code, reason = "the doors of the image"))]

#[cfg(bare_metal)]
extern crate alloc;

#[cfg(bare_metal)]
mod apps;
#[cfg(bare_metal)]
mod boot;
#[cfg(bare_metal)]
mod devices;
#[cfg(bare_metal)]
mod metrics;
#[cfg(all(bare_metal, feature = "vmm"))]
mod monitor;
#[cfg(bare_metal)]
mod operator;

#[cfg(bare_metal)]
fn run(boot: machine::bootinfo::Boot) -> ! {
    let settings = boot.command_line.clone();
    configure(settings.as_str());
    log::info!("Quicksilver {} [{}]", env!("CARGO_PKG_VERSION"), settings.as_str());
    let machine = match machine::start::start(boot) {
        Ok(machine) => machine,
        Err(error) => panic!("the machine can't be brought up: {error:?}"),
    };
    machine::thread::Builder::new("main")
        .spawn(move || serve(machine))
        .expect("memory for the first thread was there a moment ago");
    machine::thread::run_idle()
}

/// The first thread.
#[cfg(bare_metal)]
fn serve(machine: machine::start::Machine) {
    machine::start::start_cpus(&machine);
    #[cfg(feature = "vmm")]
    let start_up = monitor::start(&machine);
    let command_line: &'static str = alloc::boxed::Box::leak(machine.command_line.as_str().into());
    let found = devices::start(command_line);
    metrics::start(command_line, found.network);
    let free = || machine::frames::statistics().free * machine::paging::PAGE;
    let listeners = apps::APPS.iter().map(|app| app.listeners()).sum();
    let env = app::Env::new(command_line)
        .with_files(apps::FILES)
        .with_memory(machine.memory, free)
        .with_cpus(machine::cpu::count())
        .with_listeners(listeners);
    let env: &'static app::Env = alloc::boxed::Box::leak(alloc::boxed::Box::new(env));
    operator::start(&machine, found, env);
    #[cfg(feature = "vmm")]
    let start_up = operator::restore_at_boot(&machine, env, start_up);
    apps::start(env);
    #[cfg(feature = "vmm")]
    drop(start_up);
}

/// Settings that count from the first line on.
#[cfg(bare_metal)]
fn configure(settings: &str) {
    use machine::bootinfo::setting;
    use machine::exit::{Policy, set_policy};
    let level = setting(settings, "log").and_then(|text| text.parse().ok()).unwrap_or(log::LevelFilter::Info);
    machine::console::install_logger(level);
    match setting(settings, "panic") {
        Some("halt") => set_policy(Policy::Halt),
        Some("exit") => set_policy(Policy::Exit),
        Some("reboot") | None => {}
        Some(other) => log::warn!("panic={other} is none of reboot, halt, exit; it stays reboot"),
    }
}

#[cfg(not(bare_metal))]
fn main() {
    eprintln!("The kernel runs in an image, not here: build one with `cargo qs build`.");
    std::process::exit(2);
}
