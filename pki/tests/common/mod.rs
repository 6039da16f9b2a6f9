//! What the integration tests share: a store in a temporary directory, a fixed time, and the `openssl` program.
#![allow(dead_code, reason = "each test file uses a part of it")]

use duplex_pki::{InitOptions, Name, Store};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

pub const DAY: Duration = Duration::from_secs(86_400);

/// A store that goes away with the test.
pub struct Fixture {
    pub dir: TempDir,
    pub store: Store,
}

impl Fixture {
    pub fn empty() -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = Store::open(dir.path().join("pki")).expect("open");
        Self { dir, store }
    }

    pub fn with_ca(now: SystemTime) -> Self {
        let fixture = Self::empty();
        fixture.store.init(&InitOptions::default(), now).expect("init");
        fixture
    }

    pub fn with_server(list: &[&str], now: SystemTime) -> Self {
        let fixture = Self::with_ca(now);
        fixture.store.issue(&names(list), 397, now).expect("issue");
        fixture
    }

    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.store.dir().join(name)
    }
}

pub fn names(list: &[&str]) -> Vec<Name> {
    list.iter().map(|text| text.parse().expect("a name")).collect()
}

/// 2026-11-22 09:45 UTC; tests that ask `openssl`, which has its own clock, use the real time.
pub fn then() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_340_700)
}

pub fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).expect("metadata").permissions().mode() & 0o7777
}

pub fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

/// Runs `openssl` and gives back whether it succeeded, with all it printed.
pub fn try_openssl(args: &[&str]) -> (bool, String) {
    let output =
        Command::new("openssl").args(args).stdin(Stdio::null()).output().expect("these tests need the program openssl");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), text)
}

/// Runs `openssl`, which must succeed, and gives back all it printed.
pub fn openssl(args: &[&str]) -> String {
    let (ok, text) = try_openssl(args);
    assert!(ok, "openssl {}: {text}", args.join(" "));
    text
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8 path")
}
