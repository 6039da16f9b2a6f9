//! Puts the built page into the binary: writes the list of the files in `web-app/dist` as Rust source.
//!
//! In: `web-app/dist`, if the page was built. Out: `page.rs` with `FILES`, empty if it was not; the service then
//! says how to build it.
//! Never: builds the page itself, or fails because it is not there.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let dist = root.join("web-app/dist");
    // While the folder is missing cargo looks again at every build, and so finds it when it comes.
    println!("cargo::rerun-if-changed=web-app/dist");
    let mut files = Vec::new();
    if dist.is_dir() {
        collect(&dist, &mut files)?;
    }
    // The order of a directory differs from machine to machine; the binary must not.
    files.sort();
    let mut source = String::from("pub(super) static FILES: &[(&str, &[u8])] = &[\n");
    for file in &files {
        let name = file.strip_prefix(&dist).map_err(io::Error::other)?;
        let name = name.to_str().ok_or_else(|| io::Error::other(format!("{name:?} is not UTF-8")))?;
        writeln!(source, "    ({name:?}, include_bytes!({file:?})),").map_err(io::Error::other)?;
    }
    source.push_str("];\n");
    fs::write(Path::new(&variable("OUT_DIR")?).join("page.rs"), source)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")))
}
