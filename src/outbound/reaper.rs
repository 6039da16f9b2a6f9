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
use tokio::time::{Instant, sleep};

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
            // The service is stopping.
            to_null(&pipeline);
        }
    }
}

async fn reap(mut ended: mpsc::UnboundedReceiver<gst::Pipeline>) {
    let mut waiting: Vec<(Instant, gst::Pipeline)> = Vec::new();
    loop {
        tokio::select! {
            one = ended.recv() => match one {
                Some(pipeline) => waiting.push((Instant::now(), pipeline)),
                None => break,
            },
            () = sleep(LOOK), if !waiting.is_empty() => {
                let over = waiting.extract_if(.., |(since, pipeline)| is_alone(pipeline) || since.elapsed() > PATIENCE);
                stop(over.collect()).await;
            }
        }
    }
    stop(waiting).await;
}

/// Whether nobody else holds it. Messages that nobody fetches hold the pipeline that sent them.
fn is_alone(pipeline: &gst::Pipeline) -> bool {
    if let Some(bus) = pipeline.bus() {
        bus.set_flushing(true);
    }
    pipeline.ref_count() == 1
}

/// State changes may block: not on a thread of the runtime.
async fn stop(pipelines: Vec<(Instant, gst::Pipeline)>) {
    if pipelines.is_empty() {
        return;
    }
    let stopped =
        tokio::task::spawn_blocking(move || pipelines.iter().for_each(|(_, pipeline)| to_null(pipeline))).await;
    if let Err(error) = stopped {
        tracing::error!(%error, "stopping a session's pipeline panicked");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

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
}
