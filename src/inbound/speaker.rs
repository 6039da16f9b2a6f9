//! The talker's sound: to a speaker, a WAV file, or nowhere, and elsewhere while the talk goes on.
//!
//! In: Opus; a [`Playback`] that may change. Out: sound at a volume; a sentence when nobody hears it. Never: a call that
//! suffers because a speaker is missing, is pulled out or hangs: what plays is a pipeline of its own. When: see [`playout`].
//! Where the speaker is not named, the talk goes over to a better one that comes, once that is open: see [`Preference`].
//!
//! ```text
//! tee ─> queue ─> opusdec ─> audioconvert ─> audioresample ─> volume ─> outlet (appsink)
//! inlet (appsrc) ─> audioconvert ─> audioresample ─> alsasink | wavenc ─> filesink
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use gst::prelude::*;
use tokio::sync::watch;

use super::playout::{self, Late};
use super::webrtc_src::branch;
use crate::api::TalkSound;
use crate::bridge;
use crate::config::{Config, SoundSink};
use crate::devices::preference::Preference;
use crate::devices::{self, Class, Device};
use crate::far_end::FarEnd;
use crate::pipeline::{Error, Event, Pipeline, make};

/// Where the talker's sound goes, and how loud.
#[derive(Debug, Clone, PartialEq)]
pub struct Playback {
    /// Where to.
    pub sink: SoundSink,
    /// Factor, 0 to 2; 0 while it is muted.
    pub volume: f64,
}

impl Playback {
    /// As configured.
    pub fn of(config: &Config) -> Self {
        let volume = if config.sound_mute { 0.0 } else { config.sound_volume };
        Self { sink: config.sound.clone(), volume }
    }

    /// What becomes of the sound then.
    pub fn outcome(&self) -> TalkSound {
        match &self.sink {
            SoundSink::Discard => TalkSound::Discarded,
            _ if self.volume == 0.0 => TalkSound::Muted,
            _ => TalkSound::Played,
        }
    }
}

/// How often is looked whether the speaker is there.
const LOOK: Duration = Duration::from_millis(300);
/// A speaker that is there and does not work is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
/// So long a speaker that is to take another's place must have been open without an error.
const PROOF: Duration = Duration::from_millis(300);
/// Longest wait for a file to get its end.
const CLOSE: Duration = Duration::from_millis(700);
/// Decoding and handing over take at most so much of the time that packets have.
const MARGIN: Duration = Duration::from_millis(10);
/// Buffers that may wait to be played, of whatever length; for a speaker their time is limited, see [`playout`].
const DEPTH: u64 = 1000;
/// ALSA's buffer, and the pieces it is filled by, microseconds.
const BUFFER: (i64, i64) = (60_000, 10_000);

/// The branch of a talk's pipeline that gives its sound to whatever plays it.
pub struct Speaker {
    outlet: gst_app::AppSink,
    level: gst::Element,
    latency: gst::ClockTime,
    far_end: FarEnd,
}

impl Speaker {
    /// Adds the branch. `jitter` is how late a packet may come.
    pub fn add_to(pipeline: &Pipeline, tee: &gst::Element, jitter: Duration, far_end: FarEnd) -> Result<Self, Error> {
        let decode = make("opusdec")?;
        decode.set_property("plc", true);
        decode.set_property("use-inband-fec", true);
        let convert = make("audioconvert")?;
        let resample = make("audioresample")?;
        let level = make("volume")?;
        let outlet = bridge::outlet(&caps(2), false)?;
        outlet.set_property("async", false);
        branch(pipeline, tee, "speaker", &[&decode, &convert, &resample, &level, outlet.upcast_ref()])?;
        let latency = gst::ClockTime::try_from(jitter + MARGIN).unwrap_or_default();
        Ok(Self { outlet, level, latency, far_end })
    }

