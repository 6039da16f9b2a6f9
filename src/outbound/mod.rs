//! Outbound media, device to browser: sources, mixer, one encode, a session per viewer.
//!
//! In: the configuration's part, commands. Out: encoded media to viewers, [`Report`]s. Never: captures or
//! encodes while nobody wants it (a viewer, or whoever has a [`Hold`]); stops a viewer because a source failed.
//!
//! One task (`task`) owns everything here: it starts sources and encoder for the first who wants them, stops them some
//! time after the last, ends sessions that do not come up in time, and rebuilds what breaks.

mod active;
mod branch;
mod climb;
mod count;
pub mod encoder;
mod feed;
mod hold;
mod link;
mod mixer;
pub mod rungs;
mod seats;
mod sender;
mod sending;
mod snapshot;
pub mod source;
mod task;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::api::{Part, Quality, QualityState};
use crate::config::{Overlay, VideoCodec};
use crate::metrics::Metrics;
use crate::picture_slot::PictureSlot;
use crate::pipeline::Error;
use crate::recording::tap::Tap;
use crate::signalling::hub::Hub;
use crate::transport::IceUris;
use encoder::Format;
pub use feed::try_out;
pub use hold::{Hold, Purpose};
use mixer::Mixer;
use seats::Seats;
use sending::Sending;
pub use snapshot::Snapshots;
use source::{Setup, Source, Wanted};
use task::Task;

/// What outbound needs of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the device.
    pub name: String,
    /// What goes out.
    pub wanted: Vec<Wanted>,
    /// Size, rate, codec; how a camera is set.
    pub setup: Arc<Setup>,
    /// The quality ladder's formats, from the top one down; the first is the setup's.
    pub rungs: Vec<Format>,
    /// Place of the talker's picture.
    pub overlay: Overlay,
    /// Factor on the programme.
    pub volume: f64,
    /// Further factor on the programme while somebody talks.
    pub duck: f64,
    /// STUN and TURN.
    pub ice: IceUris,
    /// A session that is not connected after so long is ended.
    pub negotiation_timeout: Duration,
    /// Capture and encoders stop so long after the last viewer left.
    pub idle_grace: Duration,
    /// Where a recording listens in.
    pub tap: Tap,
    /// Where it is counted.
    pub metrics: Metrics,
}

/// What outbound tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// How many sessions there are.
    Viewers(usize),
    /// A source failed or was mended.
    Fault(Part, Option<String>),
    /// A viewer stands on another rung, or chose.
    Quality {
        /// Its peer id.
        peer: String,
        /// Where it stands.
        state: QualityState,
    },
    /// A viewer's session did not come up.
    CallFailed {
        /// Its peer id.
        peer: String,
        /// What kept it.
        why: Failure,
    },
}

/// Why a viewer's session did not come up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No media came through within the time for it.
    NoMedia,
    /// The viewer does not play the codec of the picture or the sound.
    Codec(VideoCodec),
}

impl Failure {
    /// The word in the metrics.
    fn word(self) -> &'static str {
        match self {
            Self::NoMedia => "no-media",
            Self::Codec(_) => "codec",
        }
    }
}

/// Something to be heard once over the programme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sound {
    /// A text, spoken.
    Speech(String),
    /// A file.
    File(PathBuf),
}

impl std::fmt::Display for Sound {
    /// As a person calls it: a file without its folders, a text in quotes, cut where it would fill the line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.file_name().unwrap_or(path.as_os_str()).to_string_lossy()),
            Self::Speech(text) if text.chars().count() <= SHOWN => write!(f, "{text:?}"),
            Self::Speech(text) => write!(f, "{:?}...", text.chars().take(SHOWN).collect::<String>()),
        }
    }
}

/// Characters of a text by which it is called.
const SHOWN: usize = 40;

