//! The commands, parsed as a person types them.

mod common;
use clap::Parser;
use common::{Fixture, chmod, openssl, text};
use duplex_pki::{Error, cli};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

#[derive(Debug, Parser)]
struct Program {
    #[command(subcommand)]
    command: cli::Command,
}

fn parse(args: &[&str]) -> Result<cli::Command, clap::Error> {
    Program::try_parse_from([&["duplex-pki"], args].concat()).map(|program| program.command)
}

fn run(args: &[&str], dir: &Path) -> Result<(), Error> {
    cli::run(parse(args).expect("arguments"), dir)
}

#[test]
fn the_commands_are_consistent() {
    <Program as clap::CommandFactory>::command().debug_assert();
}

#[test]
fn a_person_makes_issues_renews_exports_and_looks() {
    let fixture = Fixture::empty();
    let dir = fixture.store.dir();
    run(&["init", "--common-name", "Olivia's root"], dir).expect("init");
    run(&["issue", "olivia.local", "192.168.1.20"], dir).expect("issue");
    run(&["renew"], dir).expect("renew");
    run(&["show"], dir).expect("show");
    let password = fixture.dir.path().join("password");
    fs::write(&password, "horse\nsecond line\n").expect("write");
    chmod(&password, 0o600);
    let p12 = fixture.dir.path().join("server.p12");
    run(&["export", "--p12", "--out", text(&p12), "--password-file", text(&password)], dir).expect("export");
    openssl(&["pkcs12", "-in", text(&p12), "-nodes", "-passin", "pass:horse"]);
    assert_eq!(fixture.store.ca().expect("ca").common_name(), "Olivia's root");
    let empty = fixture.dir.path().join("empty.p12");
    run(&["export", "--p12", "--out", text(&empty), "--password-file", "/dev/null"], dir).expect("export");
    openssl(&["pkcs12", "-in", text(&empty), "-nodes", "-passin", "pass:"]);
}

#[test]
fn another_directory_can_be_named() {
    let fixture = Fixture::with_server(&["a.lan"], SystemTime::now());
    let out = fixture.dir.path().join("root.der");
    run(&["export", "--der", "--dir", text(fixture.store.dir()), "--out", text(&out)], Path::new("/nonexistent"))
        .expect("export");
    assert_eq!(fs::read(out).expect("read"), fixture.store.ca().expect("ca").ca_der());
}

#[test]
fn a_password_others_can_read_is_refused() {
    let fixture = Fixture::with_server(&["a.lan"], SystemTime::now());
    let password = fixture.dir.path().join("password");
    fs::write(&password, "horse").expect("write");
    chmod(&password, 0o644);
    let out = fixture.dir.path().join("server.p12");
    let error = run(&["export", "--p12", "--out", text(&out), "--password-file", text(&password)], fixture.store.dir())
        .expect_err("refused");
    assert!(error.to_string().contains("chmod 600"), "{error}");
    assert!(!out.exists());
}

#[test]
fn arguments_are_checked_before_anything_is_done() {
    for (args, expected) in [
        (&["issue"][..], "<NAME>"),
        (&["issue", "https://olivia.local"], "without https://"),
        (&["issue", "a.lan", "--days", "x"], "--days"),
        (&["export", "--pem"], "--out"),
        (&["export", "--out", "x"], "--p12"),
        (&["export", "--pem", "--der", "--out", "x"], "cannot be used with"),
        (&["export", "--p12", "--out", "x"], "--password-file"),
        (&["export", "--p12", "--out", "x", "--password", "secret"], "unexpected argument"),
    ] {
        let error = parse(args).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
