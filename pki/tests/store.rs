//! The store's files: permissions, what is never overwritten, what a crash may leave, what is told of bad ones.

mod common;
use common::{DAY, Fixture, chmod, mode, names, then};
use duplex_pki::{Ca, Error, Export, Identity, InitOptions, MAX_SERVER_DAYS, Store};
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

#[test]
fn directories_and_keys_are_closed_to_others() {
    let fixture = Fixture::with_server(&["a.lan"], then());
    assert_eq!(mode(fixture.store.dir()), 0o700);
    assert_eq!(mode(fixture.file("server/")), 0o700);
    for secret in ["ca-key.pem", "server-key.pem"] {
        assert_eq!(mode(fixture.file(secret)), 0o600, "{secret}");
    }
    let left: Vec<_> =
        fs::read_dir(fixture.store.dir()).expect("list").map(|entry| entry.expect("entry").file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".new")), "{left:?}");
}

#[test]
fn looking_makes_no_directory() {
    let fixture = Fixture::empty();
    assert!(matches!(fixture.store.ca(), Err(Error::NoCa { .. })));
    assert!(matches!(fixture.store.identity(then()), Err(Error::NoServer { .. })));
    assert!(matches!(fixture.store.export(&Export::Pem, &fixture.file("x"), then()), Err(Error::NoCa { .. })));
    assert!(!fixture.store.dir().exists());
}

#[test]
fn a_store_others_can_write_to_is_refused() {
    let dir = tempfile::tempdir().expect("temp dir");
    chmod(dir.path(), 0o770);
    let error = Store::open(dir.path()).expect_err("group-writable");
    assert!(error.to_string().contains("chmod 700"), "{error}");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("write");
    assert!(Store::open(&file).expect_err("a file").to_string().contains("not a directory"));
}

#[test]
fn an_authority_is_never_overwritten() {
    let fixture = Fixture::with_ca(then());
    let before = [fs::read(fixture.file("ca.pem")).expect("read"), fs::read(fixture.file("ca-key.pem")).expect("read")];
    let error = fixture.store.init(&InitOptions::default(), then()).expect_err("second init");
    assert!(matches!(error, Error::CaExists { .. }), "{error}");
    fixture.store.ensure_server(&names(&["a.lan"]), then()).expect("ensure");
    let after = [fs::read(fixture.file("ca.pem")).expect("read"), fs::read(fixture.file("ca-key.pem")).expect("read")];
    assert_eq!(before, after);
}

#[test]
fn an_init_cut_short_after_the_key_is_completed_with_that_key() {
    let fixture = Fixture::with_ca(then());
    let first = fixture.store.ca().expect("ca");
    let key = fs::read(fixture.file("ca-key.pem")).expect("read");
    fs::remove_file(fixture.file("ca.pem")).expect("remove");
    let second = fixture.store.init(&InitOptions::default(), then()).expect("complete");
    assert_eq!(fs::read(fixture.file("ca-key.pem")).expect("read"), key);
    assert_eq!(first.subject(), second.subject());
    // What the completed root signs is accepted by those who trust the first: same name, same key.
    let identity = fixture.store.issue(&names(&["a.lan"]), 9, then()).expect("issue");
    assert_eq!(identity.chain.len(), 2);
}

#[test]
fn renewing_takes_a_new_key_keeps_the_names_and_one_old_pair() {
    let fixture = Fixture::with_server(&["b.lan", "a.lan", "10.0.0.1"], then());
    let first_key = fs::read(fixture.store.key_path()).expect("read");
    let first_place = fs::read_link(fixture.file("server")).expect("link");
    let later = then() + 10 * DAY;
    let second = fixture.store.renew(later).expect("renew");
    assert_eq!(second.names, names(&["a.lan", "b.lan", "10.0.0.1"]));
    assert_eq!(second.not_after, later + MAX_SERVER_DAYS * DAY - Duration::from_secs(3601));
    assert_ne!(fs::read(fixture.store.key_path()).expect("read"), first_key);
    assert_eq!(fs::read(fixture.store.dir().join(&first_place).join("server-key.pem")).expect("old key"), first_key);
    // The third removes the first, and nothing that only looks alike.
    fs::create_dir(fixture.file("server-notes")).expect("mkdir");
    fixture.store.renew(later).expect("renew");
    assert!(!fixture.store.dir().join(first_place).exists());
    assert!(fixture.file("server-notes").exists());
    let pairs = fs::read_dir(fixture.store.dir())
        .expect("list")
        .filter(|entry| entry.as_ref().expect("entry").file_type().expect("type").is_dir())
        .count();
    assert_eq!(pairs, 3, "the pair in use, the one before it, and server-notes");
}

