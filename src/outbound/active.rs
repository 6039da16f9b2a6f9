//! Capture, mixing and encoding: there only while somebody wants it.
//!
//! In: the configuration's part, the sender's inlet, announcements. Out: encoded media there, faults of
//! sources. Never: outlives its value.

use std::collections::BTreeMap;
use std::time::Duration;

use gst::prelude::*;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::count;
use super::feed::{self, Fault, Inlets};
use super::mixer::{Announcement, Mixer};
use super::seats::Seats;
use super::sender::{Inlet, Packetiser};
use super::sending::Sending;
use super::snapshot::Wish;
use super::source::{self, End, Source, Wanted};
use super::{Settings, Sound};
use crate::bridge;
use crate::picture_slot::PictureSlot;
use crate::pipeline::{Error, Event};
use crate::recording::packet::Lane;
use crate::recording::tap::Tap;

/// Longest wait for an announcement's first data.
const PREROLL: Duration = Duration::from_secs(2);
/// Time that a camera gets after its start before a frame of it is a snapshot.
const EXPOSURE: Duration = Duration::from_millis(600);
/// Announcements that play at the same time.
const ANNOUNCEMENTS: usize = 3;
/// What is still in the mixer's inlet at the end of an announcement is heard out.
const HEARD_OUT: Duration = Duration::from_millis(200);

/// A running mixer with the sources that feed it.
pub struct Active {
    /// Mixer and encoders.
    pub mixer: Mixer,
    /// What goes wrong with sources.
    pub faults: mpsc::UnboundedReceiver<Fault>,
    /// When it may stop; `None` while it is needed.
    pub idle_at: Option<Instant>,
    feeds: Vec<(Wanted, JoinHandle<()>)>,
    inlets: Inlets,
    tell_fault: mpsc::UnboundedSender<Fault>,
    announcements: BTreeMap<u64, Announced>,
    next_announcement: u64,
    began: Instant,
    seats: Seats,
    /// A recording listens to the top rung.
    listened: bool,
}

/// What is being said or played.
struct Announced {
    sound: Sound,
    announcement: Announcement,
    task: JoinHandle<()>,
}

impl Active {
    /// Builds mixer and sources and plays them. A recording needs the top rung, also when nobody stands on it.
    ///
    /// # Errors
    /// An element is missing or does not start.
    pub async fn start(
        settings: &Settings,
        slot: &PictureSlot,
        sending: &Sending,
        recording: bool,
    ) -> Result<Self, Error> {
        let (tell_fault, faults) = mpsc::unbounded_channel();
        let mut mixer = Mixer::new(&settings.rungs, &settings.overlay, slot)?;
        count::mixer(&mut mixer, &settings.metrics);
        send_sound(&mixer.audio_out, sending.sender.inlet().clone());
        listen(&settings.tap, Lane::Sound, &mixer.audio_out);
        let seats = sending.seats.clone();
        let mut wanted = seats.wanted();
        wanted.iter_mut().take(1).for_each(|top| *top |= recording);
        let inlets = Inlets { picture: mixer.picture.clone(), sound: mixer.sound.clone() };
        let mut active = Self {
            mixer,
            faults,
            idle_at: None,
            feeds: Vec::new(),
            inlets,
            tell_fault,
            announcements: BTreeMap::new(),
            next_announcement: 0,
            began: Instant::now(),
            seats,
            listened: false,
        };
        match active.encode(&wanted, &settings.tap) {
            Err(error) if active.mixer.top().is_none() => return Err(error),
            Err(error) => tracing::error!(%error, "a rung cannot be encoded"),
            Ok(()) => {}
        }
        active.mixer.pipeline.play().await?;
        active.feed(settings);
        Ok(active)
    }

    /// Feeds the mixer from what the settings want. A source that stays is left alone; another one ends, and is not waited
    /// for: if its successor needs the same device, it tries again.
    pub fn feed(&mut self, settings: &Settings) {
        let wanted = &settings.wanted;
        self.feeds.retain(|(source, task)| {
            let stays = wanted.contains(source);
            if !stays {
                task.abort();
            }
            stays
        });
        for source in wanted {
            if !self.feeds.iter().any(|(fed, _)| fed == source) {
                let (inlets, faults) = (self.inlets.clone(), self.tell_fault.clone());
                let task = tokio::spawn(feed::keep(source.clone(), settings.setup.clone(), inlets, faults));
                self.feeds.push((source.clone(), task));
            }
        }
    }

