//! One picture as a JPEG, with or without viewers.
//!
//! In: wishes. Out: JPEGs of what viewers see at that moment. Never: of one size more than one encode at a time, or two within
//! [`SPACING`]: whoever asks meanwhile gets the same picture.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::hold::Purpose;
use super::{Command, Outbound};

/// Longest wait for a frame: capture may have to start for it.
const PATIENCE: Duration = Duration::from_secs(8);
/// Least time between two pictures.
const SPACING: Duration = Duration::from_millis(500);

type Frame = Result<gst::Sample, String>;
type Jpeg = Arc<[u8]>;

/// A wish for one raw frame; whoever has a copy may answer it, the first one does.
#[derive(Debug, Clone)]
pub(super) struct Wish(Arc<Mutex<Option<oneshot::Sender<Frame>>>>);

impl Wish {
    fn new() -> (Self, oneshot::Receiver<Frame>) {
        let (reply, frame) = oneshot::channel();
        (Self(Arc::new(Mutex::new(Some(reply)))), frame)
    }

    /// Whether it still waits for an answer.
    pub fn is_open(&self) -> bool {
        let reply = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reply.as_ref().is_some_and(|reply| !reply.is_closed())
    }

    fn answer(&self, frame: Frame) {
        let reply = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Err: whoever wished for it has gone.
        reply.and_then(|reply| reply.send(frame).err());
    }

    /// Grants it with the first frame that passes the pad from then on.
    pub fn grant(self, pad: &gst::Pad, from: Instant) {
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if !self.is_open() {
                return gst::PadProbeReturn::Remove;
            }
            if Instant::now() < from {
                return gst::PadProbeReturn::Ok;
            }
            let (Some(buffer), Some(caps)) = (info.buffer(), pad.current_caps()) else {
                return gst::PadProbeReturn::Ok;
            };
            self.answer(Ok(gst::Sample::builder().buffer(buffer).caps(&caps).build()));
            gst::PadProbeReturn::Remove
        });
    }

    /// Says why there is none.
    pub fn refuse(&self, reason: &str) {
        self.answer(Err(reason.to_owned()));
    }
}

/// Takes pictures; shared by all who ask.
#[derive(Debug, Clone)]
pub struct Snapshots {
    outbound: Outbound,
    /// Pixels that none is wider than; `None`: as wide as the picture.
    width: Option<u32>,
    last: Arc<tokio::sync::Mutex<Option<(Instant, Jpeg)>>>,
    failed: Arc<Mutex<Option<(Instant, String)>>>,
}

impl Snapshots {
    /// Takes them of this, at most so many pixels wide.
    pub fn new(outbound: Outbound, width: Option<u32>) -> Self {
        Self { outbound, width, last: Arc::default(), failed: Arc::default() }
    }

    /// A JPEG at most [`SPACING`] old; capture starts for it if it must.
    ///
    /// # Errors
    /// A sentence: the source has failed, or no frame came in time.
    pub async fn take(&self) -> Result<Jpeg, String> {
        // A task of its own: whoever asks and hangs up again and again must not begin an encode each time.
        let (this, asked) = (self.clone(), Instant::now());
        match tokio::spawn(async move { this.take_in_turn(asked).await }).await {
            Ok(taken) => taken,
            Err(error) => Err(format!("the picture could not be taken: {error}")),
        }
    }

    async fn take_in_turn(&self, asked: Instant) -> Result<Jpeg, String> {
        // Whoever comes while one is being taken waits here, and then gets that one.
        let mut last = self.last.lock().await;
        let fresh = |at: Instant| at.elapsed() < SPACING || at > asked;
        if let Some((at, jpeg)) = last.as_ref().filter(|(at, _)| fresh(*at)) {
            tracing::trace!(age = ?at.elapsed(), "a snapshot is shared");
            return Ok(jpeg.clone());
        }
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, reason)) = failed.filter(|(at, _)| fresh(*at)) {
            return Err(reason);
        }
        match self.picture().await {
            Ok(jpeg) => {
                *last = Some((Instant::now(), jpeg.clone()));
                Ok(jpeg)
            }
            Err(reason) => {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), reason.clone()));
                Err(reason)
            }
        }
    }

    async fn picture(&self) -> Result<Jpeg, String> {
        let hold = self.outbound.hold(Purpose::Snapshot);
        let (wish, frame) = Wish::new();
        self.outbound.tell(Command::Frame(wish));
        let late = || format!("no picture came from the device within {} s", PATIENCE.as_secs());
        let sample = match tokio::time::timeout(PATIENCE, frame).await {
            Ok(Ok(frame)) => frame?,
            Ok(Err(_)) => return Err("capture stopped before there was a picture".to_owned()),
            Err(_) => return Err(late()),
        };
        drop(hold);
        let width = self.width;
        match tokio::task::spawn_blocking(move || jpeg(&sample, width)).await {
            Ok(result) => result,
            Err(error) => Err(format!("the picture could not be encoded: {error}")),
        }
    }
}

fn jpeg(sample: &gst::Sample, widest: Option<u32>) -> Result<Jpeg, String> {
    let mut caps = gst::Caps::builder("image/jpeg");
    let info = sample.caps().and_then(|caps| gst_video::VideoInfo::from_caps(caps).ok());
    if let Some((width, height)) = info.zip(widest).and_then(|(info, widest)| fit(info.width(), info.height(), widest))
    {
        caps = caps.field("width", width).field("height", height);
    }
    let converted = gst_video::convert_sample(sample, &caps.build(), Some(gst::ClockTime::from_seconds(5)))
        .map_err(|error| format!("the picture could not be encoded: {error}"))?;
    let map = converted.buffer().and_then(|buffer| buffer.map_readable().ok());
    map.map(|map| Jpeg::from(map.as_slice())).ok_or_else(|| "the picture could not be encoded: it is empty".to_owned())
}

/// The size of a picture made so narrow, with even sides; `None`: it is narrow enough as it is.
fn fit(width: u32, height: u32, widest: u32) -> Option<(i32, i32)> {
    if width <= widest || width == 0 {
        return None;
    }
    let scaled = u64::from(height) * u64::from(widest) / u64::from(width);
    let even = |side: u64| i32::try_from((side & !1).max(2)).ok();
    even(widest.into()).zip(even(scaled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_one_keeps_its_shape_and_is_never_blown_up() {
        assert_eq!(fit(1280, 720, 480), Some((480, 270)));
        assert_eq!(fit(1080, 1920, 480), Some((480, 852)));
        assert_eq!(fit(480, 270, 480), None);
        assert_eq!(fit(320, 240, 480), None);
        assert_eq!(fit(u32::MAX, 1, 480), Some((480, 2)));
        assert_eq!(fit(0, 0, 480), None);
    }
}
