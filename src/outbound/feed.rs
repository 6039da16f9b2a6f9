//! Keeps one source feeding the mixer: plays it, loops it, and when it fails shows a card (or
//! nothing, for sound) and tries again.
//!
//! In: what is wanted, the mixer's inlets. Out: raw buffers in them; a [`Fault`] when the source fails
//! and when it is mended. Never: gives up; disturbs the mixer; waits for a device that hangs before it shows the card; lets go
//! of a device that works before a better one does.
//!
//! A device that is pulled out is missed within half a second, and tried again as soon as something of its kind is
//! plugged in; one that stays but gives nothing any more counts as lost after [`STALL`]. So does a file that comes to its
//! end again and again without giving anything (it was emptied or overwritten meanwhile); one that is slow to be read does
//! not: that is for the health check to tell.
//!
//! Where the device is not named, a better one that comes is opened beside the one that plays, which ends with the first data of its
//! successor: see [`Preference`]. Two that cannot be open at once (USB cameras may want more of the bus than there is) stay as they are until
//! one is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gst::prelude::*;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::source::{self, End, Setup, Source, Wanted};
use crate::api::Part;
use crate::bridge;
use crate::devices::preference::Preference;
use crate::devices::{self, Device, Listed};
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
/// Waits between tries of a source that is no device: the first, doubled up to the last.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// The same for a device, which may be there again any moment: udev gives access a little after the kernel shows it.
const RETRY_DEVICE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));
/// How often is looked whether a device is there.
const LOOK: Duration = Duration::from_millis(300);
/// A device that gives nothing for so long is lost. A camera in the dark still gives several frames a second.
const STALL: Duration = Duration::from_secs(2);
/// Longest wait for a source to close.
const CLOSE: Duration = Duration::from_secs(2);
/// Pause before a speech is repeated.
const PAUSE: Duration = Duration::from_secs(2);

