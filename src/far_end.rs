//! What the speaker plays, for the microphone that hears it: without it no echo can be taken out. And what `echo = "auto"` means here.
//!
//! In: each piece of sound on its way to the speaker, with the time at which it is heard. Out: the same at the inlet of the
//! microphone's echo probe, on that pipeline's time. Never: a queue of its own, or anything while no microphone asks.

use std::sync::{Arc, Mutex, PoisonError};

use gst::glib;
use gst::prelude::*;

use crate::config::Echo;

/// How much earlier than it is heard the sound is said to be played. A canceller looks back in time, never ahead; so much
/// covers what a microphone's own pipeline may be late.
const LEAD: gst::ClockTime = gst::ClockTime::from_mseconds(60);

/// What `auto` means here. The canceller of GStreamer 1.24 and later (webrtc-audio-processing 1) finds the delay of the echo by
/// itself; the one before (0.3) takes nothing out when the echo comes more than some 60 ms late, as behind a sound server.
/// Both measured with ci/test_echo.py.
pub fn resolved(echo: Echo) -> Echo {
    match echo {
        Echo::Auto => best(gst::version(), gst::ElementFactory::find("webrtcdsp").is_some()),
        given => given,
    }
}

fn best(version: (u32, u32, u32, u32), has_canceller: bool) -> Echo {
    if version >= (1, 24, 0, 0) && has_canceller { Echo::Cancel } else { Echo::Duck }
}

/// Shared by the inbound speaker, which fills it, and the outbound microphone.
#[derive(Debug, Clone, Default)]
pub struct FarEnd(Arc<Mutex<glib::WeakRef<gst_app::AppSrc>>>);

impl FarEnd {
    /// From now on the sound goes to this inlet; a newer one takes its place.
    pub fn heard_by(&self, inlet: &gst_app::AppSrc) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = inlet.downgrade();
    }

    /// Hands on what is heard at `at`, a time of the common clock.
    pub fn play(&self, buffer: &gst::Buffer, at: gst::ClockTime) {
        let inlet = self.0.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let Some((inlet, base)) = inlet.and_then(|inlet| inlet.base_time().map(|base| (inlet, base))) else { return };
        let Some(stamp) = at.checked_sub(base).and_then(|running| running.checked_sub(LEAD)) else { return };
        let mut buffer = buffer.clone();
        let writable = buffer.make_mut();
        writable.set_pts(stamp);
        writable.set_dts(None);
        // Refused while the microphone starts or stops: there is no echo to take out then.
        inlet.push_buffer(buffer).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_auto_means_depends_on_version_and_plugin() {
        for (version, has_canceller, meant) in [
            ((1, 26, 2, 0), true, Echo::Cancel),
            ((1, 24, 0, 0), true, Echo::Cancel),
            ((1, 26, 2, 0), false, Echo::Duck),
            ((1, 22, 0, 0), true, Echo::Duck),
        ] {
            assert_eq!(best(version, has_canceller), meant, "{version:?} {has_canceller}");
        }
        assert_eq!(resolved(Echo::Off), Echo::Off);
    }
}
