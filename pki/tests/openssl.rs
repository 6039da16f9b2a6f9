//! OpenSSL, which shares no code with this crate, accepts and reads what it makes.

mod common;
use common::{Fixture, names, openssl, text, try_openssl};
use duplex_pki::{Error, Export, Identity};
use std::fs;
use std::time::SystemTime;

const NAMES: [&str; 4] = ["olivia.local", "webrtc.olivia-v1.machine-domain", "192.168.1.20", "2001:db8::1"];

#[test]
fn the_chain_verifies_strictly_for_each_name_and_no_other() {
    let fixture = Fixture::with_server(&NAMES, SystemTime::now());
    let (ca, server) = (fixture.store.ca_path(), fixture.store.certificate_path());
    let verify = |option: &str, name: &str| {
        try_openssl(&[
            "verify",
            "-x509_strict",
            "-check_ss_sig",
            "-purpose",
            "sslserver",
            "-no-CApath",
            "-no-CAstore",
            "-CAfile",
            text(&ca),
            option,
            name,
            text(&server),
        ])
    };
    for (option, name) in [
        ("-verify_hostname", NAMES[0]),
        ("-verify_hostname", NAMES[1]),
        ("-verify_ip", NAMES[2]),
        ("-verify_ip", NAMES[3]),
    ] {
        let (ok, output) = verify(option, name);
        assert!(ok, "{name}: {output}");
    }
    assert!(!verify("-verify_hostname", "example.org").0);
    assert!(!verify("-verify_ip", "192.168.1.21").0);
}

#[test]
fn the_root_may_sign_servers_and_nothing_below_them() {
    let fixture = Fixture::with_ca(SystemTime::now());
    let root = openssl(&["x509", "-in", text(&fixture.store.ca_path()), "-noout", "-text"]);
    for expected in [
        "CA:TRUE, pathlen:0",
        "Certificate Sign, CRL Sign",
        "X509v3 Subject Key Identifier",
        "prime256v1",
        "ecdsa-with-SHA256",
        "O = Duplex",
    ] {
        assert!(root.contains(expected), "{expected}: {root}");
    }
    assert!(root.matches(": critical").count() == 2, "{root}");
    openssl(&["x509", "-in", text(&fixture.store.ca_path()), "-noout", "-checkend", &(3649 * 86_400).to_string()]);
}

#[test]
fn the_server_certificate_has_the_profile_browsers_ask_for() {
    let fixture = Fixture::with_server(&NAMES, SystemTime::now());
    let path = fixture.store.certificate_path();
    let leaf = openssl(&["x509", "-in", text(&path), "-noout", "-text"]);
    for expected in [
        "DNS:olivia.local",
        "DNS:webrtc.olivia-v1.machine-domain",
        "IP Address:192.168.1.20",
        "IP Address:2001:DB8:0:0:0:0:0:1",
        "TLS Web Server Authentication",
        "Digital Signature",
        "CA:FALSE",
        "X509v3 Authority Key Identifier",
        "prime256v1",
    ] {
        assert!(leaf.contains(expected), "{expected}: {leaf}");
    }
    assert!(!leaf.contains("Client Authentication"));
    assert_eq!(
        fs::read_to_string(&path).expect("read").matches("BEGIN CERTIFICATE").count(),
        2,
        "the leaf, then the root"
    );
    let (ends, _) = try_openssl(&["x509", "-in", text(&path), "-noout", "-checkend", &(397 * 86_400).to_string()]);
    assert!(!ends, "it lives longer than 397 days");
}

#[test]
fn serial_numbers_are_128_random_bits() {
    let fixture = Fixture::with_server(&NAMES, SystemTime::now());
    let serial = |path: &std::path::Path| {
        openssl(&["x509", "-in", text(path), "-noout", "-serial"]).trim().trim_start_matches("serial=").to_owned()
    };
    let first = serial(&fixture.store.certificate_path());
    fixture.store.renew(SystemTime::now()).expect("renew");
    let second = serial(&fixture.store.certificate_path());
    assert_ne!(first, second);
    for serial in [first, second, serial(&fixture.store.ca_path())] {
        // Leading zero bytes are rare but lawful.
        assert!((28..=32).contains(&serial.len()), "{serial}");
    }
}

