//! Inbound media, browser to device: one talker at a time, to speaker, recorder and overlay.
//!
//! In: a talker's peer id. Out: its sound and picture where the configuration sends them, [`Report`]s.
//! Never: decides who may talk; outlives its talker.

mod overlay;
mod recorder;
mod speaker;
mod webrtc_src;

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::api::Part;
use crate::config::{PictureSink, SoundSink};
use crate::picture_slot::PictureSlot;
use crate::pipeline::{Error, Event, Pipeline};
use crate::signaller::InProcessSignaller;
use crate::signalling::hub::Hub;
use crate::transport::{Change, IceUris};
use recorder::Recorder;
use webrtc_src::WebrtcSrc;

/// What inbound needs of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the sound goes.
    pub sound: SoundSink,
    /// Why the sound is discarded instead of played, when the speaker failed.
    pub speaker_fault: Option<String>,
    /// Factor on the sound.
    pub volume: f64,
    /// Where the picture goes.
    pub picture: Vec<PictureSink>,
    /// Width of the overlay, pixels.
    pub overlay_width: u32,
    /// Bytes of recordings that are kept.
    pub record_max_size: u64,
    /// Age of recordings that are kept.
    pub record_max_age: Option<Duration>,
    /// STUN and TURN.
    pub ice: IceUris,
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
        let (talker, mut settings) = (talker.to_owned(), settings.clone());
        let mut stopped = stopped;
        let task = tokio::spawn(async move {
            let mut over = run(&talker, &settings, hub.clone(), &slot, &reports, &mut stopped).await;
            if let Err(Failure::Speaker(message)) = &over
                && !*stopped.borrow()
            {
                // Picture and recording are worth a call without the speaker; the next talk tries it again.
                let sentence = format!("the talker is not heard, {} failed: {message}", settings.sound);
                tracing::warn!("{sentence}");
                settings.sound = SoundSink::Discard;
                settings.speaker_fault = Some(sentence);
                over = run(&talker, &settings, hub, &slot, &reports, &mut stopped).await;
            }
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

/// Why a talk ended early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the speaker failed: {0}")]
    Speaker(String),
    #[error(transparent)]
    Other(#[from] Error),
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
) -> Result<(), Failure> {
    let tell = |report| {
        reports.send(report).ok();
    };
    let mut pipeline = Pipeline::new("inbound");
    let (changes, mut transport) = mpsc::unbounded_channel();
    let signaller = InProcessSignaller::consumer(hub, talker);
    let source = WebrtcSrc::add_to(&pipeline, talker, signaller, &settings.ice, settings.jitter, changes)?;
    let missing = speaker::speaker(&pipeline, &source.sound, &settings.sound, settings.volume)?;
    if let Some(sentence) = &missing {
        tracing::warn!("{sentence}");
    }
    tell(Report::Fault(Part::Talk, missing.or_else(|| settings.speaker_fault.clone())));
    let close_files = watch::Sender::new(false);
    let mut recording: Option<tokio::task::JoinHandle<Result<(), Error>>> = None;
    for sink in &settings.picture {
        match sink {
            PictureSink::Discard => {}
            PictureSink::Overlay => overlay::overlay(&pipeline, &source.picture, settings.overlay_width, slot)?,
            PictureSink::Record(folder) => {
                let keep = recorder::Settings {
                    folder: folder.clone(),
                    max_size: settings.record_max_size,
                    max_age: settings.record_max_age,
                };
                match Recorder::add_to(&pipeline, &source.sound, &source.picture, keep, talker) {
                    Ok(recorder) => {
                        tell(Report::Fault(Part::Recording, None));
                        recording = Some(tokio::spawn(recorder.run(close_files.subscribe())));
                    }
                    Err(error) => tell(Report::Fault(Part::Recording, Some(error.to_string()))),
                }
            }
        }
    }
    if let Err(error) = pipeline.play().await {
        return Err(match settings.sound {
            SoundSink::Speaker(_) => Failure::Speaker(error.to_string()),
            _ => Failure::Other(error),
        });
    }
    tracing::info!(talker, "taking the talker's media");

    let deadline = tokio::time::sleep(settings.negotiation_timeout);
    tokio::pin!(deadline);
    let mut connected = false;
    let result = loop {
        tokio::select! {
            _ = stop.changed() => break Ok(()),
            Some(change) = transport.recv() => match change {
                Change::Connected(peer) => {
                    connected = true;
                    tell(Report::Connected(peer));
                }
                Change::Failed(_) => break Err(Failure::Other(Error::Input("the media connection failed".into()))),
                Change::Joined { .. } | Change::Linked(_) | Change::Refused(_) | Change::Left(_) => {}
            },
            () = &mut deadline, if !connected => {
                break Err(Failure::Other(Error::Input(format!("no media came within {} s", settings.negotiation_timeout.as_secs()))));
            }
            event = pipeline.next() => match event {
                Some(Event::Error { element, message }) => {
                    break Err(if element == speaker::SINK {
                        Failure::Speaker(message)
                    } else {
                        Failure::Other(Error::Input(format!("{element}: {message}")))
                    });
                }
                Some(Event::Eos) => break Ok(()),
                Some(_) => {}
                None => break Ok(()),
            },
            Some(finished) = async { Some(recording.as_mut()?.await) }, if recording.is_some() => {
                recording = None;
                if let Ok(Err(error)) = finished {
                    tracing::warn!(%error, "recording stopped; the call goes on");
                    tell(Report::Fault(Part::Recording, Some(error.to_string())));
                }
            }
        }
    };
    // The tap on the network closes first, then the files, then the rest.
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
    if let Some(Ok(Err(error))) = async { Some(recording.take()?.await) }.await {
        tracing::warn!(%error, "the recording did not end well");
    }
    drain(&mut pipeline).await;
    pipeline.stop().await;
    result
}

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
