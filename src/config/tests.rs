//! Tests of the configuration as a whole, with real files in temporary folders.

#![allow(clippy::unwrap_used, clippy::field_reassign_with_default)]

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clap::Parser;

use super::keys::keys;
use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
}

fn flags(args: &[&str]) -> Flags {
    Cli::try_parse_from([&["duplex"], args].concat()).unwrap().flags
}

fn home(name: &str) -> Option<String> {
    (name == "HOME").then(|| "/home/robot".to_owned())
}

fn file(dir: &Path, text: &str) -> Flags {
    let path = dir.join("duplex.toml");
    fs::write(&path, text).unwrap();
    let mut flags = Flags::default();
    flags.config = Some(path);
    flags
}

/// Loads and gives the lines of the error, with the folder taken out of them.
fn problems(dir: &Path, flags: &Flags) -> Vec<String> {
    let text = match load(flags, home) {
        Err(Error::Wrong(errors)) => errors.to_string(),
        other => panic!("no problems but {other:?}"),
    };
    text.lines().map(|line| line.replace(&format!("{}/", dir.display()), "")).collect()
}

fn problem_of(args: &[&str]) -> String {
    let lines = problems(Path::new("/nowhere"), &flags(args));
    assert_eq!(lines.len(), 1, "{lines:#?}");
    lines[0].clone()
}

fn defaults() -> Config {
    Config {
        name: "Duplex".into(),
        listen: vec!["127.0.0.1:8443".parse().unwrap(), "[::1]:8443".parse().unwrap()],
        plain: false,
        help_listen: None,
        state_dir: "/home/robot/.local/state/duplex".into(),
        cert: None,
        key: None,
        names: vec![],
        ice_servers: vec![],
        video: VideoSource::Test,
        audio: AudioSource::Test,
        audio_volume: 1.0,
        audio_mute: false,
        camera: Camera::default(),
        width: 1280,
        height: 720,
        framerate: 30,
        video_codec: VideoCodec::Vp8,
        video_bitrate: 2000,
        ladder: 3,
        audio_bitrate: 64,
        publish: None,
        publish_token: None,
        publish_ca: None,
        sound: SoundSink::Speaker(None),
        sound_volume: 1.0,
        sound_mute: false,
        jitter_buffer: 80,
        picture: vec![PictureSink::Overlay],
        overlay: Overlay { corner: Corner::BottomRight, size: 0.25, margin: 16 },
        record: RecordRule::Off,
        record_dir: None,
        record_max_size: 2000,
        record_max_age: 30,
        room: Room { echo: Echo::Auto, noise: Noise::Off, gain: false },
        record_min_free: 200,
        clips: None,
        duck: 20.0,
        talk_limit: 0,
        max_viewers: 32,
        max_peers: 64,
        negotiation_timeout: 12,
        idle_grace: 5,
        web_app: None,
        log: "info".into(),
        log_format: LogFormat::Auto,
    }
}

#[test]
fn nothing_given_is_the_defaults() {
    assert_eq!(load(&Flags::default(), home).unwrap(), defaults());
}

#[test]
fn sample_uncommented_is_the_defaults_and_names_every_key() {
    let dir = tempfile::tempdir().unwrap();
    let text: Vec<String> = sample()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|first: char| first.is_ascii_lowercase()) => key.to_owned(),
            _ => line.to_owned(),
        })
        .collect();
    let text = text.join("\n");
    let table: toml::Table = text.parse().unwrap();
    let mut named: Vec<&str> = table.keys().map(String::as_str).collect();
    let mut known: Vec<&str> = keys().map(|key| key.name).collect();
    named.sort_unstable();
    known.sort_unstable();
    assert_eq!(named, known);
    assert_eq!(load(&file(dir.path(), &text), home).unwrap(), defaults());
    // As delivered, with everything commented out, it is a valid file as well.
    assert_eq!(load(&file(dir.path(), &sample()), home).unwrap(), defaults());
    assert!(sample().lines().all(|line| line.chars().count() <= 110), "a line is too long");
}