#[test]
fn pkcs12_opens_with_its_password_and_holds_key_leaf_and_root() {
    let fixture = Fixture::with_server(&NAMES, SystemTime::now());
    for password in ["correct horse", "", "pässword"] {
        let out = fixture.dir.path().join(format!("server{}.p12", password.len()));
        fixture.store.export(&Export::P12 { password: password.to_owned() }, &out, SystemTime::now()).expect("export");
        assert_eq!(common::mode(&out), 0o600);
        let pass = format!("pass:{password}");
        let opened = openssl(&["pkcs12", "-in", text(&out), "-nodes", "-passin", &pass, "-info"]);
        assert_eq!(opened.matches("BEGIN PRIVATE KEY").count(), 1, "{opened}");
        assert_eq!(opened.matches("BEGIN CERTIFICATE").count(), 2, "{opened}");
        assert!(opened.contains("AES-256-CBC") && opened.contains("hmacWithSHA256"), "{opened}");
        // -clcerts gives only the certificate whose id ties it to the key: the leaf.
        let leaf = openssl(&["pkcs12", "-in", text(&out), "-nokeys", "-clcerts", "-passin", &pass]);
        assert_eq!(leaf.matches("BEGIN CERTIFICATE").count(), 1, "{leaf}");
        assert!(leaf.contains("CN = olivia.local") || leaf.contains("CN=olivia.local"), "{leaf}");
        assert!(!try_openssl(&["pkcs12", "-in", text(&out), "-nodes", "-passin", "pass:wrong"]).0);
    }
}

#[test]
fn exports_of_the_root_are_the_root_and_nothing_else() {
    let fixture = Fixture::with_ca(SystemTime::now());
    let (pem, der) = (fixture.dir.path().join("root.pem"), fixture.dir.path().join("root.der"));
    fixture.store.export(&Export::Pem, &pem, SystemTime::now()).expect("pem");
    fixture.store.export(&Export::Der, &der, SystemTime::now()).expect("der");
    let from_pem = openssl(&["x509", "-in", text(&pem), "-noout", "-fingerprint", "-sha256"]);
    let from_der = openssl(&["x509", "-in", text(&der), "-inform", "der", "-noout", "-fingerprint", "-sha256"]);
    assert_eq!(from_pem, from_der);
    assert!(from_pem.trim().ends_with(&fixture.store.ca().expect("ca").fingerprint_sha256()), "{from_pem}");
    let pem = fs::read_to_string(pem).expect("read");
    assert!(
        pem.starts_with("-----BEGIN CERTIFICATE-----\n")
            && pem.ends_with("-----END CERTIFICATE-----\n")
            && !pem.contains("PRIVATE")
    );
}

#[test]
fn pairs_made_by_openssl_load_whatever_their_key() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    for algorithm in [
        &["-newkey", "rsa:2048"][..],
        &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
        &["-newkey", "ed25519"],
    ] {
        let args = [
            "req",
            "-x509",
            "-nodes",
            "-days",
            "9",
            "-subj",
            "/CN=x",
            "-addext",
            "subjectAltName=DNS:x.lan,DNS:*.x.lan,IP:10.0.0.1,email:a@b.c",
            "-keyout",
            text(&key),
            "-out",
            text(&certificate),
        ];
        openssl(&[&args[..], algorithm].concat());
        common::chmod(&key, 0o600);
        let identity = Identity::load(&certificate, &key, SystemTime::now())
            .unwrap_or_else(|error| panic!("{algorithm:?}: {error}"));
        assert_eq!(identity.names, names(&["x.lan", "*.x.lan", "10.0.0.1"]));
    }
    // OpenSSL's older forms of a key.
    openssl(&[
        "req",
        "-x509",
        "-nodes",
        "-days",
        "9",
        "-subj",
        "/CN=x",
        "-addext",
        "subjectAltName=DNS:x",
        "-newkey",
        "rsa:2048",
        "-keyout",
        text(&key),
        "-out",
        text(&certificate),
    ]);
    let older = dir.path().join("older.pem");
    openssl(&["rsa", "-traditional", "-in", text(&key), "-out", text(&older)]);
    common::chmod(&older, 0o600);
    Identity::load(&certificate, &older, SystemTime::now()).expect("PKCS#1");
    let locked = dir.path().join("locked.pem");
    for traditional in [&[][..], &["-traditional"]] {
        openssl(
            &[&["rsa", "-aes128", "-passout", "pass:1234", "-in", text(&key), "-out", text(&locked)], traditional]
                .concat(),
        );
        common::chmod(&locked, 0o600);
        let error = Identity::load(&certificate, &locked, SystemTime::now()).expect_err("encrypted");
        assert!(matches!(error, Error::EncryptedKey { .. }), "{error}");
    }
    // A certificate that names its host in the common name alone.
    openssl(&[
        "req",
        "-x509",
        "-nodes",
        "-days",
        "9",
        "-subj",
        "/CN=x",
        "-newkey",
        "ed25519",
        "-keyout",
        text(&key),
        "-out",
        text(&certificate),
    ]);
    common::chmod(&key, 0o600);
    let error = Identity::load(&certificate, &key, SystemTime::now()).expect_err("no names");
    assert!(matches!(error, Error::NoNames { .. }), "{error}");
}
