//! Puts the sources of configuration on top of each other and collects what is wrong in them.
//!
//! In: defaults, a TOML table, variables, flags, in this order. Out: a [`Config`] with its problems.
//! Never: touches the file system; that is `check`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::keys::{Key, Kind, keys};
use super::{
    AudioSource, Auto, Camera, Config, Corner, Echo, Error, Errors, Flags, IceServer, LogFormat, Noise, Overlay,
    PictureSink, Problem, Publish, RecordRule, Room, SoundSink, VideoCodec, VideoSource,
};

/// The configuration while it is being put together.
pub(super) struct Layers {
    pub config: Config,
    /// Servers of the file's `[[ice-server]]` tables; they follow the one of `stun`.
    ice_servers: Vec<IceServer>,
    /// Per key: the value that holds, as TOML, and where it stands.
    given: BTreeMap<&'static str, (String, String)>,
    problems: Vec<Problem>,
}

impl Layers {
    /// Starts with the defaults of the table.
    pub fn defaults() -> Self {
        let mut layers =
            Self { config: blank(), ice_servers: Vec::new(), given: BTreeMap::new(), problems: Vec::new() };
        for key in keys() {
            layers.texts(key, &[key.default.to_owned()], "default");
        }
        layers
    }

    /// Starts with a configuration that has been checked.
    pub fn over(config: Config) -> Self {
        Self { config, ice_servers: Vec::new(), given: BTreeMap::new(), problems: Vec::new() }
    }

    /// Adds the file's keys. Relative paths in it start from the file's own folder.
    pub fn file(&mut self, path: &Path, table: &toml::Table) {
        let origin = path.display().to_string();
        let base = path.parent().unwrap_or(Path::new(""));
        for (name, value) in table {
            if name == ICE_SERVER {
                self.ice_server_tables(value, &origin, base);
            } else if let Some(key) = keys().find(|key| key.name == name) {
                match typed(&key.kind, value) {
                    Some(typed) => self.set(key, typed, shown(value), &origin, base),
                    None => self.refuse(key.name, shown(value), wrong_type(key, value), &origin),
                }
            } else {
                let known: Vec<&str> = keys().map(|key| key.name).chain([ICE_SERVER]).collect();
                self.refuse(name, String::new(), unknown(name, &known), &origin);
            }
        }
    }

    /// Adds the `DUPLEX_...` variables.
    pub fn environment(&mut self, env: &dyn Fn(&str) -> Option<String>) {
        for key in keys() {
            let variable = key.variable();
            if let Some(text) = env(&variable) {
                self.texts(key, &[text], &variable);
            }
        }
    }

    /// Adds the flags.
    pub fn flags(&mut self, flags: &Flags) {
        for key in keys() {
            if let Some(texts) = flags.given(key.name) {
                self.texts(key, texts, &format!("--{}", key.name));
            }
        }
    }

    /// The value of `key` as TOML and where it stands.
    pub fn given(&self, key: &str) -> (String, String) {
        self.given.get(key).cloned().unwrap_or_default()
    }

    /// Whether none of `keys` has a problem so far; only then can a rule that joins them be judged.
    pub fn clean(&self, keys: &[&str]) -> bool {
        !self.problems.iter().any(|problem| keys.contains(&problem.key.as_str()))
    }

    /// Notes that the value of `key` breaks `rule`.
    pub fn wrong(&mut self, key: &str, rule: impl Into<String>) {
        let (value, origin) = self.given(key);
        self.refuse(key, value, rule.into(), &origin);
    }

    /// Notes a problem of the server at `index` of the file's tables.
    pub fn wrong_ice_server(&mut self, index: usize, key: &str, value: String, rule: &str) {
        let origin = self.given(ICE_SERVER).1;
        self.refuse(&format!("{ICE_SERVER}[{index}].{key}"), value, rule.to_owned(), &origin);
    }

    /// The servers of the file's tables.
    pub fn ice_server_list(&self) -> &[IceServer] {
        &self.ice_servers
    }

    /// Forgets the problems of all other keys.
    pub fn keep_problems_of(&mut self, key: &str) {
        self.problems.retain(|problem| problem.key == key);
    }

    /// Forgets the problems of a key that is not what is being judged.
    pub fn forget_problems_of(&mut self, key: &str) {
        self.problems.retain(|problem| problem.key != key);
    }

    /// The configuration, if nothing is wrong.
    pub fn finish(mut self) -> Result<Config, Error> {
        if self.problems.is_empty() {
            self.config.ice_servers.append(&mut self.ice_servers);
            Ok(self.config)
        } else {
            Err(Errors(self.problems).into())
        }
    }

