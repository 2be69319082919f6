//! Link arguments of the bare-metal image, and the table of files packed into it.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=linker.ld");
    if env::var_os("CARGO_CFG_BARE_METAL").is_some() {
        let script = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("set by cargo")).join("linker.ld");
        for argument in ["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
        println!("cargo::rustc-link-arg-bins=-Wl,-z,max-page-size=0x1000,-z,noexecstack");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
    }
    pack_files()
}

/// Writes `packed_files.rs`: one `(path, bytes)` for each file below `QS_FILES_DIR`, sorted by path.
fn pack_files() -> io::Result<()> {
    println!("cargo::rerun-if-env-changed=QS_FILES_DIR");
    let mut files = Vec::new();
    if let Some(root) = env::var_os("QS_FILES_DIR").map(PathBuf::from) {
        let root = fs::canonicalize(&root).map_err(|error| {
            io::Error::new(error.kind(), format!("QS_FILES_DIR {}: {error}", root.display()))
        })?;
        println!("cargo::rerun-if-changed={}", root.display());
        collect(&root, &root, &mut files)?;
    }
    files.sort();
    let mut table = String::from("pub static FILES: &[app::File] = &[\n");
    for (name, path) in &files {
        table.push_str(&format!("    app::File {{ path: {name:?}, data: include_bytes!({path:?}) }},\n"));
    }
    table.push_str("];\n");
    fs::write(Path::new(&env::var("OUT_DIR").expect("set by cargo")).join("packed_files.rs"), table)
}

fn collect(root: &Path, directory: &Path, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        println!("cargo::rerun-if-changed={}", path.display());
        if path.is_dir() {
            collect(root, &path, files)?;
        } else {
            let name = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
            files.push((name, path));
        }
    }
    Ok(())
}