/// Runs until it is aborted.
pub async fn keep(wanted: Wanted, setup: Arc<Setup>, inlets: Inlets, faults: mpsc::UnboundedSender<Fault>) {
    let mut stand_in: Option<Source> = None;
    let waits = if wanted.device_class().is_some() { RETRY_DEVICE } else { RETRY };
    let mut wait = waits.0;
    let mut told: Option<String> = None;
    let mut preference = wanted.auto_class().map(Preference::of);
    loop {
        let seen = wanted.device_class().map(devices::seen);
        let reason = match begin(&wanted, &setup, &inlets, preference.as_mut()).await {
            Ok(mut playing) => {
                stand_in = None;
                if told.take().is_some() {
                    tracing::info!(source = wanted.label(), "source works again");
                }
                // Also at the first start: an earlier feed of the same source may have left its fault.
                report(&wanted, None, &faults);
                wait = waits.0;
                let reason = go_on(&mut playing, &wanted, &setup, &inlets, preference.as_mut()).await;
                if let Some(reason) = &reason {
                    stand_in = tell(reason, &wanted, &setup, &inlets, &mut told, &faults).await;
                }
                close(playing).await;
                if reason.is_none() {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                None
            }
            Err(error) => Some(error.reason()),
        };
        if let Some(reason) = reason {
            let card = tell(&reason, &wanted, &setup, &inlets, &mut told, &faults).await;
            stand_in = card.or(stand_in);
        }
        if pause(wait, wanted.device_class(), seen.as_deref()).await {
            wait = waits.0;
        } else {
            wait = (wait * 2).min(waits.1);
        }
    }
}

/// Starts the source, of the device that is preferred if it is not named.
async fn begin(
    wanted: &Wanted,
    setup: &Arc<Setup>,
    inlets: &Inlets,
    preference: Option<&mut Preference>,
) -> Result<Source, Error> {
    let Some(preference) = preference else { return start(wanted, None, setup, inlets).await };
    let listed = tokio::task::spawn_blocking(preference.ask(now())).await;
    let listed = listed.map_err(|error| Error::Input(error.to_string()))?;
    let device = preference.choose(&listed, now()).map_err(|error| Error::Input(error.to_string()))?;
    let started = start(wanted, Some(device.clone()), setup, inlets).await;
    if started.is_err() {
        preference.failed(&device, false, now());
    }
    started
}

/// Follows what plays, and goes over to a better device: `Some` with the reason when it failed, `None` when it simply ended and
/// is to be played again.
async fn go_on(
    playing: &mut Source,
    wanted: &Wanted,
    setup: &Arc<Setup>,
    inlets: &Inlets,
    mut preference: Option<&mut Preference>,
) -> Option<String> {
    let (mut since, mut instead) = (now(), false);
    let over = loop {
        let better = match follow(playing, preference.as_deref_mut()).await {
            Turn::Over(reason) => break reason,
            Turn::Better(device) => device,
        };
        let started = tokio::select! {
            started = start(wanted, Some(better.clone()), setup, inlets) => started,
            Turn::Over(reason) = follow(playing, None) => break reason,
        };
        match started {
            Ok(successor) => {
                tracing::info!(source = wanted.label(), device = better.name, "a better device is there and taken");
                close(std::mem::replace(playing, successor)).await;
                (since, instead) = (now(), true);
            }
            Err(error) => {
                let reason = error.reason();
                tracing::warn!(source = wanted.label(), device = better.name, reason, "a better device cannot be used");
                if let Some(preference) = &mut preference {
                    preference.failed(&better, true, now());
                }
            }
        }
    };
    if let (Some(_), Some(preference), Some(device)) = (&over, preference, &playing.device) {
        preference.lost(device, since.elapsed(), instead, now());
    }
    over
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Says why the source is not there, in the log and in the picture, unless that has been said; returns the card.
async fn tell(
    reason: &str,
    wanted: &Wanted,
    setup: &Setup,
    inlets: &Inlets,
    told: &mut Option<String>,
    faults: &mpsc::UnboundedSender<Fault>,
) -> Option<Source> {
    // Those who watch read it, too: a file by its name, wherever it is kept.
    let named = |text: String| match wanted.path().and_then(|path| Some((path.to_str()?, path.file_name()?.to_str()?)))
    {
        Some((path, name)) => text.replace(path, name),
        None => text,
    };
    let message = match wanted.device_class() {
        Some(class) => devices::told(class, reason),
        None => named(format!("{}: {reason}", wanted.label())),
    };
    if told.as_ref() == Some(&message) {
        return None;
    }
    tracing::warn!(source = named(wanted.label()), reason = named(reason.to_owned()), "source failed; trying again");
    report(wanted, Some(message.clone()), faults);
    let card = if wanted.has_video() { show_card(&message, setup, inlets).await } else { None };
    *told = Some(message);
    card
}

/// Waits before the next try, or until something of the class has come; whether it has.
async fn pause(wait: Duration, class: Option<devices::Class>, seen: Option<&str>) -> bool {
    let until = Instant::now() + wait;
    while Instant::now() < until {
        tokio::time::sleep(LOOK.min(wait)).await;
        if let (Some(class), Some(seen)) = (class, seen)
            && devices::seen(class) != seen
        {
            return true;
        }
    }
    false
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
pub async fn try_out(wanted: &Wanted, setup: &Arc<Setup>) -> Result<(), Error> {
    let picture = bridge::inlet(&setup.format.raw_video(), 1, gst::ClockTime::ZERO)?;
    let sound = bridge::inlet(&source::raw_audio(), 1, gst::ClockTime::ZERO)?;
    let source = start(wanted, None, setup, &Inlets { picture, sound }).await?;
    source.pipeline.stop().await;
    Ok(())
}

/// Builds and plays the source, of this device if one was chosen; returns once its first buffer has passed.
async fn start(wanted: &Wanted, chosen: Option<Device>, setup: &Arc<Setup>, inlets: &Inlets) -> Result<Source, Error> {
    let (kind, how) = (wanted.clone(), setup.clone());
    // Looking for devices and opening them may take its time.
    let built = tokio::task::spawn_blocking(move || kind.build(chosen, &how)).await;
    let mut source = built.map_err(|error| Error::Input(error.to_string()))??;
    let (first, mut arrived) = mpsc::unbounded_channel();
    for (outlet, inlet) in [(&source.video, &inlets.picture), (&source.audio, &inlets.sound)] {
        if let Some(outlet) = outlet {
            let (first, flow) = (first.clone(), source.flow.clone());
            let mut began = false;
            bridge::join(outlet, &[inlet], move |_| {
                flow.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut began, true) {
                    // Nobody waits any more once the source has been given up.
                    first.send(()).ok();
                }
            });
        }
    }
    let parts = usize::from(source.video.is_some()) + usize::from(source.audio.is_some());
    if source.end == End::Loop {
        source.pipeline.preroll(FIRST_DATA).await?;
        rewind(&source, true);
    }
    source.pipeline.play().await?;
    let deadline = Instant::now() + FIRST_DATA;
    for _ in 0..parts {
        tokio::select! {
            _ = arrived.recv() => {}
            event = failure(&mut source) => return Err(Error::Input(event)),
            () = tokio::time::sleep_until(deadline) => return Err(Error::Input(devices::NO_DATA.into())),
        }
    }
    Ok(source)
}

/// What happens to a playing source.
#[derive(Debug, PartialEq)]
enum Turn {
    /// It failed, with the reason, or it came to its end and is to be played again (`None`).
    Over(Option<String>),
    /// It goes on, but this device is preferred.
    Better(Device),
}

/// Waits until something happens to a playing source; without a preference none is better.
async fn follow(source: &mut Source, mut preference: Option<&mut Preference>) -> Turn {
    let mut look = tokio::time::interval(LOOK);
    let (mut count, mut flowed) = (source.flow.load(Ordering::Relaxed), Instant::now());
    let mut ends = 0_u32;
    // Cameras may take their time to be listed, and what plays is looked after meanwhile.
    let mut listing: Option<JoinHandle<Listed>> = None;
    loop {
        tokio::select! {
            event = source.pipeline.next() => match event {
                // The demuxer is ahead of what is shown: a short file is read several times before a frame of it is due. One
                // that gives nothing any more ends at once, again and again, until it is missed below.
                Some(Event::SegmentDone) => {
                    ends = ends.saturating_add(1);
                    rewind(source, false);
                }
                Some(Event::Error { message, .. }) => return Turn::Over(Some(message)),
                Some(Event::Eos) => match source.end {
                    End::Never => return Turn::Over(Some(devices::ENDED.to_owned())),
                    End::Loop | End::Repeat => return Turn::Over(None),
                },
                Some(Event::Latency) => {}
                None => return Turn::Over(Some("its pipeline is gone".to_owned())),
            },
            _ = look.tick() => {
                if source.device.as_ref().is_some_and(|device| !device.is_there()) {
                    return Turn::Over(Some(devices::UNPLUGGED.to_owned()));
                }
                let flow = source.flow.load(Ordering::Relaxed);
                if flow != count {
                    (count, flowed, ends) = (flow, Instant::now(), 0);
                } else if flowed.elapsed() > STALL && (source.device.is_some() || ends > 1) {
                    return Turn::Over(Some(format!("{} for {} s", devices::SILENT, STALL.as_secs())));
                }
                if let Some(preference) = preference.as_deref_mut()
                    && listing.is_none() && preference.is_due(now())
                {
                    listing = Some(tokio::task::spawn_blocking(preference.ask(now())));
                }
            }
            listed = answer(&mut listing), if listing.is_some() => {
                listing = None;
                if let (Some(listed), Some(preference), Some(device)) = (listed, preference.as_deref_mut(), &source.device)
                    && let Some(better) = preference.better(&listed, device, now())
                {
                    return Turn::Better(better);
                }
            }
        }
    }
}

/// What is listed; `None`: that failed, and it is asked again.
async fn answer(listing: &mut Option<JoinHandle<Listed>>) -> Option<Listed> {
    listing.as_mut()?.await.inspect_err(|error| tracing::error!(%error, "listing devices panicked")).ok()
}

/// Closes a source; what hangs is left behind.
async fn close(source: Source) {
    // The outlets go first: nothing more comes through them.
    let Source { pipeline, video, audio, .. } = source;
    drop((video, audio));
    let closing: JoinHandle<()> = tokio::spawn(pipeline.stop());
    if tokio::time::timeout(CLOSE, closing).await.is_err() {
        tracing::warn!("a source does not close; it is left behind");
    }
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

async fn show_card(message: &str, setup: &Setup, inlets: &Inlets) -> Option<Source> {
    let shown = async {
        let mut card = source::card(&capitalised(message), &setup.format)?;
        if let Some(outlet) = &card.video {
            bridge::join(outlet, &[&inlets.picture], |_| {});
        }
        card.pipeline.play().await?;
        Ok::<_, Error>(card)
    };
    shown.await.inspect_err(|error| tracing::warn!(%error, "cannot show the card")).ok()
}

/// As a sentence begins; what begins with a value of the configuration, such as `file:`, keeps its spelling.
fn capitalised(text: &str) -> String {
    let first = text.split(' ').next().unwrap_or_default();
    if first.contains(':') {
        return text.to_owned();
    }
    let mut rest = text.chars();
    let first = rest.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, AudioSource, Flags};
    use crate::devices::Class;
    use crate::devices::preference::tests::plug;
    use crate::far_end::FarEnd;

    /// The tone plays for a device that is not the best any more from some time on; what goes on when three seconds have passed, and
    /// whether the better one has failed.
    async fn three_seconds_with_a_better_device(wanted: Wanted) -> (String, bool) {
        crate::init_gstreamer().unwrap();
        let flags = Flags::default().with("state-dir", "/nowhere").with("echo", "off");
        let setup = Arc::new(Setup::of(&config::load(&flags, |_| None).unwrap(), FarEnd::default()));
        let picture = bridge::inlet(&setup.format.raw_video(), 1, gst::ClockTime::ZERO).unwrap();
        let inlets = Inlets { picture, sound: bridge::inlet(&source::raw_audio(), 1, gst::ClockTime::ZERO).unwrap() };
        let root = tempfile::tempdir().unwrap();
        plug(root.path(), &[("Headphones", false)]);
        let mut preference = Preference::below(root.path(), Class::Microphone);
        let listed = preference.ask(now())();
        let device = preference.choose(&listed, now()).unwrap();
        let mut playing = start(&Wanted::Audio(AudioSource::Test), None, &setup, &inlets).await.unwrap();
        playing.device = Some(device);
        let plugging = async {
            tokio::time::sleep(LOOK).await;
            plug(root.path(), &[("Headphones", false), ("NoSuchCard", true)]);
            tokio::time::sleep(Duration::from_secs(3)).await;
        };
        tokio::select! {
            lost = go_on(&mut playing, &wanted, &setup, &inlets, Some(&mut preference)) => panic!("{lost:?}"),
            () = plugging => {}
        }
        let flow = playing.flow.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(playing.flow.load(Ordering::Relaxed) > flow, "it still gives data");
        (playing.pipeline.inner().name().to_string(), preference.has_failed("plughw:CARD=NoSuchCard,DEV=0"))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_better_device_takes_the_place_of_the_one_that_plays() {
        // Stands in for what the better one gives: it needs no device.
        let (goes_on, failed) = three_seconds_with_a_better_device(Wanted::Audio(AudioSource::Silence)).await;
        assert_eq!((goes_on.as_str(), failed), ("source-silence", false));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_better_device_that_cannot_be_opened_leaves_the_one_that_plays_where_it_is() {
        let microphone = Wanted::Audio(AudioSource::Microphone(None));
        let (goes_on, failed) = three_seconds_with_a_better_device(microphone).await;
        assert_eq!((goes_on.as_str(), failed), ("source-test-tone", true));
    }

    #[test]
    fn a_card_begins_as_a_sentence_does() {
        assert_eq!(capitalised("no camera is connected"), "No camera is connected");
        assert_eq!(capitalised("file:film.mp4: it is gone"), "file:film.mp4: it is gone");
        assert_eq!((capitalised(""), capitalised("ärger")), (String::new(), "ärger".to_owned()));
    }
}
