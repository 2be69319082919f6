//! A tiny kernel, linked with the real linker script.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The kernel as the linker leaves it, built once per test program.
pub fn unfinished() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stub-{}.elf", env!("CARGO_CRATE_NAME")));
        let status = Command::new("cc")
            .args(["-nostdlib", "-static", "-no-pie", "-masm=intel", "-Wa,-msyntax=intel,-mnaked-reg"])
            .args(["-Wl,--build-id=none", "-Wl,-z,max-page-size=0x1000,-z,noexecstack", "-Wl,-T"])
            .arg(here.join("../kernel/linker.ld"))
            .arg(here.join("tests/stub/stub.s"))
            .arg("-o")
            .arg(&output)
            .status()
            .unwrap();
        assert!(status.success());
        output
    })
}

/// The kernel, finished like a real image.
#[allow(dead_code, reason = "each test program takes what it needs")]
pub fn finished() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let finished = image_builder::elf::finish(&std::fs::read(unfinished()).unwrap()).unwrap();
        let output = unfinished().with_extension("finished");
        std::fs::write(&output, finished.bytes).unwrap();
        output
    })
}
