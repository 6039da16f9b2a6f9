//! Inbound media, browser to device: one talker at a time, to speaker, recorder and overlay.
//!
//! In: a talker's peer id. Out: its sound and picture where the configuration sends them, [`Report`]s.
//! Never: decides who may talk; outlives its talker.

mod overlay;
mod playout;
mod recorder;
mod reports;
mod speaker;
mod webrtc_src;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gst::prelude::*;
use tokio::sync::{mpsc, watch};

use crate::api::Part;
use crate::config::PictureSink;
use crate::far_end::FarEnd;
use crate::picture_slot::PictureSlot;
use crate::pipeline::{Error, Event, Pipeline};
use crate::recording::packet::Lane;
use crate::recording::roll::Roll;
use crate::recording::shelf::Shelf;
use crate::recording::tap::Tap;
use crate::recording::writer::Note;
use crate::signaller::InProcessSignaller;
use crate::signalling::hub::Hub;
use crate::transport::{Change, IceUris};
pub use speaker::Playback;
use speaker::Speaker;
use webrtc_src::WebrtcSrc;

/// What inbound needs of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the sound goes, and how loud; may change while a talk goes on.
    pub playback: watch::Receiver<Playback>,
    /// Where the microphone hears what the speaker plays.
    pub far_end: FarEnd,
    /// Where the picture goes.
    pub picture: Vec<PictureSink>,
    /// Width of the overlay, pixels.
    pub overlay_width: u32,
    /// Bytes of recordings that are kept.
    pub record_max_size: u64,
    /// Age of recordings that are kept.
    pub record_max_age: Option<Duration>,
    /// Bytes that stay free on the disk.
    pub record_min_free: u64,
    /// STUN and TURN.
    pub ice: IceUris,
    /// Where a recording of the call listens in.
    pub tap: Tap,
    /// How long packets wait for late ones.
    pub jitter: Duration,
    /// A session that is not connected after so long is ended.
    pub negotiation_timeout: Duration,
}

/// What inbound tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Media of this talker flows.
    Connected(String),
    /// The session with this talker is over, for a reason if it failed.
    Over(String, Option<String>),
    /// Speaker or recorder failed or was mended.
    Fault(Part, Option<String>),
    /// Nothing has come from this talker for [`GONE`]; told again each second.
    Silent(String),
    /// The talker is recorded into a file of its own, or no longer.
    Recorded(bool),
}

/// GStreamer makes the process's DTLS key with the first element that needs it, which takes up to half a second: now, not when the first
/// talker waits. Must be called within a Tokio runtime.
pub fn prepare() {
    tokio::task::spawn_blocking(|| {
        if let Err(error) = crate::pipeline::make("dtlsdec") {
            tracing::error!(%error, "no talker can be heard");
        }
    });
}