#[test]
fn the_example_of_an_ice_server_in_the_sample_is_right() {
    let dir = tempfile::tempdir().unwrap();
    secret(&dir.path().join("turn-credential"), 0o600);
    let sample = sample();
    let start = sample.find("# [[ice-server]]\n").unwrap();
    let example = sample[start..].replace("# ", "");
    let config = load(&file(dir.path(), &example), home).unwrap();
    assert_eq!(config.ice_servers.len(), 1);
}

#[test]
fn every_key_is_a_flag_a_variable_and_a_toml_key() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path().display();
    for name in ["c.pem", "k.pem", "clip.mp4", "index.html"] {
        secret(&dir.path().join(name), 0o600);
    }
    let (cert, key, video) = (format!("{d}/c.pem"), format!("{d}/k.pem"), format!("file:{d}/clip.mp4"));
    let folder = d.to_string();
    // Key, value as a flag takes it, value as TOML. None of them is the default.
    let given: Vec<(&str, &str, String)> = vec![
        ("name", "Porch", "\"Porch\"".into()),
        ("listen", "127.0.0.2:1", "[\"127.0.0.2:1\"]".into()),
        ("plain", "true", "true".into()),
        ("help-listen", "0.0.0.0:8080", "\"0.0.0.0:8080\"".into()),
        ("state-dir", &folder, format!("{folder:?}")),
        ("cert", &cert, format!("{cert:?}")),
        ("key", &key, format!("{key:?}")),
        ("names", "porch.lan,192.0.2.7", "[\"porch.lan\", \"192.0.2.7\"]".into()),
        ("stun", "stun:stun.example.org:3478", "\"stun:stun.example.org:3478\"".into()),
        ("max-viewers", "4", "4".into()),
        ("ladder", "off", "\"off\"".into()),
        ("max-peers", "5", "5".into()),
        ("negotiation-timeout", "20", "20".into()),
        ("web-app", &folder, format!("{folder:?}")),
        ("video", &video, format!("{video:?}")),
        ("audio", "speech:Hello, you", "\"speech:Hello, you\"".into()),
        ("audio-volume", "0.5", "0.5".into()),
        ("audio-mute", "true", "true".into()),
        ("camera-rotate", "90", "\"90\"".into()),
        ("camera-mirror", "true", "true".into()),
        ("camera-exposure", "10000", "\"10000\"".into()),
        ("camera-white-balance", "4600", "\"4600\"".into()),
        ("camera-controls", "gain=4", "[\"gain=4\"]".into()),
        ("width", "640", "640".into()),
        ("height", "480", "480".into()),
        ("framerate", "15", "15".into()),
        ("video-codec", "h264", "\"h264\"".into()),
        ("video-bitrate", "1500", "1500".into()),
        ("audio-bitrate", "32", "32".into()),
        ("echo", "cancel", "\"cancel\"".into()),
        ("noise-suppression", "low", "\"low\"".into()),
        ("gain-control", "true", "true".into()),
        ("duck", "12.5", "12.5".into()),
        ("idle-grace", "0", "0".into()),
        ("publish-url", "https://sfu.example.org/whip", "\"https://sfu.example.org/whip\"".into()),
        ("publish-token-file", &key, format!("{key:?}")),
        ("publish-ca", &cert, format!("{cert:?}")),
        ("sound", "discard", "\"discard\"".into()),
        ("sound-volume", "0.5", "0.5".into()),
        ("sound-mute", "true", "true".into()),
        ("jitter-buffer", "200", "200".into()),
        ("picture", "overlay,record:/tmp/none", "[\"overlay\", \"record:/tmp/none\"]".into()),
        ("overlay-corner", "top-left", "\"top-left\"".into()),
        ("overlay-size", "0.5", "0.5".into()),
        ("overlay-margin", "0", "0".into()),
        ("record", "talk", "\"talk\"".into()),
        ("record-dir", "/tmp/none", "\"/tmp/none\"".into()),
        ("record-max-size", "10", "10".into()),
        ("record-max-age", "0", "0".into()),
        ("record-min-free", "10", "10".into()),
        ("clips", &folder, format!("{folder:?}")),
        ("talk-limit", "60", "60".into()),
        ("log", "debug", "\"debug\"".into()),
        ("log-format", "json", "\"json\"".into()),
    ];
    let known: Vec<&str> = keys().map(|key| key.name).collect();
    let mut covered: Vec<&str> = given.iter().map(|(key, ..)| *key).collect();
    assert_eq!(covered.len(), known.len());
    covered.retain(|key| !known.contains(key));
    assert_eq!(covered, [""; 0]);

    let args: Vec<String> = given.iter().map(|(key, value, _)| format!("--{key}={value}")).collect();
    let by_flags = load(&flags(&args.iter().map(String::as_str).collect::<Vec<_>>()), home).unwrap();

    let variables: HashMap<String, String> = given
        .iter()
        .map(|(key, value, _)| (format!("DUPLEX_{}", key.to_uppercase().replace('-', "_")), (*value).to_owned()))
        .collect();
    let by_environment = load(&Flags::default(), |name| variables.get(name).cloned()).unwrap();

    let text: Vec<String> = given.iter().map(|(key, _, toml)| format!("{key} = {toml}")).collect();
    let by_file = load(&file(dir.path(), &text.join("\n")), home).unwrap();

    assert_eq!(by_flags, by_environment);
    assert_eq!(by_flags, by_file);
    for (key, value, _) in &given {
        // Each value arrives somewhere: without this one the configuration is another one.
        let rest: Vec<&str> =
            args.iter().map(String::as_str).filter(|arg| !arg.starts_with(&format!("--{key}="))).collect();
        match load(&flags(&rest), home) {
            Ok(config) => assert_ne!(config, by_flags, "{key} = {value} has no effect"),
            Err(error) => {
                assert!(
                    ["listen", "cert", "key", "max-viewers", "max-peers", "publish-url"].contains(key),
                    "{key}: {error}"
                )
            }
        }
    }
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let mut given = file(dir.path(), "width = 320\nheight = 240\nframerate = 10");
    given = given.with("width", "800");
    let env = |name: &str| match name {
        "DUPLEX_WIDTH" => Some("640".to_owned()),
        "DUPLEX_HEIGHT" => Some("480".to_owned()),
        // Empty is as good as not set, as in a systemd unit that resets a variable.
        "DUPLEX_FRAMERATE" => Some(String::new()),
        other => home(other),
    };
    let config = load(&given, env).unwrap();
    assert_eq!((config.width, config.height, config.framerate), (800, 480, 10));
    assert_eq!(config.video_bitrate, 2000);
}