    /// Reads a value from texts, as flags, variables and defaults have them.
    fn texts(&mut self, key: &'static Key, texts: &[String], origin: &str) {
        let last = texts.last().map_or("", String::as_str);
        let typed = match key.kind {
            Kind::Switch(_) => last.parse().ok().map(Typed::Switch),
            Kind::Whole { .. } => last.parse().ok().map(Typed::Whole),
            Kind::Number { .. } => last.parse().ok().map(Typed::Number),
            Kind::Text { .. } => Some(Typed::Text(last.to_owned())),
            Kind::List { .. } => {
                let items = texts.iter().flat_map(|text| text.split(',')).map(|item| item.trim().to_owned());
                Some(Typed::List(items.filter(|item| !item.is_empty()).collect()))
            }
        };
        let shown = shown(&toml::Value::from(texts.join(",")));
        match typed {
            Some(typed) => self.set(key, typed, shown, origin, Path::new("")),
            None => self.refuse(key.name, shown, must_be(&key.rule()), origin),
        }
    }

    fn set(&mut self, key: &'static Key, value: Typed, shown: String, origin: &str, base: &Path) {
        let config = &mut self.config;
        let given = if let Typed::List(items) = &value { items.join(",") } else { shown.clone() };
        let result = match (&key.kind, value) {
            (Kind::Switch(set), Typed::Switch(on)) => {
                set(config, on);
                Ok(())
            }
            (Kind::Whole { min, max, even, set, .. }, Typed::Whole(value))
                if (*min..=*max).contains(&value) && !(*even && value % 2 == 1) =>
            {
                set(config, value);
                Ok(())
            }
            (Kind::Number { min, max, set, .. }, Typed::Number(value)) if (*min..=*max).contains(&value) => {
                set(config, value);
                Ok(())
            }
            (Kind::Text { set, .. }, Typed::Text(text)) => set(config, &text, base).map_err(|rule| rule.to_string()),
            (Kind::List { set, .. }, Typed::List(items)) => set(config, &items, base).map_err(|rule| rule.to_string()),
            _ => Err(must_be(&key.rule())),
        };
        match result {
            Ok(()) => {
                self.given.insert(key.name, (given, origin.to_owned()));
            }
            Err(rule) => self.refuse(key.name, shown, rule, origin),
        }
    }

    fn ice_server_tables(&mut self, value: &toml::Value, origin: &str, base: &Path) {
        self.given.insert(ICE_SERVER, (String::new(), origin.to_owned()));
        let tables: Option<Vec<&toml::Table>> =
            value.as_array().and_then(|array| array.iter().map(toml::Value::as_table).collect());
        let Some(tables) = tables else {
            self.refuse(ICE_SERVER, String::new(), "must be written as [[ice-server]] tables".to_owned(), origin);
            return;
        };
        for (index, table) in tables.into_iter().enumerate() {
            let mut server = IceServer { urls: String::new(), username: None, credential_file: None };
            for (name, value) in table {
                let place = format!("{ICE_SERVER}[{index}].{name}");
                match (name.as_str(), value.as_str()) {
                    ("urls", Some(text)) => text.clone_into(&mut server.urls),
                    ("username", Some(text)) => server.username = Some(text.to_owned()),
                    ("credential-file", Some(text)) => server.credential_file = Some(base.join(text)),
                    ("urls" | "username" | "credential-file", None) => {
                        self.refuse(&place, shown(value), must_be("text in quotes"), origin);
                    }
                    ("credential", _) => {
                        let rule = "must not stand here; write it into a file and name that in credential-file";
                        self.refuse(&place, String::new(), rule.to_owned(), origin);
                    }
                    _ => {
                        let known = ["urls", "username", "credential-file"];
                        self.refuse(&place, String::new(), unknown(name, &known), origin);
                    }
                }
            }
            self.ice_servers.push(server);
        }
    }

    fn refuse(&mut self, key: &str, value: String, rule: String, origin: &str) {
        self.problems.push(Problem { key: key.to_owned(), value, rule, origin: origin.to_owned() });
    }
}

const ICE_SERVER: &str = "ice-server";

/// A value whose type fits its key, not yet its rule.
enum Typed {
    Switch(bool),
    Whole(u64),
    Number(f64),
    Text(String),
    List(Vec<String>),
}

fn typed(kind: &Kind, value: &toml::Value) -> Option<Typed> {
    match kind {
        Kind::Switch(_) => value.as_bool().map(Typed::Switch),
        Kind::Whole { .. } => value.as_integer().and_then(|number| u64::try_from(number).ok()).map(Typed::Whole),
        Kind::Number { .. } => {
            value.as_float().or_else(|| value.as_integer().map(|number| number as f64)).map(Typed::Number)
        }
        Kind::Text { .. } => value.as_str().map(|text| Typed::Text(text.to_owned())),
        Kind::List { .. } => {
            let items = value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned));
            items.collect::<Option<Vec<_>>>().map(Typed::List)
        }
    }
}

