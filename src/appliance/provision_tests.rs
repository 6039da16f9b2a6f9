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

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.folder.path().join(path)).unwrap()
    }
}

#[test]
fn a_good_file_is_taken_in_and_its_secrets_are_blanked() {
    let device = Device::new();
    let status = device.start(
        "hostname = \"door\"\npassword = \"a good password\"\ntimezone = \"Europe/Berlin\"\n\
         [wifi]\nssid = \"home\"\npassphrase = \"back\\\\slash 1\"\ncountry = \"DE\"\n[service]\nname = \"Front\"\n",
    );
    assert!(status.starts_with("duplex.toml was taken in.") && !status.contains("good password"), "{status}");
    assert_eq!(device.text("proc/sys/kernel/hostname"), "door\n");
    assert!(device.text("run/duplex/service.toml").contains("name = \"Front\""));
    assert!(device.text("run/duplex/service.toml").contains("0.0.0.0:8443"));
    assert!(device.text("run/duplex/iwd/main.conf").contains("Country=DE"));
    assert!(device.text("var/lib/iwd/home.psk").contains("Passphrase=back\\\\slash 1\n"));
    assert!(fs::read_link(device.places.run.join("localtime")).unwrap().ends_with("Europe/Berlin"));
    let auth = Auth::open(&device.places.state).unwrap();
    assert_eq!(auth.sign_in("a good password").unwrap().0, Role::Owner);
    for file in ["run/duplex/card/duplex.toml", "data/system/duplex.toml"] {
        let text = device.text(file);
        assert!(!text.contains("good password") && !text.contains("slash"), "{file}: {text}");
    }
    // The blanked file is good at every later start, and changes nothing.
    let status = device.start_again();
    assert!(status.starts_with("duplex.toml was taken in."), "{status}");
    assert!(device.text("var/lib/iwd/home.psk").contains("slash"));
    assert!(auth.has_owner());
}

#[test]
fn a_bad_file_changes_nothing_and_is_told() {
    let device = Device::new();
    device.start("hostname = \"door\"\n[service]\nname = \"Front\"\n");
    let status = device.start(
        "hostname = \"gate\"\npassword = \"a good password\"\ntimezone = \"Europe/Nowhere\"\n[service]\nwidth = 7\n",
    );
    assert!(status.starts_with("duplex.toml was NOT taken in"), "{status}");
    assert!(status.contains("timezone = \"Europe/Nowhere\"") && status.contains("width = 7"), "{status}");
    assert_eq!(device.text("proc/sys/kernel/hostname"), "door\n");
    assert!(device.text("run/duplex/service.toml").contains("name = \"Front\""));
    assert!(!Auth::open(&device.places.state).unwrap().has_owner());
    let status = device.start("hostname = \"Not A Name\"\n[service]\nwidth = 7\n");
    assert!(status.contains("Not A Name") && status.contains("width = 7"), "{status}");
    let status = device.start("what is this");
    assert!(status.contains("line 1"), "{status}");
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
fn a_blank_passphrase_needs_a_known_network() {
    let device = Device::new();
    let status = device.start("[wifi]\nssid = \"caf\u{e9}\"\npassphrase = \"\"\ncountry = \"FR\"\n");
    assert!(status.contains("wifi.passphrase: is blank"), "{status}");
    device.start("[wifi]\nssid = \"caf\u{e9}\"\npassphrase = \"long enough\"\ncountry = \"FR\"\n");
    assert!(device.places.iwd.join("=636166c3a9.psk").exists());
    device.start("[wifi]\nssid = \"free\"\ncountry = \"FR\"\n");
    assert!(device.places.iwd.join("free.open").exists() && !device.places.iwd.join("=636166c3a9.psk").exists());
}