    /// Plays until `stop`; `tell` gets a sentence when the talker is not heard, `None` when he is.
    pub async fn keep(
        self,
        mut playback: watch::Receiver<Playback>,
        mut stop: watch::Receiver<bool>,
        mut tell: impl FnMut(Option<String>),
    ) {
        let mut preference = Preference::of(Class::Speaker);
        // The sender is gone when the talk was cut off: that ends it as well.
        while !*stop.borrow() && stop.has_changed().is_ok() {
            let now = playback.borrow_and_update().clone();
            self.level.set_property("volume", now.volume);
            let lost = match self.begin(&now.sink, &mut preference).await {
                Ok(mut player) => {
                    tell(None);
                    let lost = self.go_on(&mut player, &now.sink, &mut preference, &mut playback, &mut stop).await;
                    if let Some(reason) = &lost {
                        tell(Some(format!("the talker is not heard: {}: {reason}", now.sink)));
                    }
                    bridge::part(&self.outlet);
                    player.close().await;
                    lost.is_some()
                }
                Err(error) => {
                    tell(Some(format!("the talker is not heard: {error}")));
                    true
                }
            };
            if lost {
                self.wait(&now.sink, &mut playback, &mut stop).await;
            }
        }
    }

    /// Starts what plays, on the speaker that is preferred if it is not named.
    async fn begin(&self, sink: &SoundSink, preference: &mut Preference) -> Result<Player, Error> {
        if !is_auto(sink) {
            return Player::start(sink, None, self).await;
        }
        let listed = preference.ask(Instant::now())();
        let chosen = preference.choose(&listed, Instant::now());
        let device = chosen.map_err(|error| Error::Input(error.to_string()))?;
        let started = Player::start(sink, Some(device.clone()), self).await;
        if started.is_err() {
            preference.failed(&device, false, Instant::now());
        }
        started
    }

    /// Follows what plays, and goes over to a better speaker. Until the sound shall go elsewhere or the talk ends (`None`), or it is
    /// heard no longer (why).
    async fn go_on(
        &self,
        player: &mut Player,
        sink: &SoundSink,
        preference: &mut Preference,
        playback: &mut watch::Receiver<Playback>,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<String> {
        let (mut since, mut instead) = (Instant::now(), false);
        let over = loop {
            let better = match self.follow(player, sink, Some(&mut *preference), playback, stop).await {
                Turn::Better(device) => device,
                over => break over,
            };
            let started = tokio::select! {
                started = Player::start_proved(sink, better.clone(), self) => started,
                over = self.follow(player, sink, None, playback, stop) => break over,
            };
            match started {
                Ok(successor) => {
                    tracing::info!(device = better.name, "a better speaker is there and taken");
                    std::mem::replace(player, successor).close().await;
                    (since, instead) = (Instant::now(), true);
                }
                Err(error) => {
                    let reason = error.reason();
                    tracing::warn!(device = better.name, reason, "a better speaker cannot be used");
                    preference.failed(&better, true, Instant::now());
                }
            }
        };
        match over {
            Turn::Lost(reason) => {
                if let Some(device) = player.device.as_ref().filter(|_| is_auto(sink)) {
                    preference.lost(device, since.elapsed(), instead, Instant::now());
                }
                Some(reason)
            }
            Turn::Late => Some("his sound comes more than two seconds late".to_owned()),
            Turn::Elsewhere | Turn::Better(_) => None,
        }
    }

    /// Until something happens to what plays; without a preference no speaker is better.
    async fn follow(
        &self,
        player: &mut Player,
        sink: &SoundSink,
        mut preference: Option<&mut Preference>,
        playback: &mut watch::Receiver<Playback>,
        stop: &mut watch::Receiver<bool>,
    ) -> Turn {
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                _ = stop.changed() => return Turn::Elsewhere,
                Ok(()) = playback.changed() => {
                    let next = playback.borrow_and_update().clone();
                    self.level.set_property("volume", next.volume);
                    if next.sink != *sink {
                        return Turn::Elsewhere;
                    }
                }
                event = player.next() => if let Event::Error { message, .. } = event {
                    return Turn::Lost(message);
                },
                _ = look.tick() => {
                    if player.device.as_ref().is_some_and(|device| !device.is_there()) {
                        return Turn::Lost(devices::UNPLUGGED.to_owned());
                    }
                    if player.late.as_ref().is_some_and(Late::is_hopeless) {
                        return Turn::Late;
                    }
                    if let (Some(preference), Some(device), true) = (preference.as_deref_mut(), &player.device, is_auto(sink))
                        && let Some(better) = better(preference, device)
                    {
                        return Turn::Better(better);
                    }
                }
            }
        }
    }

    /// Until there is a reason to try again.
    async fn wait(&self, sink: &SoundSink, playback: &mut watch::Receiver<Playback>, stop: &mut watch::Receiver<bool>) {
        let seen = devices::seen(Class::Speaker);
        let again = async {
            match sink {
                SoundSink::Speaker(_) => {
                    let until = tokio::time::Instant::now() + RETRY;
                    while tokio::time::Instant::now() < until && devices::seen(Class::Speaker) == seen {
                        tokio::time::sleep(LOOK).await;
                    }
                }
                // A file that cannot be written once is not begun again and again.
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = again => {}
            _ = stop.changed() => {}
            Ok(()) = playback.changed() => {}
        }
    }
}