#[test]
fn the_file_is_found_by_variable_and_the_flag_wins() {
    let dir = tempfile::tempdir().unwrap();
    let by_variable = dir.path().join("a.toml");
    fs::write(&by_variable, "name = \"a\"").unwrap();
    let env = |name: &str| {
        if name == "DUPLEX_CONFIG" { Some(by_variable.display().to_string()) } else { home(name) }
    };
    assert_eq!(load(&Flags::default(), env).unwrap().name, "a");
    assert_eq!(load(&file(dir.path(), "name = \"b\""), env).unwrap().name, "b");
}

#[test]
fn everything_wrong_is_told_together() {
    let dir = tempfile::tempdir().unwrap();
    let mut given = file(
        dir.path(),
        "video-bitrate = \"fast\"\nvideo_bitrat = 3\npassword = \"hunter2\"\nwidth = 641\nname = 5\n\
         video = \"file:gone.mp4\"\npicture = [\"discard\", \"overlay\"]\nplain = \"yes\"\n",
    );
    given = given.with("framerate", "-3").with("cert", "c.pem");
    let env = |name: &str| if name == "DUPLEX_DUCK" { Some("61".to_owned()) } else { home(name) };
    let Err(Error::Wrong(errors)) = load(&given, env) else { panic!("accepted") };
    let text = errors.to_string().replace(&format!("{}/", dir.path().display()), "");
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "cert = \"c.pem\" (--cert): must be a file that can be read, but c.pem: no such file or folder",
            "cert = \"c.pem\" (--cert): must come together with key",
            "duck = \"61\" (DUPLEX_DUCK): must be a number of dB from 0 to 60",
            "framerate = \"-3\" (--framerate): must be a whole number of frames per second from 1 to 60",
            "name = 5 (duplex.toml): must be 1 to 64 characters, none of them a control character",
            "password (duplex.toml): is not a known key; `duplex sample-config` lists all",
            "picture = [\"discard\", \"overlay\"] (duplex.toml): must be overlay, record:FOLDER, both as overlay,record:FOLDER, or discard alone",
            "plain = \"yes\" (duplex.toml): must be true or false",
            "video = \"file:gone.mp4\" (duplex.toml): must be a file that can be read, but gone.mp4: no such file or folder",
            "video-bitrate = \"fast\" (duplex.toml): must be a whole number of kbit/s from 100 to 20000",
            "video_bitrat (duplex.toml): is not a known key; did you mean video-bitrate?",
            "width = 641 (duplex.toml): must be an even whole number of pixels from 160 to 1920",
        ]
    );
}