#[test]
fn an_expired_certificate_can_still_be_renewed() {
    let fixture = Fixture::with_server(&["a.lan"], then());
    let later = then() + 500 * DAY;
    assert!(matches!(fixture.store.identity(later), Err(Error::Expired { .. })));
    assert_eq!(fixture.store.renew(later).expect("renew").names, names(&["a.lan"]));
}

#[test]
fn a_crash_before_the_swap_leaves_the_old_pair_in_use() {
    let fixture = Fixture::with_server(&["a.lan"], then());
    // What a crash leaves: a half-written pair, a half-swapped link, a half-written file.
    fs::create_dir(fixture.file("server-1-00000000")).expect("mkdir");
    fs::write(fixture.file("server-1-00000000/server-key.pem"), "half").expect("write");
    symlink("server-1-00000000", fixture.file("server.new")).expect("link");
    fs::write(fixture.file(".ca.pem.new"), "half").expect("write");
    fixture.store.identity(then()).expect("the old pair");
    fixture.store.renew(then()).expect("renew");
    fixture.store.identity(then()).expect("the new pair");
    assert!(!fixture.file("server-1-00000000").exists());
    assert!(!fixture.file("server.new").exists());
}

#[test]
fn readers_never_see_a_mismatched_pair_while_it_is_renewed() {
    let fixture = Fixture::with_server(&["a.lan"], then());
    let (certificate, key) = (fixture.store.certificate_path(), fixture.store.key_path());
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..40 {
                fixture.store.renew(then()).expect("renew");
            }
        });
        let mut reads = 0;
        while !writer.is_finished() {
            Identity::load(&certificate, &key, then()).expect("a matching pair");
            reads += 1;
        }
        assert!(reads > 0, "the writer was done before the first read");
    });
}

#[test]
fn files_put_there_by_hand_are_used_and_never_replaced() {
    let source = Fixture::with_server(&["a.lan"], then());
    let target = Fixture::with_ca(then());
    fs::copy(source.store.certificate_path(), target.file("server.pem")).expect("copy");
    fs::copy(source.store.key_path(), target.file("server-key.pem")).expect("copy");
    target.store.identity(then()).expect("used");
    let error = target.store.renew(then()).expect_err("not replaced");
    assert!(matches!(error, Error::Foreign { .. }), "{error}");
}

#[test]
fn exports_never_overwrite() {
    let fixture = Fixture::with_server(&["a.lan"], then());
    let out = fixture.dir.path().join("out");
    fs::write(&out, "mine").expect("write");
    for format in [Export::Pem, Export::Der, Export::P12 { password: "x".to_owned() }] {
        let error = fixture.store.export(&format, &out, then()).expect_err("exists");
        assert!(matches!(error, Error::OutputExists { .. }), "{error}");
    }
    assert_eq!(fs::read(&out).expect("read"), b"mine");
    assert!(!format!("{:?}", Export::P12 { password: "secret".to_owned() }).contains("secret"));
}

#[test]
fn lifetimes_names_and_clock_are_checked() {
    let fixture = Fixture::empty();
    let init = |name: Option<&str>, days| {
        fixture
            .store
            .init(&InitOptions { common_name: name.map(str::to_owned), days, ..InitOptions::default() }, then())
    };
    assert!(matches!(init(None, 0), Err(Error::Days { .. })));
    assert!(matches!(init(None, 7306), Err(Error::Days { .. })));
    assert!(matches!(init(Some(""), 9), Err(Error::CommonName { .. })));
    assert!(matches!(init(Some(&"x".repeat(65)), 9), Err(Error::CommonName { .. })));
    assert!(matches!(init(Some("a\nb"), 9), Err(Error::CommonName { .. })));
    assert!(matches!(fixture.store.init(&InitOptions::default(), std::time::UNIX_EPOCH), Err(Error::Clock)));
    assert!(!fixture.file("ca-key.pem").exists(), "a refused init writes nothing");
    let ca = init(Some("Ölivia & <Söhne>"), 30).expect("init");
    assert_eq!(ca.common_name(), "Ölivia & <Söhne>");
    let error = fixture.store.issue(&names(&["a"]), 398, then()).expect_err("398 days");
    assert!(error.to_string().contains("398 days is out of range"), "{error}");
    assert!(matches!(fixture.store.issue(&[], 9, then()), Err(Error::NoNamesGiven)));
    // Nothing outlives the root.
    assert_eq!(fixture.store.issue(&names(&["a"]), 397, then()).expect("issue").not_after, ca.not_after());
}