/// What happens to what plays.
#[derive(Debug, PartialEq)]
enum Turn {
    /// The sound shall go elsewhere, or the talk ends.
    Elsewhere,
    /// It came too late for too long; that is no fault of the speaker's.
    Late,
    /// It is heard no longer, and why.
    Lost(String),
    /// It goes on, but this speaker is preferred.
    Better(Device),
}

/// Whether the best speaker is wanted.
fn is_auto(sink: &SoundSink) -> bool {
    *sink == SoundSink::Speaker(None)
}

/// The speaker to go over to from this one, if there is any just now. Speakers are listed at once, unlike cameras.
fn better(preference: &mut Preference, playing: &Device) -> Option<Device> {
    if !preference.is_due(Instant::now()) {
        return None;
    }
    let listed = preference.ask(Instant::now())();
    preference.better(&listed, playing, Instant::now())
}

/// What plays: a pipeline that starts and ends on its own.
#[derive(Default)]
struct Player {
    /// `None`: the sound is discarded.
    pipeline: Option<(Pipeline, gst_app::AppSrc)>,
    device: Option<Device>,
    is_file: bool,
    late: Option<Late>,
}

impl Player {
    /// On this speaker, if one was chosen. Takes the sound from whatever played before only when it is open.
    async fn start(sink: &SoundSink, chosen: Option<Device>, from: &Speaker) -> Result<Self, Error> {
        let player = Self::open(sink, chosen, from).await?;
        player.take(from);
        Ok(player)
    }

    /// The same on a speaker that has shown for a moment that it works.
    async fn start_proved(sink: &SoundSink, chosen: Device, from: &Speaker) -> Result<Self, Error> {
        let mut player = Self::open(sink, Some(chosen), from).await?;
        // What ALSA refuses of a device that is open it tells once it is given a format.
        let refused = async {
            loop {
                if let Event::Error { message, .. } = player.next().await {
                    return message;
                }
            }
        };
        if let Ok(reason) = tokio::time::timeout(PROOF, refused).await {
            return Err(Error::Input(reason));
        }
        player.take(from);
        Ok(player)
    }

    /// Opens it; nothing is played yet.
    async fn open(sink: &SoundSink, chosen: Option<Device>, from: &Speaker) -> Result<Self, Error> {
        let (ends, device) = match sink {
            SoundSink::Discard => return Ok(Self::default()),
            SoundSink::File(path) => (file(path)?, None),
            SoundSink::Speaker(name) => {
                let device = chosen.map_or_else(|| devices::find(Class::Speaker, name.as_deref()), Ok);
                let device = device.map_err(|error| Error::Input(error.to_string()))?;
                (vec![alsa(&device)?], Some(device))
            }
        };
        let mut pipeline = Pipeline::new("speaker");
        let inlet = bridge::inlet(&caps(2), DEPTH, from.latency)?;
        let (convert, resample) = (make("audioconvert")?, make("audioresample")?);
        let mut chain: Vec<&gst::Element> = vec![inlet.upcast_ref(), &convert, &resample];
        chain.extend(ends.iter());
        pipeline.add_chain("speaker", &chain)?;
        let mut late = None;
        if device.is_some() {
            // What the microphone hears of it comes after ALSA's buffer.
            let (far_end, ahead) = (from.far_end.clone(), gst::ClockTime::from_useconds(BUFFER.0 as u64));
            late = Some(playout::keep_up(&inlet, from.latency, move |sound, at| far_end.play(sound, at + ahead)));
        }
        pipeline.play().await?;
        let is_file = matches!(sink, SoundSink::File(_));
        Ok(Self { pipeline: Some((pipeline, inlet)), device, is_file, late })
    }

    /// From now on the sound comes here.
    fn take(&self, from: &Speaker) {
        let Some((_, inlet)) = &self.pipeline else { return };
        let (arrives, outlet, to) = (self.late.clone(), from.outlet.downgrade(), inlet.downgrade());
        bridge::join(&from.outlet, &[inlet], move |sample| {
            if let (Some(late), Some(outlet), Some(to)) = (&arrives, outlet.upgrade(), to.upgrade()) {
                late.arrives(sample, &outlet, &to);
            }
        });
    }