#[test]
fn a_bad_value_is_refused_also_where_a_flag_overrides_it() {
    let dir = tempfile::tempdir().unwrap();
    let given = file(dir.path(), "framerate = 900").with("framerate", "30");
    assert_eq!(
        problems(dir.path(), &given),
        ["framerate = 900 (duplex.toml): must be a whole number of frames per second from 1 to 60"]
    );
}

#[test]
fn text_where_a_list_belongs_is_shown_as_one() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        problems(dir.path(), &file(dir.path(), "picture = \"overlay\"")),
        ["picture = \"overlay\" (duplex.toml): must be a list, in brackets: picture = [\"overlay\"]"]
    );
    assert_eq!(
        problems(dir.path(), &file(dir.path(), "picture = 1")),
        ["picture = 1 (duplex.toml): must be overlay, record:FOLDER, both as overlay,record:FOLDER, or discard alone"]
    );
}

#[test]
fn a_missing_or_broken_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut missing = Flags::default();
    missing.config = Some(dir.path().join("none.toml"));
    let text = load(&missing, home).unwrap_err().to_string();
    assert!(text.contains("none.toml") && text.contains("No such file"), "{text}");
    let text = load(&file(dir.path(), "width = \n"), home).unwrap_err().to_string();
    assert!(text.contains("duplex.toml is not valid TOML") && text.contains("line 1"), "{text}");
}

#[test]
fn plain_is_for_loopback_only() {
    assert!(load(&flags(&["--plain"]), home).unwrap().plain);
    assert!(!load(&flags(&["--plain=false", "--listen", "0.0.0.0:8443"]), home).unwrap().plain);
    assert_eq!(
        problem_of(&["--plain", "--listen", "127.0.0.1:80,192.0.2.1:80"]),
        "plain = \"true\" (--plain): must be false, because listen has 192.0.2.1:80, which is not loopback"
    );
}

#[test]
fn addresses() {
    assert_eq!(load(&flags(&["--listen", "[::]:0"]), home).unwrap().listen, ["[::]:0".parse().unwrap()]);
    assert!(
        problem_of(&["--listen", "127.0.0.1:0", "--listen", "[::1]:0"])
            .contains("must be one address alone if its port is 0")
    );
    assert!(problem_of(&["--listen", "localhost:8443"]).contains("IP addresses, no names"));
    assert!(problem_of(&["--listen", ""]).contains("must be a list of"));
    assert!(problem_of(&["--listen", "[::1]:1,[::1]:1"]).contains("no address stands twice"));
    assert!(problem_of(&["--help-listen", "[::1]:8443"]).contains("must be another address than those of listen"));
    assert!(problem_of(&["--help-listen", "8080"]).contains("ADDRESS:PORT such as 0.0.0.0:8080"));
}

