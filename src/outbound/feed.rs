//! Keeps one source feeding the mixer: plays it, loops it, and when it fails shows a card (or
//! nothing, for sound) and tries again.
//!
//! In: what is wanted, the mixer's inlets. Out: raw buffers in them; a [`Fault`] when the source fails
//! and when it is mended. Never: gives up; disturbs the mixer.

use std::time::Duration;

use gst::prelude::*;
use tokio::sync::mpsc;

use super::encoder::Format;
use super::source::{self, End, Source, Wanted};
use crate::api::Part;
use crate::bridge;
use crate::pipeline::{Error, Event};

/// A source failed, or works again (`message` is `None`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Picture or sound.
    pub part: Part,
    /// A sentence.
    pub message: Option<String>,
}

/// Where a feed's media goes.
#[derive(Debug, Clone)]
pub struct Inlets {
    /// Raw picture.
    pub picture: gst_app::AppSrc,
    /// Raw sound.
    pub sound: gst_app::AppSrc,
}

/// Longest wait for a source's first data.
const FIRST_DATA: Duration = Duration::from_secs(10);
/// Waits between tries: the first, doubled up to the last.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// Pause before a speech is repeated.
const PAUSE: Duration = Duration::from_secs(2);

/// Runs until it is aborted.
pub async fn keep(wanted: Wanted, format: Format, inlets: Inlets, faults: mpsc::UnboundedSender<Fault>) {
    let mut stand_in: Option<Source> = None;
    let mut wait = RETRY.0;
    loop {
        let failed = match start(&wanted, &format, &inlets).await {
            Ok(playing) => {
                stand_in = None;
                // Also at the first start: an earlier feed of the same source may have left its fault.
                report(&wanted, None, &faults);
                wait = RETRY.0;
                follow(playing).await
            }
            Err(Error::Start { detail, .. }) => Some(detail),
            Err(error) => Some(error.to_string()),
        };
        let Some(reason) = failed else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let message = format!("{}: {reason}", wanted.label());
        report(&wanted, Some(message.clone()), &faults);
        if wanted.has_video() && stand_in.is_none() {
            stand_in = show_card(&message, &format, &inlets).await;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY.1);
    }
}

fn report(wanted: &Wanted, message: Option<String>, faults: &mpsc::UnboundedSender<Fault>) {
    let parts = [(wanted.has_video(), Part::Video), (wanted.has_audio(), Part::Audio)];
    for (_, part) in parts.into_iter().filter(|(concerned, _)| *concerned) {
        // Nobody listens only while the service stops.
        faults.send(Fault { part, message: message.clone() }).ok();
    }
}

/// Plays a source to nowhere until its first data has come.
///
/// # Errors
/// It cannot be opened, fails, or gives no data.
pub async fn try_out(wanted: &Wanted, format: &Format) -> Result<(), Error> {
    let picture = bridge::inlet(&format.raw_video(), 1, gst::ClockTime::ZERO)?;
    let sound = bridge::inlet(&Format::raw_audio(), 1, gst::ClockTime::ZERO)?;
    let source = start(wanted, format, &Inlets { picture, sound }).await?;
    source.pipeline.stop().await;
    Ok(())
}

/// Builds and plays the source; returns once its first buffer has passed.
async fn start(wanted: &Wanted, format: &Format, inlets: &Inlets) -> Result<Source, Error> {
    let mut source = wanted.build(format)?;
    let (first, mut arrived) = mpsc::unbounded_channel();
    for (outlet, inlet) in [(&source.video, &inlets.picture), (&source.audio, &inlets.sound)] {
        if let Some(outlet) = outlet {
            let first = first.clone();
            bridge::join(outlet, &[inlet], move || {
                first.send(()).ok();
            });
        }
    }
    let parts = usize::from(source.video.is_some()) + usize::from(source.audio.is_some());
    if source.end == End::Loop {
        source.pipeline.preroll(FIRST_DATA).await?;
        rewind(&source, true);
    }
    source.pipeline.play().await?;
    let deadline = tokio::time::Instant::now() + FIRST_DATA;
    for _ in 0..parts {
        tokio::select! {
            _ = arrived.recv() => {}
            event = failure(&mut source) => return Err(Error::Input(event)),
            () = tokio::time::sleep_until(deadline) => return Err(Error::Input("no data came".into())),
        }
    }
    Ok(source)
}

/// Waits for the end of a playing source: `Some` with the reason when it failed, `None` when it
/// simply ended and is to be played again.
async fn follow(mut source: Source) -> Option<String> {
    let reason = loop {
        match source.pipeline.next().await {
            Some(Event::SegmentDone) => rewind(&source, false),
            Some(Event::Error { message, .. }) => break Some(message),
            Some(Event::Eos) => match source.end {
                End::Never => break Some("it ended".to_owned()),
                End::Loop | End::Repeat => break None,
            },
            Some(Event::Latency) => {}
            None => break Some("its pipeline is gone".to_owned()),
        }
    };
    source.pipeline.stop().await;
    reason
}

async fn failure(source: &mut Source) -> String {
    loop {
        match source.pipeline.next().await {
            Some(Event::Error { message, .. }) => return message,
            Some(Event::Eos) => return "it has no such stream, or is empty".to_owned(),
            None => return "its pipeline is gone".to_owned(),
            Some(_) => {}
        }
    }
}

/// Seeks to the start so that the end is announced instead of closing the stream, which makes the
/// loop gapless. `flush` only for the first seek, before anything was heard.
fn rewind(source: &Source, flush: bool) {
    let flags = if flush { gst::SeekFlags::SEGMENT | gst::SeekFlags::FLUSH } else { gst::SeekFlags::SEGMENT };
    if let Err(error) = source.pipeline.inner().seek_simple(flags, gst::ClockTime::ZERO) {
        // It then ends with EOS and is built anew: a short gap instead of none.
        tracing::debug!(%error, "this file cannot be looped without a gap");
    }
}

async fn show_card(message: &str, format: &Format, inlets: &Inlets) -> Option<Source> {
    let shown = async {
        let mut card = source::card(message, format)?;
        if let Some(outlet) = &card.video {
            bridge::join(outlet, &[&inlets.picture], || {});
        }
        card.pipeline.play().await?;
        Ok::<_, Error>(card)
    };
    shown.await.inspect_err(|error| tracing::warn!(%error, "cannot show the card")).ok()
}
