//! What the API needs of the device's desk, so that the API can be tested without media.
//!
//! In: requests for the turn to talk. Out: its state, the device's status, events.
//! Never: decides anything itself.

use crate::api::{Access, Event, Quality, Status, TalkState};
use crate::desk::{Desk, DeskClosed};
use crate::session::Turns;
use futures::future::BoxFuture;
use std::time::SystemTime;
use tokio::sync::mpsc::Receiver;

/// The desk as the API sees it.
pub trait TalkDesk: Send + Sync + 'static {
    /// Asks for the turn; with `take` whoever has it loses it. The caller has checked that `peer` may.
    fn ask<'a>(&'a self, peer: &'a str, take: bool) -> BoxFuture<'a, Result<TalkState, DeskClosed>>;
    /// Gives the turn, or the place in the line, back.
    fn release<'a>(&'a self, peer: &'a str) -> BoxFuture<'a, Result<TalkState, DeskClosed>>;
    /// Sets a viewer's choice of quality. The caller has checked that `peer` is its own.
    fn choose_quality<'a>(&'a self, peer: &'a str, quality: Quality) -> BoxFuture<'a, Result<(), DeskClosed>>;
    /// The whole status, with the caller's access in it.
    fn status(&self, access: Access) -> Status;
    /// Events for one peer: the present status and turn first, then what changes.
    fn subscribe<'a>(&'a self, peer: &'a str) -> BoxFuture<'a, Result<Receiver<Event>, DeskClosed>>;
    /// An event for one peer's page alone.
    fn tell<'a>(&'a self, peer: &'a str, event: Event) -> BoxFuture<'a, Result<(), DeskClosed>>;
    /// Who has the turn to talk, and who waits for it.
    fn turns(&self) -> Turns;
    /// What does not work just now though the service goes on, a sentence each.
    fn faults(&self) -> Vec<String>;
    /// Since when anything of the call is recorded.
    fn recorded_since(&self) -> Option<SystemTime>;
}

impl TalkDesk for Desk {
    fn ask<'a>(&'a self, peer: &'a str, take: bool) -> BoxFuture<'a, Result<TalkState, DeskClosed>> {
        Box::pin(Desk::ask(self, peer, take))
    }

    fn release<'a>(&'a self, peer: &'a str) -> BoxFuture<'a, Result<TalkState, DeskClosed>> {
        Box::pin(Desk::release(self, peer))
    }

    fn choose_quality<'a>(&'a self, peer: &'a str, quality: Quality) -> BoxFuture<'a, Result<(), DeskClosed>> {
        Box::pin(Desk::choose_quality(self, peer, quality))
    }

    fn status(&self, access: Access) -> Status {
        Desk::status(self, access)
    }

    fn subscribe<'a>(&'a self, peer: &'a str) -> BoxFuture<'a, Result<Receiver<Event>, DeskClosed>> {
        Box::pin(Desk::subscribe(self, peer))
    }

    fn tell<'a>(&'a self, peer: &'a str, event: Event) -> BoxFuture<'a, Result<(), DeskClosed>> {
        Box::pin(Desk::tell(self, peer, event))
    }

    fn turns(&self) -> Turns {
        Desk::turns(self)
    }

    fn faults(&self) -> Vec<String> {
        Desk::faults(self)
    }

    fn recorded_since(&self) -> Option<SystemTime> {
        Desk::recorded_since(self)
    }
}