#[test]
fn host_names() {
    let names = load(&flags(&["--names", "Porch.LAN", "--names", "a-1.example.org,192.0.2.7,2001:db8::1"]), home)
        .unwrap()
        .names;
    assert_eq!(names, ["porch.lan", "a-1.example.org", "192.0.2.7", "2001:db8::1"]);
    for bad in ["*.lan", "porch.", "-a", "a b", "300.1.1.1", "a..b", "https://x", "x:80", "ü.lan", &"a".repeat(64)] {
        assert!(problem_of(&[&format!("--names={bad}")]).contains("DNS names"), "{bad}");
    }
}

#[test]
fn state_folder_follows_the_environment() {
    let of = |pairs: &[(&str, &str)]| {
        let pairs: HashMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        load(&Flags::default(), move |name| pairs.get(name).cloned()).map(|config| config.state_dir)
    };
    let all = [("STATE_DIRECTORY", "/var/lib/duplex:/var/lib/other"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
    assert_eq!(of(&all).unwrap(), Path::new("/var/lib/duplex"));
    assert_eq!(of(&all[1..]).unwrap(), Path::new("/x/duplex"));
    assert_eq!(of(&all[2..]).unwrap(), Path::new("/h/.local/state/duplex"));
    assert_eq!(of(&[("XDG_STATE_HOME", "x"), ("HOME", "/h")]).unwrap(), Path::new("/h/.local/state/duplex"));
    let text = of(&[]).unwrap_err().to_string();
    assert!(text.contains("state-dir") && text.contains("HOME"), "{text}");
}

#[test]
fn the_state_folder_alone_is_found_whatever_else_is_wrong() {
    let given = flags(&["--width", "5", "--video", "file:/none", "--state-dir", "/s"]);
    assert_eq!(state_dir(&given, home).unwrap(), Path::new("/s"));
    let text = state_dir(&flags(&["--width", "5", "--state-dir", "/dev/null"]), home).unwrap_err().to_string();
    assert!(text.starts_with("state-dir = \"/dev/null\"") && text.lines().count() == 1, "{text}");
}

#[test]
fn relative_paths_start_from_the_file_and_flags_from_here() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for name in ["c.pem", "k.pem", "clip.mp4"] {
        secret(&d.join(name), 0o600);
    }
    let text = "state-dir = \"state\"\ncert = \"c.pem\"\nkey = \"k.pem\"\nvideo = \"file:clip.mp4\"\naudio = \"file:clip.mp4\"\n\
                sound = \"file:out.wav\"\npicture = [\"record:talks\"]\n";
    let config = load(&file(d, text), home).unwrap();
    assert_eq!(config.state_dir, d.join("state"));
    assert_eq!((config.cert, config.key), (Some(d.join("c.pem")), Some(d.join("k.pem"))));
    assert_eq!(config.video, VideoSource::File(d.join("clip.mp4")));
    assert_eq!(config.audio, AudioSource::File(d.join("clip.mp4")));
    assert_eq!(config.sound, SoundSink::File(d.join("out.wav")));
    assert_eq!(config.picture, [PictureSink::Record(d.join("talks"))]);
    let config = load(&file(d, "video = \"image:clip.mp4\""), home).unwrap();
    assert_eq!(config.video, VideoSource::Image(d.join("clip.mp4")));
    let config = load(&flags(&["--picture", "record:talks"]), home).unwrap();
    assert_eq!(config.picture, [PictureSink::Record("talks".into())]);
}

#[test]
fn files_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    secret(&d.join("k.pem"), 0o644);
    secret(&d.join("c.pem"), 0o644);
    let path = |name: &str| d.join(name).display().to_string();
    let check = |args: &[&str]| problem_of(args).replace(&format!("{}/", d.display()), "");
    assert!(
        check(&["--cert", &path("c.pem"), "--key", &path("k.pem")])
            .contains("must not be open to everybody; run `chmod 600 k.pem`")
    );
    assert!(check(&["--video", &format!("image:{}", d.display())]).contains("must be a file, but"));
    assert!(
        check(&["--sound", &format!("file:{}", path("none/x.wav"))])
            .contains("must be a file in a folder that is there")
    );
    assert!(check(&["--picture", &format!("record:{}", path("c.pem"))]).contains("must record into a folder"));
    assert!(check(&["--web-app", &path("")]).contains("a folder with an index.html"));
    assert!(check(&["--state-dir", &path("c.pem")]).contains("must be a folder"));
    // A device that is not there is no error.
    load(&flags(&["--video", "camera:none", "--audio", "microphone:none", "--sound", "speaker:hw:9,9"]), home).unwrap();
}