/// The sentence for a value of another type than its key's. Text where a list belongs may be right but for its brackets.
fn wrong_type(key: &Key, value: &toml::Value) -> String {
    match (&key.kind, value) {
        (Kind::List { .. }, toml::Value::String(_)) => {
            let written = toml::Value::Array(vec![value.clone()]);
            format!("must be a list, in brackets: {} = {}", key.name, shown(&written))
        }
        _ => must_be(&key.rule()),
    }
}

fn must_be(rule: &str) -> String {
    format!("must be {rule}")
}

/// The value as TOML, cut where it would fill the line.
fn shown(value: &toml::Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN { text } else { text.chars().take(SHOWN).chain("...".chars()).collect() }
}

const SHOWN: usize = 80;

/// The sentence for a variable `DUPLEX_...` that is no key.
pub(super) fn unknown_variable(name: &str) -> Option<String> {
    let key = name.strip_prefix("DUPLEX_")?;
    let known: Vec<String> = keys().map(Key::variable).chain(OTHER_VARIABLES.map(str::to_owned)).collect();
    if known.iter().any(|known| known == name) {
        return None;
    }
    let meant = unknown(key, &keys().map(|key| key.name).collect::<Vec<_>>());
    Some(format!("the variable {name} has no effect: {} {meant}", key.to_ascii_lowercase().replace('_', "-")))
}

/// Variables of this project that are no keys: the file of the configuration, and those of scripts.
const OTHER_VARIABLES: [&str; 3] = ["DUPLEX_CONFIG", "DUPLEX_CACHE", "DUPLEX_SERVICE"];

/// The sentence for an unknown key, with the known one that was probably meant.
fn unknown(name: &str, known: &[&str]) -> String {
    let plain = |text: &str| text.to_ascii_lowercase().replace('_', "-");
    // The first word of some, such as `publish`.
    let begun = format!("{}-", plain(name));
    if let [others @ .., last] =
        known.iter().copied().filter(|known| known.starts_with(&begun)).collect::<Vec<_>>().as_slice()
    {
        let all = if others.is_empty() { (*last).to_owned() } else { format!("{} or {last}", others.join(", ")) };
        return format!("is not a known key; did you mean {all}?");
    }
    // Two letters that changed places are one slip.
    let nearest = known.iter().map(|candidate| (strsim::osa_distance(&plain(name), candidate), candidate)).min();
    match nearest {
        // A third of the letters wrong is no longer a slip of the finger.
        Some((steps, candidate)) if steps * 3 <= candidate.len() => {
            format!("is not a known key; did you mean {candidate}?")
        }
        _ => "is not a known key; `duplex sample-config` lists all".to_owned(),
    }
}

/// A configuration before the defaults of the table are in it; a test proves that none of these values stays.
fn blank() -> Config {
    Config {
        name: String::new(),
        listen: vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))],
        plain: true,
        help_listen: None,
        state_dir: PathBuf::new(),
        cert: None,
        key: None,
        names: Vec::new(),
        ice_servers: Vec::new(),
        video: VideoSource::Camera(None),
        audio: AudioSource::Silence,
        audio_volume: -1.0,
        audio_mute: true,
        camera: Camera {
            rotate: 1,
            mirror: true,
            exposure: Auto::Fixed(0),
            white_balance: Auto::Fixed(0),
            controls: vec![(String::new(), 0)],
        },
        width: 0,
        height: 0,
        framerate: 0,
        video_codec: VideoCodec::H264,
        video_bitrate: 0,
        ladder: 0,
        audio_bitrate: 0,
        publish: Some(Publish::InFile(PathBuf::new())),
        publish_token: Some(PathBuf::new()),
        publish_ca: Some(PathBuf::new()),
        sound: SoundSink::Discard,
        sound_volume: 0.0,
        sound_mute: true,
        jitter_buffer: 0,
        picture: vec![PictureSink::Discard],
        overlay: Overlay { corner: Corner::TopLeft, size: 0.0, margin: 0 },
        record: RecordRule::Talk,
        record_dir: Some(PathBuf::new()),
        record_max_size: 0,
        record_max_age: u32::MAX,
        record_min_free: 0,
        clips: Some(PathBuf::new()),
        room: Room { echo: Echo::Off, noise: Noise::VeryHigh, gain: true },
        duck: 0.0,
        talk_limit: u32::MAX,
        max_viewers: 0,
        max_peers: 0,
        negotiation_timeout: 0,
        idle_grace: 0,
        web_app: None,
        log: String::new(),
        log_format: LogFormat::Json,
    }
}
