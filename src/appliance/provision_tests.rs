//! Provisioning over several starts, on files below a scratch folder.

use super::*;

struct Device {
    folder: tempfile::TempDir,
    places: Places,
}

impl Device {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::under(folder.path());
        for folder in [
            &places.card.join("status"),
            &places.system,
            &places.iwd,
            &places.state,
            &places.zones.join("Europe"),
            &places.zones.join("Etc"),
        ] {
            fs::create_dir_all(folder).unwrap();
        }
        for file in [&places.host_name, &places.machine_id, &places.defaults] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
        }
        fs::write(places.zones.join("Europe/Berlin"), "zone").unwrap();
        fs::write(places.zones.join("Etc/UTC"), "zone").unwrap();
        fs::write(&places.machine_id, "0123456789abcdef0123456789abcdef\n").unwrap();
        fs::write(&places.defaults, "listen = [\"0.0.0.0:8443\"]\nvideo = \"test\"\n").unwrap();
        Self { folder, places }
    }

    /// One start with this file on the card; the status.
    fn start(&self, text: &str) -> String {
        fs::write(self.places.card.join(FILE), text).unwrap();
        self.start_again()
    }

    fn start_again(&self) -> String {
        run(&self.places).unwrap();
        fs::read_to_string(self.places.card.join("status/provision.txt")).unwrap()
    }

    /// What the service is to tell the owner.
    fn notes(&self) -> String {
        self.text("run/duplex/service.notes")
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.folder.path().join(path)).unwrap()
    }
}

#[test]
fn a_good_file_is_taken_in_and_its_secrets_are_blanked() {
    let device = Device::new();
    let file = device.places.card.join(FILE);
    fs::write(
        &file,
        "hostname = \"door\"\npassword = \"a good password\"\ntimezone = \"Europe/Berlin\"\n\
         [wifi]\nssid = \"home\"\npassphrase = \"back\\\\slash 1\"\ncountry = \"DE\"\n[service]\nname = \"Front\"\n",
    )
    .unwrap();
    // Another name of it stands for the clusters that it leaves on the card.
    fs::hard_link(&file, device.places.run.join("old")).unwrap();
    let status = device.start_again();
    assert!(status.starts_with("duplex.toml was taken in.") && !status.contains("good password"), "{status}");
    assert!(status.contains("country DE; its passphrase is blanked in the file. "), "{status}");
    assert_eq!(device.notes(), "");
    assert_eq!(device.text("proc/sys/kernel/hostname"), "door\n");
    assert!(device.text("run/duplex/service.toml").contains("name = \"Front\""));
    assert!(device.text("run/duplex/service.toml").contains("0.0.0.0:8443"));
    assert!(device.text("run/duplex/iwd/main.conf").contains("Country=DE"));
    assert!(device.text("var/lib/iwd/home.psk").contains("Passphrase=back\\\\slash 1\n"));
    assert!(fs::read_link(device.places.run.join("localtime")).unwrap().ends_with("Europe/Berlin"));
    let auth = Auth::open(&device.places.state).unwrap();
    assert_eq!(auth.sign_in("a good password").unwrap().0, Role::Owner);
    for file in ["run/duplex/card/duplex.toml", "data/system/duplex.toml", "run/duplex/old"] {
        let text = device.text(file);
        assert!(!text.contains("good password") && !text.contains("slash"), "{file}: {text}");
    }
    // The blanked file is good at every later start, and changes nothing.
    let status = device.start_again();
    assert!(status.starts_with("duplex.toml was taken in."), "{status}");
    assert!(status.contains("country DE. "), "{status}");
    assert!(device.text("var/lib/iwd/home.psk").contains("slash"));
    assert!(auth.has_owner());
}

#[test]
fn a_bad_file_changes_nothing_and_is_told() {
    let device = Device::new();
    device.start("hostname = \"door\"\n[service]\nname = \"Front\"\n");
    assert_eq!(device.notes(), "");
    let status = device.start(
        "hostname = \"gate\"\npassword = \"a good password\"\ntimezone = \"Europe/Nowhere\"\n[service]\nwidth = 7\n",
    );
    assert!(status.starts_with("duplex.toml was NOT taken in"), "{status}");
    assert!(status.contains("timezone = \"Europe/Nowhere\"") && status.contains("width = 7"), "{status}");
    let notes = device.notes();
    let begin =
        "duplex.toml was not taken in, and what held before goes on to hold: timezone = \"Europe/Nowhere\": is no zone";
    let end = " (and 1 more; status/provision.txt on the card has all)\n";
    assert!(notes.starts_with(begin) && notes.ends_with(end) && notes.lines().count() == 1, "{notes}");
    let mode = fs::metadata(device.places.run.join("service.notes")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "the service reads it");
    // Provisioning that runs once more, without the card, knows nothing better.
    let card = device.folder.path().join("pulled");
    fs::rename(&device.places.card, &card).unwrap();
    run(&device.places).unwrap();
    assert_eq!(device.notes(), notes);
    fs::rename(&card, &device.places.card).unwrap();
    assert_eq!(device.text("proc/sys/kernel/hostname"), "door\n");
    assert!(device.text("run/duplex/service.toml").contains("name = \"Front\""));
    assert!(!Auth::open(&device.places.state).unwrap().has_owner());
    let status = device.start("hostname = \"Not A Name\"\n[service]\nwidth = 7\n");
    assert!(status.contains("Not A Name") && status.contains("width = 7"), "{status}");
    let status = device.start("what is this");
    assert!(status.contains("line 1"), "{status}");
    assert!(device.notes().contains(": line 1: is not TOML"), "{}", device.notes());
    let status = device.start("# nothing\n[service]\n");
    assert_eq!(status, "duplex.toml was read; nothing is set in it.\r\n");
    assert_eq!(device.notes(), "");
    device.start("hostname = \"door\"\n");
    assert_eq!(device.text("proc/sys/kernel/hostname"), "door\n");
}