#[test]
fn ice_servers_of_file_and_flag() {
    let dir = tempfile::tempdir().unwrap();
    secret(&dir.path().join("turn"), 0o600);
    let text = "[[ice-server]]\nurls = \"turns:turn.example.org:5349?transport=tcp\"\nusername = \"u\"\ncredential-file = \"turn\"\n\
                [[ice-server]]\nurls = \"stun:[2001:db8::1]:3478\"\n";
    let config = load(&file(dir.path(), text).with("stun", "stun:192.0.2.1"), home).unwrap();
    let urls: Vec<&str> = config.ice_servers.iter().map(|server| server.urls.as_str()).collect();
    assert_eq!(urls, ["stun:192.0.2.1", "turns:turn.example.org:5349?transport=tcp", "stun:[2001:db8::1]:3478"]);
    assert_eq!(config.ice_servers[1].username.as_deref(), Some("u"));
    assert_eq!(config.ice_servers[1].credential_file, Some(dir.path().join("turn")));

    let text = "[[ice-server]]\nurls = \"turn:t\"\n[[ice-server]]\nurls = \"http://x\"\n[[ice-server]]\nusernam = \"u\"\n\
                [[ice-server]]\nurls = 5\n[[ice-server]]\nurls = \"stun:x\"\ncredential = \"hunter2\"";
    let lines = problems(dir.path(), &file(dir.path(), text));
    assert_eq!(
        lines,
        [
            "ice-server[2].usernam (duplex.toml): is not a known key; did you mean username?",
            "ice-server[3].urls = 5 (duplex.toml): must be text in quotes",
            "ice-server[4].credential (duplex.toml): must not stand here; write it into a file and name that in credential-file",
            "ice-server[0].urls = \"turn:t\" (duplex.toml): must come with username and credential-file, which every TURN server asks for",
            "ice-server[1].urls = \"http://x\" (duplex.toml): must be stun:HOST[:PORT], turn:HOST[:PORT] or turns:HOST[:PORT], TURN also with ?transport=udp or ?transport=tcp",
            "ice-server[2].urls (duplex.toml): must be given",
        ]
    );
    for bad in [
        "stun://h",
        "stun:",
        "stun:h:0",
        "stun:h:x",
        "stun:h:",
        "stun:h?transport=udp",
        "turn:h",
        "stun:[::1",
        "stun:[::1]x",
        "stun:h:99999",
    ] {
        assert!(problem_of(&["--stun", bad]).contains("must be stun:HOST or stun:HOST:PORT, or off"), "{bad}");
    }
    let lines = problems(dir.path(), &file(dir.path(), "ice-server = \"stun:x\""));
    assert_eq!(lines, ["ice-server (duplex.toml): must be written as [[ice-server]] tables"]);
}

#[test]
fn rules_that_join_keys_wait_for_sound_values() {
    assert!(
        problem_of(&["--max-viewers", "100"])
            .contains("max-peers = \"64\" (default): must be at least max-viewers, which is 100")
    );
    assert!(problem_of(&["--max-viewers", "many", "--max-peers", "3"]).starts_with("max-viewers"));
    assert!(problem_of(&["--sound-volume", "NaN"]).contains("must be a number from 0 to 2"));
}