/// One talk; dropping it ends it.
#[derive(Debug)]
pub struct Talk {
    stop: watch::Sender<bool>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Talk {
    /// Takes the media of a talker that is registered with the hub.
    pub fn start(
        talker: &str,
        settings: &Settings,
        hub: Hub,
        slot: PictureSlot,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (talker, settings) = (talker.to_owned(), settings.clone());
        let mut stopped = stopped;
        let task = tokio::spawn(async move {
            let over = run(&talker, &settings, hub, &slot, &reports, &mut stopped).await;
            slot.clear();
            let reason = over.err().map(|error| error.to_string());
            // Nobody listens only while the service stops.
            reports.send(Report::Over(talker, reason)).ok();
        });
        Self { stop, task: Some(task) }
    }

    /// Ends the talk and waits until its files are closed.
    pub async fn end(mut self) {
        self.stop.send_replace(true);
        let Some(mut task) = self.task.take() else { return };
        match tokio::time::timeout(END, &mut task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "a talk's task failed"),
            Err(_) => {
                tracing::error!("a talk does not end; it is left behind");
                task.abort();
            }
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Longest wait for a talk to close its files and let go of its devices.
const END: Duration = Duration::from_secs(8);

async fn run(
    talker: &str,
    settings: &Settings,
    hub: Hub,
    slot: &PictureSlot,
    reports: &mpsc::UnboundedSender<Report>,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), Error> {
    let tell = |report| {
        reports.send(report).ok();
    };
    let mut pipeline = Pipeline::new("inbound");
    // What is shown waits for the jitter buffer's length, as the sound does; what playout adds to that is not in it.
    pipeline.inner().set_latency(gst::ClockTime::try_from(settings.jitter).unwrap_or_default());
    let (changes, mut transport) = mpsc::unbounded_channel();
    let signaller = InProcessSignaller::consumer(hub, talker);
    let source = WebrtcSrc::add_to(&pipeline, talker, signaller, &settings.ice, settings.jitter, changes)?;
    let speaker = Speaker::add_to(&pipeline, &source.sound, settings.jitter, settings.far_end.clone())?;
    // Where it is heard and seen here, that is where it belongs in a recording of the call.
    for (lane, tee) in [(Lane::TalkerSound, &source.sound), (Lane::TalkerPicture, &source.picture)] {
        recorder::listen(&settings.tap, lane, tee, settings.jitter);
    }
    let close_files = watch::Sender::new(false);
    let mut recording: Option<Roll> = None;
    for sink in &settings.picture {
        match sink {
            PictureSink::Discard => {}
            PictureSink::Overlay => overlay::overlay(&pipeline, &source.picture, settings.overlay_width, slot)?,
            PictureSink::Record(folder) => {
                let shelf = Shelf {
                    folder: folder.clone(),
                    max_size: settings.record_max_size,
                    max_age: settings.record_max_age,
                    min_free: settings.record_min_free,
                };
                match recorder::recorder(&source.sound, &source.picture, shelf, talker).await {
                    Ok(roll) => recording = Some(roll),
                    Err(error) => tell(Report::Fault(Part::Recording, Some(error))),
                }
            }
        }
    }
    pipeline.play().await?;
    let faults = reports.clone();
    let mut told: Option<String> = None;
    let speaker = tokio::spawn(speaker.keep(settings.playback.clone(), close_files.subscribe(), move |fault| {
        match (&fault, &told) {
            (Some(sentence), _) if fault != told => tracing::warn!("{sentence}"),
            (None, Some(_)) => tracing::info!("the talker is heard again"),
            _ => {}
        }
        told.clone_from(&fault);
        faults.send(Report::Fault(Part::Talk, fault)).ok();
    }));
    tracing::info!(talker, "taking the talker's media");

    let last = Last::on(&[&source.sound, &source.picture]);
    let mut looks = tokio::time::interval(Duration::from_secs(1));
    let deadline = tokio::time::sleep(settings.negotiation_timeout);
    tokio::pin!(deadline);
    let mut connected = false;
    let result = loop {
        tokio::select! {
            _ = stop.changed() => break Ok(()),
            Some(change) = transport.recv() => match change {
                Change::Connected(peer) => {
                    connected = true;
                    last.note();
                    tell(Report::Connected(peer));
                }
                Change::Failed(_) => break Err(Error::Input("the media connection failed".into())),
            },
            () = &mut deadline, if !connected => {
                break Err(Error::Input(format!("no media came within {} s", settings.negotiation_timeout.as_secs())));
            }
            _ = looks.tick(), if connected => {
                if last.age() > GONE {
                    tell(Report::Silent(talker.to_owned()));
                }
            }
            event = pipeline.next() => match event {
                Some(Event::Error { .. }) if hangs_up(stop).await => break Ok(()),
                Some(Event::Error { element, message }) => {
                    break Err(Error::Input(format!("{element}: {message}")));
                }
                Some(Event::Eos) => break Ok(()),
                Some(_) => {}
                None => break Ok(()),
            },
            note = async { recording.as_mut()?.note().await }, if recording.is_some() => match note {
                Some(Note::Began(path)) => {
                    tracing::info!(file = %path.display(), "recording the talker");
                    tell(Report::Fault(Part::Recording, None));
                    tell(Report::Recorded(true));
                }
                Some(Note::Failed(reason)) => {
                    tracing::warn!(reason, "recording stopped; the call goes on");
                    tell(Report::Fault(Part::Recording, Some(format!("recording stopped: {reason}"))));
                    tell(Report::Recorded(false));
                }
                None => recording = None,
            }
        }
    };
    if let Some(roll) = recording.take() {
        if let Some(reason) = roll.close().await {
            tracing::warn!(reason, "the recording did not end well");
        }
        tell(Report::Recorded(false));
    }
    // The tap on the network closes first, then the rest.
    let end = source.ender();
    let (sound, picture) = (source.sound.clone(), source.picture.clone());
    let closing = tokio::task::spawn_blocking(move || {
        webrtc_src::finish(&[&sound, &picture]);
        end.end_sessions();
    });
    if tokio::time::timeout(Duration::from_secs(3), closing).await.is_err() {
        tracing::warn!("a talk's streams did not end in time");
    }
    close_files.send_replace(true);
    if tokio::time::timeout(END / 2, speaker).await.is_err() {
        tracing::warn!("the talker's sound did not end in time");
    }
    drain(&mut pipeline).await;
    pipeline.stop().await;
    result
}

/// A browser sends sound also while its person is silent: one that sends nothing at all for so long is gone, and whoever waits
/// gets the turn. While nobody waits it stays with a program that speaks only now and then, or whose network comes back.
/// Longer than the page takes to see that its own way is cut (6 s), so that a short break ends nothing.
const GONE: Duration = Duration::from_secs(8);

/// When something last came from the talker.
#[derive(Clone)]
struct Last {
    began: Instant,
    /// Milliseconds after `began`.
    at: Arc<AtomicU64>,
}

impl Last {
    /// Looks at what passes these elements; now counts as the first time.
    fn on(elements: &[&gst::Element]) -> Self {
        let (began, at) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let last = Self { began, at };
        for pad in elements.iter().filter_map(|element| element.static_pad("sink")) {
            let last = last.clone();
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                last.note();
                gst::PadProbeReturn::Ok
            });
        }
        last
    }

    fn note(&self) {
        self.at.store(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn age(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.at.load(Ordering::Relaxed)))
    }
}

/// Whether the talk is being ended from outside. A talker who hangs up closes the media at once; the word of it travels another
/// way and may come a moment later.
async fn hangs_up(stop: &mut watch::Receiver<bool>) -> bool {
    tokio::time::timeout(WORD, stop.wait_for(|stop| *stop)).await.is_ok()
}

/// Longest wait for the word that a talk whose media broke was ended on purpose.
const WORD: Duration = Duration::from_millis(500);

/// Waits a moment for files to be closed.
async fn drain(pipeline: &mut Pipeline) {
    let over = async {
        while let Some(event) = pipeline.next().await {
            if matches!(event, Event::Eos | Event::Error { .. }) {
                return;
            }
        }
    };
    if tokio::time::timeout(Duration::from_millis(700), over).await.is_err() {
        tracing::debug!("not every branch of the talk saw its end");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_talk_that_breaks_while_it_is_being_ended_was_hung_up() {
        let (stop, mut stopped) = watch::channel(false);
        assert!(!hangs_up(&mut stopped).await, "nobody ended it");
        let word = tokio::spawn(async move {
            tokio::time::sleep(WORD / 10).await;
            stop.send_replace(true);
            stop
        });
        assert!(hangs_up(&mut stopped).await, "the word came a moment later");
        let _stop = word.await.unwrap();
        assert!(hangs_up(&mut stopped).await, "the word was heard before");
    }
}