#[test]
fn without_card_or_file_the_device_starts() {
    let device = Device::new();
    fs::remove_dir_all(&device.places.card).unwrap();
    run(&device.places).unwrap();
    let host = device.text("proc/sys/kernel/hostname");
    assert_eq!(host.trim(), default_host("0123456789abcdef0123456789abcdef"));
    assert!(host.starts_with("duplex-") && host.trim().len() == 11, "{host}");
    assert!(device.text("run/duplex/service.toml").contains("video = \"test\""));
    assert_eq!(device.text("run/duplex/ssh/authorized_keys"), "");
}

#[test]
fn passwords_are_forgotten_once() {
    let device = Device::new();
    device.start("password = \"a good password\"\n");
    let auth = Auth::open(&device.places.state).unwrap();
    auth.set_password(Role::Viewer, "the viewer's password").unwrap();
    fs::write(device.places.card.join("Forget-Password.TXT"), "").unwrap();
    let status = device.start_again();
    assert!(status.starts_with("All passwords were removed"), "{status}");
    assert!(!Auth::open(&device.places.state).unwrap().has_owner());
    assert!(!device.places.card.join("Forget-Password.TXT").exists());
    assert!(!device.start_again().contains("removed"));
}

#[test]
fn a_blank_passphrase_needs_a_known_network_and_keeps_nothing_else_out() {
    let device = Device::new();
    let wifi = "hostname = \"door\"\n[wifi]\nssid = \"caf\u{e9}\"\ncountry = \"FR\"\npassphrase = ";
    let status = device.start(&format!("{wifi}\"\"\n"));
    assert!(status.contains("was taken in") && status.contains("NOT used, for its passphrase is blank"), "{status}");
    assert_eq!(device.text("proc/sys/kernel/hostname"), "door\n");
    assert!(device.notes().starts_with("The Wi-Fi network \"caf\u{e9}\" is not used, for"), "{}", device.notes());
    let status = device.start(&format!("{wifi}\"long enough\"\n"));
    assert!(device.places.iwd.join("=636166c3a9.psk").exists() && !status.contains("NOT used"), "{status}");
    assert_eq!(device.notes(), "");
    assert!(!device.start_again().contains("NOT used"), "blank now, and known");
    assert_eq!(device.text("run/duplex/wifi-name"), "caf\u{e9}");
    let status = device.start("[wifi]\nssid = \"free\"\ncountry = \"FR\"\n");
    assert!(status.contains("open to everybody, without a passphrase"), "{status}");
    assert!(device.places.iwd.join("free.open").exists() && !device.places.iwd.join("=636166c3a9.psk").exists());
}

#[test]
fn a_file_that_cannot_be_read_or_has_nearly_the_name_is_told() {
    let device = Device::new();
    let not_taken = device.places.run.join(NOT_TAKEN);
    let utf16: Vec<u8> = "hostname = \"door\"".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, word) in
        [([b"\xff\xfe", &utf16[..]].concat(), "is not UTF-8"), (vec![b'#'; 300 << 10], "is larger than 256 KiB")]
    {
        fs::write(device.places.card.join(FILE), bytes).unwrap();
        let status = device.start_again();
        assert!(status.contains("NOT taken in") && status.contains(word) && not_taken.exists(), "{status}");
    }
    fs::rename(device.places.card.join(FILE), device.places.card.join("duplex.toml.txt")).unwrap();
    let status = device.start_again();
    assert!(
        status.contains("no duplex.toml")
            && status.contains("Is duplex.toml.txt meant to be it?")
            && device.notes().contains("Is duplex.toml.txt meant to be it?")
            && !not_taken.exists(),
        "{status}"
    );
}

#[test]
fn all_that_is_wrong_is_told_at_once_and_a_missing_folder_is_made() {
    let device = Device::new();
    fs::remove_dir(device.places.card.join("status")).unwrap();
    fs::write(device.places.card.join("autoboot.txt"), "").unwrap();
    let status = device.start(
        "hostname = \"No Name\"\ntimezone = \"Berlin\"\n[wifi]\nssid = \"a\"\ncountry = \"UK\"\n[service]\nwidth = 7\n",
    );
    for part in ["No Name", "timezone = \"Berlin\"", "the United Kingdom is \"GB\"", "width = 7"] {
        assert!(status.contains(part), "{part} in\n{status}");
    }
}

