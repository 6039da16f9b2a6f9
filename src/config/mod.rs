//! Configuration: what the owner of the device may decide.
//!
//! In: a TOML file, environment variables, flags. Out: one [`Config`] whose every value keeps its rule,
//! or [`Errors`] that name all that is wrong at once.
//! Never: opens a device or a socket, holds a secret (only paths of files with secrets), reads the clock.
//!
//! Every key stands once, in the table of `keys`; flags, parser and sample file follow from it.
//! Later sources win: defaults, then the file, then `DUPLEX_...` variables, then flags. A wrong value is
//! refused in whichever of them it stands, also where a later one overrides it.

mod check;
mod explain;
mod flags;
mod keys;
mod layers;
mod media;
pub mod publish;
mod sample;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use explain::{Setting, listed};
pub use flags::Flags;
pub use media::{
    AudioSource, Auto, Camera, Corner, Echo, IceServer, LogFormat, Noise, Overlay, PictureSink, RecordRule, Room,
    RuleError, SoundSink, VideoCodec, VideoSource,
};
pub use publish::Publish;
pub use sample::sample;

/// The checked configuration. Ranges are kept by [`load`]; see `duplex sample-config` for the same in prose.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Name of the device as the page shows it, 1 to 64 characters.
    pub name: String,
    /// Where page, API and signalling are served; never empty. Port 0 only in a single address.
    pub listen: Vec<SocketAddr>,
    /// Serve without TLS. True only if every address of `listen` is loopback.
    pub plain: bool,
    /// Where the CA certificate and a redirect are served by plain HTTP; `None`: nowhere.
    pub help_listen: Option<SocketAddr>,
    /// Folder for passwords, sessions and the PKI. May not exist yet.
    pub state_dir: PathBuf,
    /// PEM server certificate chain; `None` together with `key`: the service's own CA issues one.
    pub cert: Option<PathBuf>,
    /// PEM private key that belongs to `cert`.
    pub key: Option<PathBuf>,
    /// More DNS names (lower case) or IP addresses by which the device is reached.
    pub names: Vec<String>,
    /// STUN and TURN servers; none unless asked for.
    pub ice_servers: Vec<IceServer>,
    /// Where the outgoing picture comes from.
    pub video: VideoSource,
    /// Where the outgoing sound comes from.
    pub audio: AudioSource,
    /// Factor on the outgoing sound, 0 to 2; announcements are not touched by it.
    pub audio_volume: f64,
    /// The outgoing sound is silenced, announcements apart.
    pub audio_mute: bool,
    /// How a camera that is the source is set.
    pub camera: Camera,
    /// Width of the outgoing picture in pixels, even, 160 to 1920.
    pub width: u32,
    /// Height of the outgoing picture in pixels, even, 120 to 1080.
    pub height: u32,
    /// Frames per second of the outgoing picture, 1 to 60.
    pub framerate: u32,
    /// Codec of the outgoing picture.
    pub video_codec: VideoCodec,
    /// Bit rate of the outgoing picture in kbit/s, 100 to 20000.
    pub video_bitrate: u32,
    /// Sizes in which the picture is offered, 1 to 3.
    pub ladder: usize,
    /// Bit rate of the outgoing sound in kbit/s, 16 to 256.
    pub audio_bitrate: u32,
    /// The media server that gets picture and sound once; `None`: none.
    pub publish: Option<Publish>,
    /// File with the bearer token for it; never without `publish`.
    pub publish_token: Option<PathBuf>,
    /// PEM certificates of the only authorities trusted for it; `None`: the system's.
    pub publish_ca: Option<PathBuf>,
    /// Where the talker's sound goes.
    pub sound: SoundSink,
    /// Factor on the talker's sound, 0 to 2.
    pub sound_volume: f64,
    /// The talker's sound is silenced in the speaker; recordings have it.
    pub sound_mute: bool,
    /// Milliseconds a talker's packets wait for late ones, 20 to 300.
    pub jitter_buffer: u32,
    /// Where the talker's picture goes; never empty, `Discard` only alone.
    pub picture: Vec<PictureSink>,
    /// Place and size of the talker's picture in the outgoing one.
    pub overlay: Overlay,
    /// When calls are recorded without being told.
    pub record: RecordRule,
    /// Folder for recordings of calls; `None`: see [`Config::recordings`]. May not exist yet.
    pub record_dir: Option<PathBuf>,
    /// MiB that all recordings in a folder may take, at least 1.
    pub record_max_size: u64,
    /// Days after which a recording is removed; 0: never.
    pub record_max_age: u32,
    /// MiB that recording leaves free on the disk.
    pub record_min_free: u64,
    /// Folder with sound files that talkers can play.
    pub clips: Option<PathBuf>,
    /// What is done to a microphone's sound.
    pub room: Room,
    /// dB by which the outgoing sound is lowered while somebody talks and `room.echo` says so, 0 to 60; 0: not at all.
    pub duck: f64,
    /// Seconds a turn to talk may last, up to a day; 0: no limit.
    pub talk_limit: u32,
    /// Viewers at one time, 1 to 1000.
    pub max_viewers: usize,
    /// Signalling peers at one time, 1 to 10000, never fewer than `max_viewers`.
    pub max_peers: usize,
    /// Seconds within which media must flow after a session was started, 2 to 60.
    pub negotiation_timeout: u32,
    /// Seconds after the last viewer left until capture and encoders stop, up to an hour.
    pub idle_grace: u32,
    /// Folder with a web app to serve instead of the embedded one.
    pub web_app: Option<PathBuf>,
    /// Filter of the log, in the syntax of `tracing` (such as `info` or `info,duplex=debug`).
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
}