#[derive(Debug)]
enum Command {
    Duck(bool),
    Sources(Vec<Wanted>),
    Volume(f64),
    Announce(Sound, Source, oneshot::Sender<Result<(), Error>>),
    Announced(u64),
    EndAnnouncements(oneshot::Sender<Vec<Sound>>),
    Hold(Purpose),
    Release(Purpose),
    Frame(snapshot::Wish),
    Quality(String, Quality),
    Connected(String, oneshot::Sender<()>),
    Retry,
    /// The "sender" panics, or the "mixer" fails, as far as its bus knows.
    #[cfg(test)]
    Break(&'static str),
    Stop(oneshot::Sender<()>),
}

/// Handle of the outbound task.
#[derive(Debug, Clone)]
pub struct Outbound(mpsc::UnboundedSender<Command>);

impl Outbound {
    /// Starts what sends media, and the task.
    pub fn start(
        settings: Settings,
        hub: Hub,
        slot: PictureSlot,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Report>), Error> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (reports, outbox) = mpsc::unbounded_channel();
        let sending = Sending::new(&settings, &hub)?;
        // Built once here only to find what is missing before anything starts.
        let mut trial = Mixer::new(&settings.rungs, &settings.overlay, &slot)?;
        let nobody = Seats::new(settings.setup.format.codec, settings.rungs.len());
        trial.encode(&vec![true; settings.rungs.len()], &nobody)?;
        drop(trial);
        tokio::spawn(Task::new(settings, hub, slot, sending, reports, commands.clone()).run(inbox));
        Ok((Self(commands), outbox))
    }

    /// Lowers the programme while somebody talks.
    pub fn duck(&self, ducked: bool) {
        self.tell(Command::Duck(ducked));
    }

    /// Takes other sources; viewers stay connected.
    pub fn set_sources(&self, wanted: Vec<Wanted>) {
        self.tell(Command::Sources(wanted));
    }

    /// Sets the factor on the programme, 0 to 2; announcements are not touched by it.
    pub fn set_volume(&self, factor: f64) {
        self.tell(Command::Volume(factor));
    }

    /// Plays something over the programme; returns when it has begun.
    pub async fn announce(&self, sound: Sound) -> Result<(), Error> {
        // Outside the task: a file that is slow to open must not hold up viewers.
        let source = active::prepare(&sound).await?;
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Announce(sound, source, reply));
        answer.await.unwrap_or_else(|_| Err(Error::Input("the service is stopping".into())))
    }

    /// Ends whatever is announced at the moment; returns what that was, the first begun first.
    pub async fn end_announcements(&self) -> Vec<Sound> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::EndAnnouncements(reply));
        // Err: the service is stopping, and nothing is heard any more.
        answer.await.unwrap_or_default()
    }

    /// Keeps capture and encoder running, with or without viewers, as long as the value lives.
    pub fn hold(&self, purpose: Purpose) -> Hold {
        self.tell(Command::Hold(purpose));
        let commands = self.0.clone();
        Hold::new(move || {
            // Nobody is there any more only while the service stops.
            commands.send(Command::Release(purpose)).ok();
        })
    }

    /// Sets a viewer's choice of quality; nothing happens if it does not watch.
    pub fn choose_quality(&self, peer: String, quality: Quality) {
        self.tell(Command::Quality(peer, quality));
    }

    /// Waits until a peer's session has its media connection; for ever, if it never does.
    pub async fn connected(&self, peer: &str) {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Connected(peer.to_owned(), reply));
        if answer.await.is_err() {
            // The task has stopped, or the peer was forgotten: who waits has another way to learn of that.
            std::future::pending::<()>().await;
        }
    }

    /// Stops every pipeline and waits for that.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        self.tell(Command::Stop(done));
        stopped.await.ok();
    }

    fn tell(&self, command: Command) {
        if self.0.send(command).is_err() {
            tracing::debug!("outbound has stopped");
        }
    }
}

#[cfg(test)]
mod recovery_tests;