#[test]
fn each_unusable_pair_is_told_by_file_and_rule() {
    let fixture = Fixture::with_server(&["a.lan"], then());
    let other = Fixture::with_server(&["a.lan"], then());
    let (certificate, key) = (fixture.store.certificate_path(), fixture.store.key_path());
    let put = |name: &str, bytes: &[u8]| {
        let path = fixture.dir.path().join(name);
        fs::write(&path, bytes).expect("write");
        chmod(&path, 0o600);
        path
    };
    let pem = fs::read(&certificate).expect("read");
    let open_key = put("open.pem", &fs::read(&key).expect("read"));
    chmod(&open_key, 0o640);
    let cases = [
        (put("der", &[0x30, 0x82, 1, 2]), key.clone(), "der is not PEM"),
        (put("cut.pem", pem.get(..300).expect("long enough")), key.clone(), "END line is missing"),
        (
            put("base64.pem", b"-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n"),
            key.clone(),
            "base64 is malformed",
        ),
        (
            put("asn1.pem", b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"),
            key.clone(),
            "cannot be parsed",
        ),
        (key.clone(), key.clone(), "holds no certificate"),
        (certificate.clone(), certificate.clone(), "open to other users"),
        (certificate.clone(), put("nokey.pem", &pem), "holds no private key"),
        (
            certificate.clone(),
            put("badkey.pem", b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"),
            "cannot be used",
        ),
        (certificate.clone(), open_key, "has mode 0640, open to other users: run `chmod 600 "),
        (certificate.clone(), other.store.key_path(), "does not belong to the certificate"),
        (fixture.dir.path().join("absent.pem"), key.clone(), "absent.pem: No such file"),
        (certificate.clone(), fixture.dir.path().join("absent.key"), "absent.key: No such file"),
        (fixture.dir.path().to_owned(), key.clone(), "Is a directory"),
    ];
    for (certificate, key, expected) in cases {
        let error = Identity::load(&certificate, &key, then()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let expired = Identity::load(&certificate, &key, then() + 398 * DAY).expect_err("expired").to_string();
    assert!(expired.contains("expired on 2027-12-24 08:44 UTC (the clock says 2027-12-25"), "{expired}");
    let early =
        Identity::load(&certificate, &key, then() - 2 * Duration::from_secs(3600)).expect_err("early").to_string();
    assert!(early.contains("not valid before 2026-11-22 08:45 UTC"), "{early}");
    assert!(
        !format!("{:?}", Identity::load(&certificate, &key, then()).expect("loads")).contains("Pkcs8(["),
        "the key shows"
    );
}

#[test]
fn unusable_authorities_are_told_by_file_and_rule() {
    let fixture = Fixture::with_server(&["a.lan"], then());
    chmod(fixture.file("ca-key.pem"), 0o644);
    assert!(fixture.store.renew(then()).expect_err("open key").to_string().contains("chmod 600"));
    fs::remove_file(fixture.file("ca-key.pem")).expect("remove");
    assert!(matches!(fixture.store.renew(then()), Err(Error::CaKeyMissing { .. })));
    fs::copy(Fixture::with_ca(then()).file("ca-key.pem"), fixture.file("ca-key.pem")).expect("copy");
    assert!(matches!(fixture.store.renew(then()), Err(Error::KeyMismatch { .. })));
    assert!(matches!(fixture.store.renew(then() + 3700 * DAY), Err(Error::CaExpired { .. })));
    fs::write(fixture.file("ca.pem"), fs::read(fixture.store.certificate_path()).expect("read")).expect("write");
    assert!(matches!(fixture.store.ca(), Err(Error::NotCa { .. })));
}

#[test]
fn the_ios_profile_is_well_formed_and_stable() {
    let fixture = Fixture::empty();
    let options = InitOptions { common_name: Some("Tom & <Jerry>".to_owned()), ..InitOptions::default() };
    fixture.store.init(&options, then()).expect("init");
    let ca = Ca::load(fixture.store.dir()).expect("load");
    let text = ca.mobileconfig();
    assert_eq!(text, fixture.store.ca().expect("again").mobileconfig());
    let profile = plist::Value::from_reader_xml(text.as_bytes())
        .expect("a property list")
        .into_dictionary()
        .expect("a dictionary");
    let string = |dictionary: &plist::Dictionary, key: &str| {
        dictionary.get(key).and_then(plist::Value::as_string).expect("a string").to_owned()
    };
    assert_eq!(string(&profile, "PayloadType"), "Configuration");
    assert_eq!(string(&profile, "PayloadDisplayName"), "Tom & <Jerry>");
    let payload = profile.get("PayloadContent").and_then(plist::Value::as_array).expect("an array")[0]
        .as_dictionary()
        .expect("a dictionary");
    assert_eq!(string(payload, "PayloadType"), "com.apple.security.root");
    assert_eq!(payload.get("PayloadContent").and_then(plist::Value::as_data), Some(ca.ca_der()));
    assert_ne!(string(payload, "PayloadUUID"), string(&profile, "PayloadUUID"));
}
