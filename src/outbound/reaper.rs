//! Stops the pipelines of sessions that have ended, for good.
//!
//! In: a session's pipeline, once webrtcsink has let go of it. Out: nothing of it is left. Never: a pipeline that webrtcsink
//! still works on.
//!
//! gst-plugin-webrtc 0.15.4 makes a session in a task of its own (`start_session` in webrtcsink/imp.rs). One that is ended
//! meanwhile is set to Null and forgotten, and then the task sets it to Ready and Paused: with each such session a thread and
//! three descriptors stayed for ever, and a viewer can have many of them a second. To be taken out when webrtcsink looks
//! whether the session still is before it starts it.

use std::time::Duration;

use gst::prelude::*;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::pipeline::to_null;

/// How often is looked who still holds a pipeline.
const LOOK: Duration = Duration::from_millis(200);
/// One that is still held after this is stopped all the same.
const PATIENCE: Duration = Duration::from_secs(20);

/// Takes pipelines that have ended; ends itself when its last handle is gone.
#[derive(Debug, Clone)]
pub struct Reaper(mpsc::UnboundedSender<gst::Pipeline>);

impl Reaper {
    /// Starts it, in the current runtime.
    pub fn spawn() -> Self {
        let (tx, ended) = mpsc::unbounded_channel();
        tokio::spawn(reap(ended));
        Self(tx)
    }

    /// This pipeline's session has ended.
    pub fn take(&self, pipeline: gst::Pipeline) {
        if let Err(mpsc::error::SendError(pipeline)) = self.0.send(pipeline) {
            // The service is stopping. Not here: whoever calls may hold what a state change waits for.
            std::thread::spawn(move || to_null(&pipeline));
        }
    }
}

async fn reap(mut ended: mpsc::UnboundedReceiver<gst::Pipeline>) {
    let mut waiting: Vec<(Instant, gst::Pipeline)> = Vec::new();
    // Of its own time: sessions that end one after the other must not put it off.
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            one = ended.recv() => match one {
                Some(pipeline) => waiting.push((Instant::now(), pipeline)),
                None => break,
            },
            _ = look.tick(), if !waiting.is_empty() => {
                let over = |(since, pipeline): &mut (Instant, gst::Pipeline)| is_alone(pipeline) || since.elapsed() > PATIENCE;
                waiting.extract_if(.., over).for_each(|(_, pipeline)| stop(pipeline));
            }
        }
    }
    waiting.into_iter().for_each(|(_, pipeline)| stop(pipeline));
}

/// State changes may block, and one that does must not hold up the others.
fn stop(pipeline: gst::Pipeline) {
    tokio::task::spawn_blocking(move || to_null(&pipeline));
}

/// Whether nobody else holds it. Messages that nobody fetches hold the pipeline that sent them; webrtcsink, which would fetch
/// them, has let go of this one.
fn is_alone(pipeline: &gst::Pipeline) -> bool {
    if let Some(bus) = pipeline.bus() {
        bus.set_flushing(true);
    }
    pipeline.ref_count() == 1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn a_pipeline_is_stopped_once_nobody_else_holds_it() {
        crate::init_gstreamer().unwrap();
        let reaper = Reaper::spawn();
        let pipeline = gst::Pipeline::new();
        let element = gst::ElementFactory::make("fakesrc").build().unwrap();
        pipeline.add(&element).unwrap();
        reaper.take(pipeline.clone());
        sleep(3 * LOOK).await;
        // Somebody who was late starts it, as webrtcsink's task does, and lets go of it.
        pipeline.set_state(gst::State::Ready).unwrap();
        sleep(3 * LOOK).await;
        assert_eq!(element.current_state(), gst::State::Ready, "it was still held");
        let gone = pipeline.downgrade();
        drop(pipeline);
        let until = Instant::now() + Duration::from_secs(10);
        while gone.upgrade().is_some() && Instant::now() < until {
            sleep(LOOK / 4).await;
        }
        assert!(gone.upgrade().is_none());
        assert_eq!(element.current_state(), gst::State::Null);
    }

    #[tokio::test]
    async fn sessions_that_end_one_after_the_other_do_not_put_it_off() {
        crate::init_gstreamer().unwrap();
        let reaper = Reaper::spawn();
        let first = gst::Pipeline::new();
        let gone = first.downgrade();
        reaper.take(first);
        let until = Instant::now() + Duration::from_secs(10);
        while gone.upgrade().is_some() && Instant::now() < until {
            reaper.take(gst::Pipeline::new());
            sleep(LOOK / 4).await;
        }
        assert!(gone.upgrade().is_none());
    }
}