    /// Encodes the rungs that are wanted, and no others; a recording can listen to the top one.
    ///
    /// # Errors
    /// An encoder cannot be built.
    pub fn encode(&mut self, wanted: &[bool], tap: &Tap) -> Result<(), Error> {
        // One rung that fails keeps neither the others nor a recording from what they get.
        let encoded = self.mixer.encode(wanted, &self.seats);
        if let Some(outlet) = self.mixer.top().filter(|_| !self.listened) {
            listen(tap, Lane::Picture, outlet);
            self.listened = true;
        }
        encoded
    }

    /// Gives the next frame that goes into the encoder to whoever wished for it; not one of the first, in which a camera
    /// has not yet found its exposure.
    pub fn grant(&mut self, wish: Wish) {
        wish.grant(&self.mixer.drawn, self.began + EXPOSURE);
    }

    /// Plays a prepared announcement over the programme; `done` is called with its number when it has been heard.
    pub async fn announce(
        &mut self,
        sound: Sound,
        mut source: Source,
        done: impl FnOnce(u64) + Send + 'static,
    ) -> Result<(), Error> {
        if self.announcements.len() >= ANNOUNCEMENTS {
            return Err(Error::Input(
                "as many announcements as can be heard at once are playing: wait for one to end".into(),
            ));
        }
        let announcement = self.mixer.announce()?;
        if let Some(outlet) = &source.audio {
            bridge::join(outlet, &[&announcement.inlet], |_| {});
        }
        if let Err(error) = source.pipeline.play().await {
            self.mixer.remove(announcement);
            return Err(error);
        }
        let id = self.next_announcement;
        self.next_announcement += 1;
        let task = tokio::spawn(async move {
            // The whole of it moves in here: its outlet ends when it is dropped.
            let mut source = source;
            while let Some(event) = source.pipeline.next().await {
                match event {
                    Event::Eos => break,
                    Event::Error { message, .. } => {
                        tracing::warn!(message, "an announcement broke off");
                        break;
                    }
                    _ => {}
                }
            }
            tokio::time::sleep(HEARD_OUT).await;
            done(id);
        });
        self.announcements.insert(id, Announced { sound, announcement, task });
        Ok(())
    }

    /// Takes out an announcement that has been heard.
    pub fn announced(&mut self, id: u64) {
        if let Some(announced) = self.announcements.remove(&id) {
            self.mixer.remove(announced.announcement);
        }
    }

    /// Takes all announcements out, heard or not. Returns what they were, in the order in which they began.
    pub fn end_announcements(&mut self) -> Vec<Sound> {
        let ended = std::mem::take(&mut self.announcements).into_values();
        ended
            .map(|Announced { sound, announcement, task }| {
                // Its source goes with it.
                task.abort();
                self.mixer.remove(announcement);
                sound
            })
            .collect()
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        // The mixer stops in its own time, and must not feed what a next one feeds.
        self.mixer.part();
        self.feeds.iter().for_each(|(_, task)| task.abort());
        self.announcements.values().for_each(|announced| announced.task.abort());
    }
}

/// Sends what the sound's encoder gives to all viewers.
fn send_sound(outlet: &gst_app::AppSink, inlet: Inlet) {
    let mut packetiser = Packetiser::sound();
    bridge::join(outlet, &[], move |sample| {
        if let Some(frame) = bridge::on_common_time(sample).and_then(|buffer| packetiser.cut(&buffer)) {
            inlet.sound(frame);
        }
    });
}

fn listen(tap: &Tap, lane: Lane, outlet: &gst_app::AppSink) {
    if let Some(pad) = outlet.static_pad("sink") {
        tap.listen(lane, &pad, Duration::ZERO);
    }
}

/// Opens what is to be announced, up to its first data.
pub async fn prepare(sound: &Sound) -> Result<Source, Error> {
    let mut source = match sound {
        Sound::Speech(text) => source::speech(text, End::Never)?,
        Sound::File(path) => source::file(path, None, true)?,
    };
    source.pipeline.preroll(PREROLL).await.map_err(|error| match sound {
        Sound::Speech(_) => error,
        Sound::File(path) => {
            let detail = error.reason();
            tracing::warn!(file = %path.display(), detail, "a file cannot be played");
            // Whoever asked from the page knows the file by its name; where it is kept is the owner's business.
            let detail = detail.replace(&*path.to_string_lossy(), &sound.to_string());
            Error::Input(format!("cannot play {sound}: {detail}"))
        }
    })?;
    Ok(source)
}