impl Config {
    /// Folder for recordings of calls.
    pub fn recordings(&self) -> PathBuf {
        self.record_dir.clone().unwrap_or_else(|| self.state_dir.join("recordings"))
    }
}

/// Reads, joins and checks all sources of configuration.
///
/// `env` looks up one environment variable; besides `DUPLEX_...` it is asked for `STATE_DIRECTORY`,
/// `XDG_STATE_HOME` and `HOME`, from which the default of `state-dir` follows.
///
/// # Errors
/// [`Error::Read`] and [`Error::Syntax`] for the file as a whole, else [`Error::Wrong`] with every problem.
pub fn load(flags: &Flags, env: impl Fn(&str) -> Option<String>) -> Result<Config, Error> {
    let layers = joined(flags, &env)?;
    layers.finish()
}

/// As [`load`], and where each value comes from.
///
/// # Errors
/// As [`load`].
pub fn explain(flags: &Flags, env: impl Fn(&str) -> Option<String>) -> Result<(Config, Vec<Setting>), Error> {
    let layers = joined(flags, &env)?;
    let settings = explain::settings(&layers);
    Ok((layers.finish()?, settings))
}

/// The state folder alone, for commands that must work whatever else is wrong with the configuration.
///
/// # Errors
/// As [`load`], but [`Error::Wrong`] only with problems of `state-dir`.
pub fn state_dir(flags: &Flags, env: impl Fn(&str) -> Option<String>) -> Result<PathBuf, Error> {
    let mut layers = joined(flags, &env)?;
    layers.keep_problems_of("state-dir");
    Ok(layers.finish()?.state_dir)
}

/// Sentences about those of these variables that look like keys and are none. They are no errors: other programs of the
/// machine may have variables of such a name; but a slip of the finger must not pass in silence.
pub fn unknown_variables(names: impl IntoIterator<Item = String>) -> Vec<String> {
    names.into_iter().filter_map(|name| layers::unknown_variable(&name)).collect()
}

impl Config {
    /// This configuration with other values of some keys, checked as [`load`] checks them. `origin` is told in problems.
    ///
    /// # Errors
    /// Everything that is wrong with the new values.
    pub fn with(&self, values: &toml::Table, origin: &Path) -> Result<Self, Errors> {
        let mut layers = layers::Layers::over(self.clone());
        layers.file(origin, values);
        check::changed(&mut layers, values);
        layers.finish().map_err(|error| match error {
            Error::Wrong(errors) => errors,
            other => Errors(vec![Problem {
                key: String::new(),
                value: String::new(),
                rule: other.to_string(),
                origin: origin.display().to_string(),
            }]),
        })
    }
}

fn joined(flags: &Flags, env: &dyn Fn(&str) -> Option<String>) -> Result<layers::Layers, Error> {
    let env = |name: &str| env(name).filter(|value| !value.is_empty());
    let mut layers = layers::Layers::defaults();

    let file = flags.config.clone().or_else(|| env("DUPLEX_CONFIG").map(PathBuf::from));
    if let Some(path) = file {
        let text = std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        let table = text
            .parse::<toml::Table>()
            .map_err(|error| Error::Syntax { path: path.clone(), message: error.to_string().trim_end().to_owned() })?;
        layers.file(&path, &table);
    }
    layers.environment(&env);
    layers.flags(flags);

    check::state_dir(&mut layers, &env);
    check::all(&mut layers);
    Ok(layers)
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {} is not valid TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and what was expected there.
        message: String,
    },
    /// Keys or values are wrong.
    #[error(transparent)]
    Wrong(#[from] Errors),
}

/// Everything that is wrong, in the order in which it was found; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors(pub Vec<Problem>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// One wrong key or value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key.
    pub key: String,
    /// The value as TOML; empty for an unknown key, whose value may be a misplaced secret, and for a value that is missing.
    pub value: String,
    /// What the value must be, as the end of a sentence.
    pub rule: String,
    /// Where it stands: a file, a flag, a variable.
    pub origin: String,
}

impl Problem {
    /// A rule that a value breaks, found out only when it was used; `origins` tells where it stands.
    pub fn found(key: &str, value: &str, rule: String, origins: &[Setting]) -> Self {
        let given = origins.iter().find(|setting| setting.key == key);
        Self {
            key: key.to_owned(),
            value: toml::Value::from(value).to_string(),
            rule,
            origin: given.map_or("configuration", |setting| &setting.origin).to_owned(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, rule, origin } = self;
        if value.is_empty() {
            write!(f, "{key} ({origin}): {rule}")
        } else {
            write!(f, "{key} = {value} ({origin}): {rule}")
        }
    }
}
