//! Parts that break while the service runs: each is built anew, and the device can be called again.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::hold::Purpose;
use super::snapshot::Snapshots;
use super::{Command, Outbound};
use crate::config::{self, Flags};
use crate::far_end::FarEnd;
use crate::metrics::{Metrics, Scrape};
use crate::picture_slot::PictureSlot;
use crate::signalling::Notice;
use crate::signalling::hub::Hub;
use crate::signalling::policy::Limits;
use crate::transport::IceUris;

/// Far more than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn started() -> (Outbound, Hub, UnboundedReceiver<Notice>, Metrics) {
    crate::init_gstreamer().unwrap();
    let flags = Flags::default().with("state-dir", "/nowhere").with("width", "320").with("height", "180");
    let config = config::load(&flags, |_| None).unwrap();
    let metrics = Metrics::new("test");
    let settings = crate::outbound_settings(&config, IceUris::default(), FarEnd::default(), metrics.clone());
    let (hub, notices) = Hub::spawn(Limits::default());
    let (outbound, _reports) = Outbound::start(settings, hub.clone(), PictureSlot::default()).unwrap();
    (outbound, hub, notices, metrics)
}

/// The next peer that produces as the device; who did before is gone by then.
async fn device(notices: &mut UnboundedReceiver<Notice>, before: Option<&str>) -> String {
    let mut gone = before.is_none();
    let wait = async {
        loop {
            match notices.recv().await.expect("the hub lives") {
                Notice::DeviceGone(id) => gone |= before == Some(id.as_str()),
                Notice::DeviceProducing(id) => break id,
                _ => {}
            }
        }
    };
    let id = timeout(PATIENCE, wait).await.expect("a device in time");
    assert!(gone, "the old one is not listed beside the new one");
    id
}

fn count(metrics: &Metrics, pipeline: &str) -> usize {
    let text = metrics.text(Scrape { peers: 0, dropped: 0 }).unwrap();
    let line = text.lines().find(|line| line.contains("restarts") && line.contains(&format!("\"{pipeline}\"")));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_panics_is_started_anew() {
    let (outbound, _hub, mut notices, metrics) = started();
    let first = device(&mut notices, None).await;
    assert_eq!(count(&metrics, "sending"), 0);
    outbound.tell(Command::Break("sender"));
    let second = device(&mut notices, Some(&first)).await;
    assert_ne!(first, second);
    assert_eq!(count(&metrics, "sending"), 1);
    outbound.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mixing_pipeline_that_fails_is_built_anew_for_whoever_wants_it() {
    let (outbound, _hub, mut notices, metrics) = started();
    device(&mut notices, None).await;
    let _hold = outbound.hold(Purpose::Recording);
    let snapshots = Snapshots::new(outbound.clone(), None);
    assert!(!timeout(PATIENCE, snapshots.take()).await.unwrap().unwrap().is_empty());
    outbound.tell(Command::Break("mixer"));
    timeout(PATIENCE, async {
        while count(&metrics, "mixing") == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await
        }
    })
    .await
    .unwrap();
    // A picture that was kept from before would be given out within half a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!timeout(PATIENCE, snapshots.take()).await.unwrap().unwrap().is_empty());
    outbound.stop().await;
}