#[test]
fn where_to_publish() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    secret(&d.join("token"), 0o600);
    secret(&d.join("open"), 0o644);
    fs::write(d.join("ca.pem"), "x").unwrap();
    let of = |text: &str| load(&file(d, text), home).map(|config| config.publish.unwrap().to_string());
    let wrong = |text: &str| {
        let lines = problems(d, &file(d, text));
        assert_eq!(lines.len(), 1, "{lines:#?}");
        lines[0].clone()
    };
    let all = "publish-url = \"https://sfu.example/whip\"\npublish-token-file = \"token\"\npublish-ca = \"ca.pem\"";
    assert_eq!(of(all).unwrap(), "https://sfu.example/whip");
    assert_eq!(
        wrong("publish-url = \"http://sfu.example/whip\""),
        "publish-url = \"http://sfu.example/whip\" (duplex.toml): must be https://, because plain http:// is for loopback addresses alone"
    );
    assert!(wrong("publish-url = \"sfu.example\"").contains("must be https://HOST[:PORT]/PATH, file:PATH"));
    assert!(wrong("publish-token-file = \"token\"").contains("must come together with publish-url"));
    assert!(wrong("publish-ca = \"ca.pem\"").contains("must come together with publish-url"));
    assert!(
        wrong("publish-url = \"https://a/\"\npublish-token-file = \"open\"").contains("must not be open to everybody")
    );
    assert!(wrong("publish-url = \"http://[::1]/\"\npublish-ca = \"ca.pem\"").contains("must be empty"));
    assert!(wrong("publish-url = \"file:open\"").contains("must not be open to everybody"));
    // The address of a file is a secret: what is wrong with it is told without it.
    let said = wrong("publish-url = \"file:token\"");
    assert_eq!(
        said,
        "publish-url = \"file:token\" (duplex.toml): is a file whose first line must be https://HOST[:PORT]/PATH, \
         file:PATH of a file whose first line is such an address, or off"
    );
    fs::write(d.join("token"), "https://sfu.example/secret/publish\n").unwrap();
    assert_eq!(of("publish-url = \"file:token\"").unwrap(), format!("file:{}", d.join("token").display()));
}

#[test]
fn kinds_round_trip() {
    fn all<T: std::str::FromStr<Err = RuleError> + std::fmt::Display + PartialEq + std::fmt::Debug>(texts: &[&str]) {
        for text in texts {
            let value: T = text.parse().unwrap();
            assert_eq!(value.to_string(), *text);
            assert_eq!(value.to_string().parse::<T>().unwrap(), value);
        }
    }
    all::<VideoSource>(&["test", "file:a b:c.mp4", "image:/x.png", "camera:auto", "camera:HD: Pro, 1"]);
    all::<AudioSource>(&[
        "test",
        "silence",
        "file:x.ogg",
        "speech:Hello: you, there",
        "microphone:auto",
        "microphone:hw:2,0",
    ]);
    all::<SoundSink>(&["speaker:auto", "speaker:hw:1,0", "file:x.wav", "file:X.WAV", "discard"]);
    all::<PictureSink>(&["discard", "record:a/b", "overlay"]);
    all::<VideoCodec>(&["vp8", "h264"]);
    all::<Corner>(&["top-left", "top-right", "bottom-left", "bottom-right"]);
    all::<LogFormat>(&["auto", "human", "json"]);
    all::<RecordRule>(&["off", "always", "talk"]);
    assert_eq!("camera:".parse(), Ok(VideoSource::Camera(None)));
    assert_eq!("microphone:".parse(), Ok(AudioSource::Microphone(None)));
    assert_eq!("speaker:".parse(), Ok(SoundSink::Speaker(None)));
    assert!("camera:\u{7}".parse::<VideoSource>().is_err() && "speaker:a\nb".parse::<SoundSink>().is_err());
}

#[test]
fn kinds_refuse() {
    for bad in ["", "Test", "test:", "file:", "image:", "camera", "tape:x"] {
        assert!(bad.parse::<VideoSource>().is_err(), "{bad}");
    }
    let long = format!("speech:{}", "a".repeat(1001));
    for bad in ["", "silence:", "file:", "speech:", "speech:  ", "microphone", &long] {
        assert!(bad.parse::<AudioSource>().is_err(), "{bad}");
    }
    assert!(format!("speech:{}", "ä".repeat(1000)).parse::<AudioSource>().is_ok());
    for bad in ["", "file:x.mp3", "file:", "file:.wav", "speaker", "discard:"] {
        assert!(bad.parse::<SoundSink>().is_err(), "{bad}");
    }
    for bad in ["", "record:", "record", "overlay:x"] {
        assert!(bad.parse::<PictureSink>().is_err(), "{bad}");
    }
    assert!(problem_of(&["--camera-controls", "gain=4,gain=5"]).contains("no control stands twice"));
    assert!(problem_of(&["--picture", "overlay,overlay"]).contains("nothing stands twice"));
}

