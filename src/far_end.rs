//! What the speaker plays, for the microphone that hears it: without it no echo can be taken out. And what `echo = "auto"` means here.
//!
//! In: each piece of sound on its way to the speaker, with the time at which it is heard. Out: the same at the inlet of each
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
pub struct FarEnd(Arc<Mutex<Vec<glib::WeakRef<gst_app::AppSrc>>>>);

impl FarEnd {
    /// From now on the sound goes to this inlet as well, as long as it lives: one microphone is tried while another is heard.
    pub fn heard_by(&self, inlet: &gst_app::AppSrc) {
        let mut inlets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inlets.retain(|inlet| inlet.upgrade().is_some());
        inlets.push(inlet.downgrade());
    }

    /// Hands on what is heard at `at`, a time of the common clock.
    pub fn play(&self, buffer: &gst::Buffer, at: gst::ClockTime) {
        // Held only while they are taken: nothing of GStreamer's is called under the lock.
        let inlets: Vec<_> = {
            let inlets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            inlets.iter().filter_map(|inlet| inlet.upgrade()).collect()
        };
        for inlet in inlets {
            // Before it plays its base is zero, and a piece that is stamped by that would wait there and be ahead of all others.
            let Some(base) = inlet.base_time().filter(|base| !base.is_zero()) else { continue };
            let Some(stamp) = at.checked_sub(base).and_then(|running| running.checked_sub(LEAD)) else { continue };
            let mut buffer = buffer.clone();
            let writable = buffer.make_mut();
            writable.set_pts(stamp);
            writable.set_dts(None);
            // Refused while the microphone stops: there is no echo to take out then.
            inlet.push_buffer(buffer).ok();
        }
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

    #[test]
    fn a_microphone_that_is_tried_and_given_up_takes_nothing_from_the_one_that_is_heard() {
        gst::init().unwrap();
        let caps = gst::Caps::new_empty_simple("audio/x-raw");
        let inlet = || crate::bridge::inlet(&caps, 10, gst::ClockTime::ZERO).unwrap();
        let (heard, outlet) = (inlet(), crate::bridge::outlet(&caps, false).unwrap());
        let pipeline = crate::pipeline::Pipeline::new("heard");
        pipeline.add_chain("heard", &[heard.upcast_ref(), outlet.upcast_ref()]).unwrap();
        pipeline.inner().set_state(gst::State::Playing).unwrap();
        let (far_end, tried) = (FarEnd::default(), inlet());
        far_end.heard_by(&heard);
        far_end.heard_by(&tried);
        drop(tried);
        // A microphone of a pipeline that does not play yet.
        let waiting = inlet();
        far_end.heard_by(&waiting);
        let soon = crate::pipeline::clock().time() + gst::ClockTime::SECOND;
        far_end.play(&gst::Buffer::with_size(4).unwrap(), soon);
        assert!(outlet.try_pull_sample(gst::ClockTime::from_seconds(10)).is_some());
        assert_eq!(waiting.current_level_buffers(), 0, "it would be taken for later than all that comes once it plays");
    }
}