#[test]
fn where_to_publish_is_taken_in_with_its_token_and_authority() {
    let device = Device::new();
    let store = duplex_pki::Store::open(device.folder.path().join("pki")).unwrap();
    let now = std::time::SystemTime::now();
    let certificate = &store.ensure_server(&["localhost".parse().unwrap()], now).unwrap().ca.ca_pem();
    fs::write(device.places.card.join("sfu.pem"), certificate).unwrap();
    let table = "[publish]\nurl = \"https://sfu.example.org/door/whip\"\ntoken = \"open-sesame\"\nca = \"sfu.pem\"\n";
    let status = device.start(table);
    assert!(status.contains("It is published to sfu.example.org.") && !status.contains("sesame"), "{status}");
    for file in ["run/duplex/card/duplex.toml", "data/system/duplex.toml", "run/duplex/service.toml"] {
        assert!(!device.text(file).contains("sesame"), "{file}");
    }
    let mut flags = Flags::default().with("state-dir", device.places.state.to_string_lossy());
    flags.config = Some(device.places.run.join("service.toml"));
    let config = config::load(&flags, |_| None).unwrap();
    assert_eq!(config.publish.unwrap().to_string(), "https://sfu.example.org/door/whip");
    let token = config.publish_token.unwrap();
    assert_eq!(fs::read_to_string(&token).unwrap(), "open-sesame\n");
    assert_eq!(fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(&fs::read_to_string(config.publish_ca.unwrap()).unwrap(), certificate);

    // The blanked file, at the next start: what was in /run is gone.
    fs::remove_file(&token).unwrap();
    let status = device.start_again();
    assert!(status.contains("published to sfu.example.org.") && token.exists(), "{status}");
    // A new card's, or after a factory reset.
    fs::remove_file(device.places.system.join("publish-token")).unwrap();
    fs::remove_file(&token).unwrap();
    let status = device.start_again();
    assert!(status.contains("WITHOUT a token"), "{status}");
    assert!(device.notes().contains("published to sfu.example.org, WITHOUT a token"), "{}", device.notes());
    assert!(!device.text("run/duplex/service.toml").contains("publish-token-file"));
    // Another server does not get the token of the first.
    device.start(table);
    let status = device.start(&table.replace("example.org", "example.net").replace("open-sesame", ""));
    assert!(status.contains("WITHOUT a token"), "{status}");
    assert!(!device.text("run/duplex/service.toml").contains("publish-token-file"));
    // An authority that is lost is not replaced by those of the system.
    device.start(table);
    fs::remove_file(device.places.card.join(FILE)).unwrap();
    fs::remove_file(device.places.system.join("publish-ca.pem")).unwrap();
    let status = device.start_again();
    assert!(status.contains("Nothing is published: the authority in sfu.pem"), "{status}");
    assert!(device.notes().contains("Nothing is published: the authority in sfu.pem"), "{}", device.notes());
    assert!(!device.text("run/duplex/service.toml").contains("publish"));
    // Not wanted any longer.
    device.start("");
    assert!(!device.text("run/duplex/service.toml").contains("publish"));
    assert!(!device.places.system.join("publish-ca.pem").exists());
}

#[test]
fn what_is_wrong_with_publishing_is_told_without_the_address_or_the_token() {
    let device = Device::new();
    fs::write(device.places.card.join("sfu.pem"), "no certificate").unwrap();
    let hollow = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(device.places.card.join("hollow.pem"), hollow).unwrap();
    for (table, wanted) in [
        ("token = \"a\"", "publish.url: is missing"),
        ("url = \"http://secret.example.org/whip\"", "publish.url: must be https://"),
        ("url = \"https://secret.example.org/whip\"\ntoken = \"a secret\"", "publish.token: must be a token in quotes"),
        (
            "url = \"https://secret.example.org/whip\"\nca = \"../sfu.pem\"",
            "publish.ca = \"../sfu.pem\": must be the name",
        ),
        ("url = \"https://secret.example.org/whip\"\nca = \"gone.pem\"", "there is no such file on the card"),
        ("url = \"https://secret.example.org/whip\"\nca = \"sfu.pem\"", "is no certificate of an authority"),
        ("url = \"https://secret.example.org/whip\"\nca = \"hollow.pem\"", "is no certificate of an authority"),
        ("url = \"http://127.0.0.1:8889/secret/whip\"\nca = \"sfu.pem\"", "publish.ca: must be left out"),
        ("url = \"https://secret.example.org/whip\"\nbearer = \"x\"", "publish.bearer: is not a known key"),
    ] {
        let status = device.start(&format!("[publish]\n{table}\n"));
        assert!(status.contains("was NOT taken in") && status.contains(wanted), "{wanted} in {status}");
        assert!(!status.contains("secret") && !device.notes().contains("secret"), "{status}");
    }
    let status = device.start("[service]\npublish-url = \"https://a.example.org/\"\n");
    assert!(status.contains("service.publish-url: is written under [publish]"), "{status}");
}
