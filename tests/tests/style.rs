//! House rules that a program can check: format, lints (of the host's build and of the bare machine's), and the rest.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use image_builder::workspace::Workspace;
use tests::program;

/// Lines of a file at most.
const LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn cargo(words: &[&str], set: impl FnOnce(&mut Command)) {
    let mut command = program::command(env!("CARGO"), Duration::from_secs(600));
    command.args(words).current_dir(root());
    set(&mut command);
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "cargo {}:\n{}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_format_is_rustfmts() {
    let output = program::command(env!("CARGO"), Duration::from_secs(60))
        .args(["fmt", "--all", "--check"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// All builds in one test: they would only wait for each other's locks.
#[test]
fn clippy_finds_nothing() {
    let target = Workspace::find().unwrap().target.join("clippy");
    cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-Dwarnings"], |command| {
        command.env("CARGO_TARGET_DIR", &target);
    });
    let all = "vmm,bench,app-kv,app-web,app-stream,app-hello,app-faults,app-bench,app-selftest";
    for features in [all, "app-kv,app-hello"] {
        let triple = image_builder::kernel::TARGET;
        let package = ["clippy", "--quiet", "--package=kernel", "--target", triple];
        let chosen = ["--no-default-features", "--features", features, "--", "-Dwarnings"];
        cargo(&[package, chosen].concat(), |command| {
            command.env("CARGO_TARGET_DIR", target.join("bare")).env_remove("RUSTFLAGS");
            command.env("CARGO_ENCODED_RUSTFLAGS", "--cfg\x1fbare_metal\x1f-Cpanic=abort");
        });
    }
}

/// All files of the project with one of these endings.
fn files(endings: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut directories = vec![root()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    directories.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 10, "the project's files were not found");
    found
}

/// Collects what a check finds, as `file:line: text`.
fn check(endings: &[&str], wrong: impl Fn(&Path, &str) -> bool) {
    let mut found = Vec::new();
    for (path, text) in files(endings) {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| wrong(&path, line)) {
            found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn files_are_short() {
    let long = files(&[".rs", ".s", ".c"]).into_iter().filter(|(_, text)| text.lines().count() > LINES);
    let long: Vec<String> = long.map(|(path, _)| path.display().to_string()).collect();
    assert!(long.is_empty(), "more than {LINES} lines: {}", long.join(", "));
}

#[test]
fn nothing_is_left_for_later() {
    // Not written out, so that this file passes.
    let marks = ["TO", "FIX", "XX"].map(|start| {
        format!(
            "{start}{}",
            if start == "TO" {
                "DO"
            } else if start == "FIX" {
                "ME"
            } else {
                "X"
            }
        )
    });
    check(&[".rs", ".s", ".c", ".md", ".toml", ".ld", ".sh"], |_, line| {
        line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| marks.iter().any(|mark| mark == word))
    });
}

#[test]
fn names_follow_the_house() {
    let (getter, catch_all) = (["fn", "get_"].join(" "), ["mod", "utils"].join(" "));
    check(&[".rs"], |_, line| line.contains(&getter) || line.contains(&catch_all));
}

#[test]
fn tests_wait_for_conditions_and_not_for_time() {
    // A poll is short: what sleeps for whole seconds waits for time.
    let naps = ["sleep(Duration::from_", "secs("].concat();
    check(&[".rs"], |path, line| {
        path.components().any(|part| part.as_os_str() == "tests") && line.contains(&naps)
    });
}

#[test]
fn each_package_has_the_houses_lints_and_licence() {
    for (path, text) in files(&["Cargo.toml"]) {
        let is_package = text.contains("[package]") && !path.parent().unwrap().ends_with("fuzz");
        assert!(
            !is_package
                || (text.contains("[lints]\nworkspace = true") && text.contains("license.workspace = true")),
            "{}",
            path.display()
        );
    }
}
