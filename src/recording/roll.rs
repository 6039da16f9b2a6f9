//! A recording under way: a tap that is open, and the thread that writes what comes through it.
//!
//! In: a tap, what to write and where. Out: files, [`Note`]s. Never: more than twice [`QUEUE`] packets in memory; a file
//! left open.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use gst::prelude::*;
use tokio::sync::mpsc;

use super::layout::Kind;
use super::shelf::{NOBODY, Shelf};
use super::talkers::Talkers;
use super::tap::{Outlet, Tap};
use super::writer::{self, Job, Note, SETTLE};
use crate::pipeline::{clock, common_base_time};

/// Packets that wait for a slow disk: some fifteen seconds.
const QUEUE: usize = 2048;
/// Longest wait for a file to be closed.
const CLOSE: Duration = Duration::from_secs(5);

/// A recording under way; to be ended with [`Roll::close`].
#[derive(Debug)]
pub struct Roll {
    tap: Tap,
    talkers: Talkers,
    notes: mpsc::UnboundedReceiver<Note>,
    written: tokio::task::JoinHandle<()>,
}

impl Roll {
    /// Opens the tap and starts to write; files begin with the first packet. `talker` has the turn.
    pub fn start(tap: &Tap, shelf: Shelf, kind: Kind, talker: Option<&str>, mix: Option<[gst_app::AppSrc; 2]>) -> Self {
        let (packets, received) = sync_channel(QUEUE);
        let (sender, notes) = mpsc::unbounded_channel();
        let (asking, ending) = (tap.clone(), tap.clone());
        let talkers = Talkers::new(talker);
        let job = Job {
            shelf,
            kind,
            peer: talker.unwrap_or(NOBODY).to_owned(),
            talkers: talkers.clone(),
            now: Box::new(now),
            end: Box::new(move || ending.end()),
            ask_for_key_frame: Box::new(move |lane| asking.ask_for_key_frame(lane)),
            note: Box::new(move |note| {
                // Nobody listens only while the service stops.
                sender.send(note).ok();
            }),
        };
        let written = tokio::task::spawn_blocking(move || writer::write(job, &received));
        tap.open(Outlet { packets, mix });
        Self { tap: tap.clone(), talkers, notes, written }
    }

    /// The next note; `None` once nothing is written any more.
    pub async fn note(&mut self) -> Option<Note> {
        self.notes.recv().await
    }

    /// This peer has the turn from now on, or nobody.
    pub fn talker(&self, peer: Option<&str>) {
        self.talkers.turn(peer);
    }

    /// Packets that the disk was too slow for.
    pub fn lost(&self) -> u64 {
        self.tap.lost()
    }

    /// Closes the tap and waits until the file is complete. Returns why it is not.
    pub async fn close(mut self) -> Option<String> {
        // What belongs to this moment and comes late; all tracks end with it.
        self.tap.end_at(now());
        tokio::time::sleep(SETTLE).await;
        self.tap.close();
        match tokio::time::timeout(CLOSE, &mut self.written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "writing a recording panicked"),
            Err(_) => tracing::warn!("the disk is slow: a recording was left without its index; it plays"),
        }
        while let Ok(note) = self.notes.try_recv() {
            if let Note::Failed(reason) = note {
                return Some(reason);
            }
        }
        None
    }
}

/// The process's common clock.
fn now() -> Duration {
    clock().time().saturating_sub(common_base_time()).into()
}

impl Drop for Roll {
    fn drop(&mut self) {
        self.tap.close();
    }
}