#[test]
fn help_shows_every_key_with_rule_and_default() {
    let help = <Cli as clap::CommandFactory>::command().render_long_help().to_string();
    for key in keys() {
        assert!(help.contains(&format!("--{}", key.name)), "{} is missing", key.name);
    }
    assert!(help.contains("[a whole number of kbit/s from 100 to 20000; default: 2000]"), "{help}");
}

fn secret(path: &Path, mode: u32) {
    fs::write(path, "x").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_misspelt_variable_is_told() {
    let names = ["DUPLEX_VIDEO_BITRAET", "DUPLEX_VIDEO_BITRATE", "DUPLEX_CONFIG", "PATH"].map(str::to_owned);
    assert_eq!(
        unknown_variables(names),
        [
            "the variable DUPLEX_VIDEO_BITRAET has no effect: video-bitraet is not a known key; did you mean video-bitrate?"
        ]
    );
}

#[test]
fn a_camera_is_set_by_its_own_keys() {
    let args =
        ["--camera-rotate", "90", "--camera-mirror", "--camera-exposure", "10000", "--camera-white-balance", "4600"];
    let mut config = load(&flags(&[&args[..], &["--camera-controls", "gain=4,brightness=-3"]].concat()), home).unwrap();
    let camera = Camera {
        rotate: 90,
        mirror: true,
        exposure: Auto::Fixed(10_000),
        white_balance: Auto::Fixed(4600),
        controls: vec![("gain".into(), 4), ("brightness".into(), -3)],
    };
    assert_eq!(config.camera, camera);
    for (key, wrong, rule) in [
        ("rotate", "45", "must be 0, 90, 180 or 270 degrees"),
        ("exposure", "dark", "must be auto, or microseconds from 100 to 1000000"),
        ("white-balance", "200", "must be auto, or Kelvin from 2000 to 10000"),
        ("controls", "Gain=4", "must be a list of NAME=NUMBER"),
    ] {
        let said = problem_of(&[&format!("--camera-{key}"), wrong]);
        assert!(said.contains(rule), "{said}");
    }
    // What is changed while running is judged by the same rules, and alone.
    config.video = VideoSource::File("/gone/since.mp4".into());
    let table = |text: &str| text.parse::<toml::Table>().unwrap();
    assert_eq!(config.with(&table("audio-volume = 0.5"), Path::new("change")).unwrap().audio_volume, 0.5);
    let wrong =
        config.with(&table("sound-volume = 3.5\naudio = \"file:/nowhere.wav\""), Path::new("change")).unwrap_err();
    let lines: Vec<String> = wrong.0.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("/nowhere.wav") || lines[1].contains("/nowhere.wav"), "{lines:#?}");
}

#[test]
fn a_slip_of_the_finger_leads_to_the_key_and_the_first_word_of_keys_to_them() {
    let said = |name: &str| {
        let values = toml::Table::from_iter([(name.to_owned(), "x".into())]);
        let mut layers = super::layers::Layers::defaults();
        layers.file(Path::new("duplex.toml"), &values);
        layers.finish().unwrap_err().to_string()
    };
    assert!(
        said("publish").contains("did you mean publish-url, publish-token-file or publish-ca?"),
        "{}",
        said("publish")
    );
    assert!(said("ice").contains("did you mean ice-server?"), "{}", said("ice"));
    for (slip, meant) in
        [("vidoe", "video"), ("aduio", "audio"), ("nmae", "name"), ("widht", "width"), ("lisen", "listen")]
    {
        assert!(said(slip).ends_with(&format!("did you mean {meant}?")), "{}", said(slip));
    }
    assert!(said("hello").ends_with("lists all"), "{}", said("hello"));
}