    async fn next(&mut self) -> Event {
        match &mut self.pipeline {
            Some((pipeline, _)) => match pipeline.next().await {
                Some(event) => event,
                None => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    }

    /// Ends it; a file gets its length.
    async fn close(self) {
        let Some((mut pipeline, inlet)) = self.pipeline else { return };
        if self.is_file {
            let over = async {
                if inlet.end_of_stream().is_ok() {
                    while !matches!(pipeline.next().await, None | Some(Event::Eos | Event::Error { .. })) {}
                }
            };
            if tokio::time::timeout(CLOSE, over).await.is_err() {
                tracing::debug!("a sound file was closed without its length");
            }
        }
        // A device that hangs must not hold up its successor.
        let closing = tokio::spawn(pipeline.stop());
        if tokio::time::timeout(RETRY, closing).await.is_err() {
            tracing::warn!("the speaker does not close; it is left behind");
        }
    }
}

fn alsa(device: &Device) -> Result<gst::Element, Error> {
    let alsa = make("alsasink")?;
    alsa.set_property("device", &device.name);
    alsa.set_property("buffer-time", BUFFER.0);
    alsa.set_property("latency-time", BUFFER.1);
    // The first sound may come long after the start, and a talker who is silent sends none.
    alsa.set_property("async", false);
    Ok(alsa)
}

fn file(path: &Path) -> Result<Vec<gst::Element>, Error> {
    let filter = make("capsfilter")?;
    filter.set_property("caps", caps(1));
    let encode = make("wavenc")?;
    let file = make("filesink")?;
    file.set_property("location", path);
    file.set_property("async", false);
    file.set_property("sync", false);
    file.set_property_from_str("buffer-mode", "unbuffered");
    Ok(vec![filter, encode, file])
}

/// Caps of the sound between the pipelines and, with one channel, in a file.
fn caps(channels: i32) -> gst::Caps {
    let caps = gst::Caps::builder("audio/x-raw").field("format", "S16LE").field("layout", "interleaved");
    let caps = caps.field("rate", 48_000i32).field("channels", channels);
    if channels == 2 { caps.field("channel-mask", gst::Bitmask::new(3)).build() } else { caps.build() }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::devices::preference::tests::plug;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_better_speaker_is_gone_over_to_unless_one_was_named_or_it_cannot_be_opened() {
        crate::init_gstreamer().unwrap();
        let (pipeline, tee) = (Pipeline::new("talk"), make("tee").unwrap());
        pipeline.inner().add(&tee).unwrap();
        let speaker = Speaker::add_to(&pipeline, &tee, Duration::ZERO, FarEnd::default()).unwrap();
        let (auto, root) = (SoundSink::Speaker(None), tempfile::tempdir().unwrap());
        let (_changes, mut playback) = watch::channel(Playback { sink: auto.clone(), volume: 1.0 });
        let (_end, mut stop) = watch::channel(false);
        plug(root.path(), &[("Headphones", false)]);
        let mut preference = Preference::below(root.path(), Class::Speaker);
        let listed = preference.ask(Instant::now())();
        let device = preference.choose(&listed, Instant::now()).unwrap();
        let mut player = Player { device: Some(device.clone()), ..Player::default() };
        plug(root.path(), &[("Headphones", false), ("NoSuchCard", true)]);

        let named = SoundSink::Speaker(Some(device.name.clone()));
        let turn = speaker.follow(&mut player, &named, Some(&mut preference), &mut playback, &mut stop);
        assert!(timeout(Duration::from_secs(2), turn).await.is_err(), "it was named");

        let turn = speaker.follow(&mut player, &auto, Some(&mut preference), &mut playback, &mut stop);
        let turn = timeout(Duration::from_secs(3), turn).await.unwrap();
        assert!(matches!(turn, Turn::Better(better) if better.name == "plughw:CARD=NoSuchCard,DEV=0"));

        let over = speaker.go_on(&mut player, &auto, &mut preference, &mut playback, &mut stop);
        assert!(timeout(Duration::from_secs(3), over).await.is_err(), "the talk goes on");
        assert_eq!(player.device, Some(device));
        assert!(preference.has_failed("plughw:CARD=NoSuchCard,DEV=0"));
    }
}
