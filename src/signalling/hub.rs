//! The hub: one task in which all peers meet.
//!
//! In: peers that join, from WebSockets and from the device's own elements alike, and their messages. Out: to each
//! peer what the policy lets it see, and [`Notice`]s for the desk.
//! Never: waits for a peer; a remote one that does not read its messages, or sends the device more than it can take, is
//! disconnected. (256 messages may wait for a remote peer, more for the device.)
//!
//! ```text
//! PeerSender --+                +--------- Hub task ---------+            +--> Peer.rx
//! PeerSender --+-> commands --> | inbound > Handler > outbound| --> 256 --+--> Peer.rx
//! Hub ---------+                +-----------------------------+            +--> Notice
//! ```

use super::policy::{Limits, Policy, ProducerClass, Refusal};
use super::ration::LogRation;
use super::wire::{EndSessionMessage, IncomingMessage, OutgoingMessage};
use super::{Grants, Kind, Notice, PeerId};
use futures::channel::mpsc as feed;
use futures::{FutureExt, StreamExt};
use gst_plugin_webrtc_signalling::handlers::Handler;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

/// A handle to the hub; cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Hub {
    commands: mpsc::UnboundedSender<Command>,
    table: Arc<Mutex<Table>>,
    crowd: watch::Sender<u64>,
    max_peers: usize,
}

/// A place in the hub. Dropping it leaves.
#[derive(Debug)]
pub struct Peer {
    /// The peer's own id.
    pub id: PeerId,
    /// Where its messages go.
    pub tx: PeerSender,
    /// What it is told, `Welcome` first. Ends when the hub has disconnected it.
    pub rx: mpsc::Receiver<OutgoingMessage>,
    _leave: Leave,
}

/// Sends messages in the name of one peer.
#[derive(Clone, Debug)]
pub struct PeerSender {
    id: PeerId,
    commands: mpsc::UnboundedSender<Command>,
}

/// Why nobody can join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The limit of remote peers is reached.
    #[error("too many peers ({0}) are connected; try again when one has left")]
    TooManyPeers(usize),
    /// One person or machine has its share of connections.
    #[error("{0} connections are open with this sign-in already; close one")]
    TooManyOfOne(usize),
    /// The service is stopping.
    #[error("signalling is closed; the service is stopping")]
    Closed,
}

/// A remote peer that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Its peer id.
    pub id: PeerId,
    /// What it may do, and whose it is.
    pub grants: Grants,
    /// Where its connection comes from, if that is known.
    pub address: Option<IpAddr>,
    /// Since when it has been here.
    pub since: SystemTime,
}

/// How much goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Remote peers connected.
    pub peers: usize,
    /// Sessions running.
    pub sessions: usize,
    /// Messages refused or not understood since the start.
    pub refused: u64,
}

impl Hub {
    /// Starts the task; must be called within a tokio runtime. It ends with the last handle and the last peer.
    pub fn spawn(limits: Limits) -> (Hub, mpsc::UnboundedReceiver<Notice>) {
        let (commands, queue) = mpsc::unbounded_channel();
        let (notices, notices_rx) = mpsc::unbounded_channel();
        let table = Arc::new(Mutex::new(Table::default()));
        let crowd = watch::Sender::new(0);
        let (handler_tx, handler_rx) = feed::unbounded();
        let task = Task {
            policy: Policy::new(limits),
            handler: Handler::new(Box::pin(handler_rx)),
            handler_tx,
            outlets: HashMap::new(),
            from: None,
            overdue: Vec::new(),
            notices,
            table: table.clone(),
            crowd: crowd.clone(),
            log: LogRation::new(),
        };
        tokio::spawn(task.run(queue));
        (Hub { commands, table, crowd, max_peers: limits.max_peers }, notices_rx)
    }

    /// As [`Self::join_from`], from nowhere in particular.
    pub fn join(&self, kind: Kind) -> Result<Peer, JoinError> {
        self.join_from(kind, None)
    }

    /// Joins at once, from any thread. The limit of peers holds for remote ones only, so that strangers cannot keep
    /// the device itself out.
    pub fn join_from(&self, kind: Kind, address: Option<IpAddr>) -> Result<Peer, JoinError> {
        let id = uuid::Uuid::new_v4().to_string();
        if let Kind::Remote(grants) = &kind {
            let mut table = lock(&self.table);
            if table.remotes.len() >= self.max_peers {
                return Err(JoinError::TooManyPeers(self.max_peers));
            }
            // Nobody alone keeps the others out. The owner may: in the open mode everybody is.
            let own = table.remotes.values().filter(|other| other.grants.principal == grants.principal).count();
            let share = (self.max_peers / 2).max(1);
            if own >= share && !grants.owner {
                return Err(JoinError::TooManyOfOne(share));
            }
            let remote = Remote { id: id.clone(), grants: grants.clone(), address, since: SystemTime::now() };
            table.remotes.insert(id.clone(), remote);
        }
        let depth = if matches!(kind, Kind::Remote(_)) { QUEUE } else { DEVICE_QUEUE };
        let (outlet, rx) = mpsc::channel(depth);
        let join = Command::Join { id: id.clone(), kind, outlet };
        if self.commands.send(join).is_err() {
            lock(&self.table).remotes.remove(&id);
            return Err(JoinError::Closed);
        }
        let tx = PeerSender { id: id.clone(), commands: self.commands.clone() };
        let leave = Leave { id: id.clone(), commands: self.commands.clone() };
        Ok(Peer { id, tx, rx, _leave: leave })
    }

    /// What a connected remote peer may do; `None` for the device's own and for unknown ids.
    pub fn grants(&self, id: &str) -> Option<Grants> {
        lock(&self.table).remotes.get(id).map(|remote| remote.grants.clone())
    }

    /// All remote peers, the longest here first.
    pub fn remotes(&self) -> Vec<Remote> {
        let mut remotes: Vec<Remote> = lock(&self.table).remotes.values().cloned().collect();
        remotes.sort_by(|a, b| a.since.cmp(&b.since).then_with(|| a.id.cmp(&b.id)));
        remotes
    }

    /// Tells whenever a remote peer has come or gone, or has a new standing.
    pub fn crowd(&self) -> watch::Receiver<u64> {
        self.crowd.subscribe()
    }

    /// Disconnects one remote peer, with a sentence for it; nothing happens when it is not here.
    pub fn dismiss(&self, id: &str, sentence: &str) {
        self.send(Command::Dismiss { id: id.to_owned(), sentence: sentence.to_owned() });
    }

    /// Takes one remote peer out, as if it had left by itself; nothing happens when it is not here.
    pub fn leave(&self, id: &str) {
        self.send(Command::Leave(id.to_owned()));
    }

    /// Ends a session and tells both its sides; nothing happens when there is none with this id.
    pub fn end_session(&self, session_id: &str) {
        self.send(Command::EndSession(session_id.to_owned()));
    }

    /// Disconnects all peers of a principal, with a sentence for them.
    pub fn disconnect(&self, principal: &str) {
        self.send(Command::Disconnect { principal: principal.to_owned() });
    }

    /// Counts a message that was not even understood, and logs it.
    pub fn refused(&self, peer: &str, act: &'static str, reason: &str) {
        let refusal = Refusal { act, reason: reason.to_owned() };
        self.send(Command::Refused { peer: peer.to_owned(), refusal });
    }

    /// How much goes on at the moment.
    pub fn counts(&self) -> Counts {
        let table = lock(&self.table);
        Counts { peers: table.remotes.len(), sessions: table.sessions, refused: table.refused }
    }

    fn send(&self, command: Command) {
        if self.commands.send(command).is_err() {
            debug!("the signalling hub has ended");
        }
    }
}

impl PeerSender {
    /// Sends; never blocks. After the peer has left nothing happens.
    pub fn send(&self, message: IncomingMessage) {
        self.put(Command::Message { from: self.id.clone(), message });
    }

    /// For the device alone: it has let go of a session that is over, and can serve another in its place.
    pub fn let_go(&self, session_id: &str) {
        self.put(Command::LetGo(session_id.to_owned()));
    }

    fn put(&self, command: Command) {
        if self.commands.send(command).is_err() {
            debug!(peer = self.id, "the signalling hub has ended");
        }
    }
}

/// Leaves when dropped. Apart from [`Peer`] so that a peer's parts can be moved out of it.
#[derive(Debug)]
struct Leave {
    id: PeerId,
    commands: mpsc::UnboundedSender<Command>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if self.commands.send(Command::Leave(std::mem::take(&mut self.id))).is_err() {
            debug!("a peer left after the signalling hub had ended");
        }
    }
}

#[derive(Debug)]
enum Command {
    Join { id: PeerId, kind: Kind, outlet: mpsc::Sender<OutgoingMessage> },
    Message { from: PeerId, message: IncomingMessage },
    Leave(PeerId),
    LetGo(String),
    EndSession(String),
    Disconnect { principal: String },
    Dismiss { id: PeerId, sentence: String },
    Refused { peer: PeerId, refusal: Refusal },
}

/// What the handles can read without asking the task.
#[derive(Debug, Default)]
struct Table {
    remotes: HashMap<PeerId, Remote>,
    sessions: usize,
    refused: u64,
}

struct Task {
    policy: Policy,
    handler: Handler,
    handler_tx: feed::UnboundedSender<(PeerId, Option<IncomingMessage>)>,
    outlets: HashMap<PeerId, mpsc::Sender<OutgoingMessage>>,
    /// Whose message is being handled.
    from: Option<PeerId>,
    /// Peers whose queue was full, or who filled the device's.
    overdue: Vec<PeerId>,
    notices: mpsc::UnboundedSender<Notice>,
    table: Arc<Mutex<Table>>,
    /// Counts who came and went.
    crowd: watch::Sender<u64>,
    log: LogRation,
}

impl Task {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Command>) {
        while let Some(command) = queue.recv().await {
            self.apply(command);
            while let Some(id) = self.overdue.pop() {
                warn!(peer = id, "disconnected: it does not read its messages, or sends the device too many");
                self.remove(&id);
            }
            lock(&self.table).sessions = self.policy.session_count();
        }
    }

    fn apply(&mut self, command: Command) {
        match command {
            Command::Join { id, kind, outlet } => {
                self.crowd.send_modify(|count| *count += 1);
                self.outlets.insert(id.clone(), outlet);
                self.policy.peer_joined(id.clone(), kind);
                self.handle(&id, Some(IncomingMessage::NewPeer));
            }
            Command::Message { from, message } => self.message(&from, message),
            Command::Leave(id) => self.remove(&id),
            Command::LetGo(session_id) => self.policy.let_go(&session_id),
            Command::EndSession(session_id) => self.end_session(session_id),
            Command::Disconnect { principal } => self.disconnect(&principal),
            Command::Dismiss { id, sentence } => self.dismiss(&id, sentence),
            Command::Refused { peer, refusal } => self.note_refusal(&peer, refusal),
        }
    }

    fn message(&mut self, from: &str, message: IncomingMessage) {
        if !self.outlets.contains_key(from) {
            // Sent before it knew that it was disconnected.
            return;
        }
        let was_producing = self.policy.producing(from);
        match self.policy.inbound(from, message) {
            Ok(message) => {
                self.from = Some(from.to_owned());
                self.handle(from, Some(message));
                self.from = None;
                self.note_producing(from, was_producing, self.policy.producing(from));
            }
            Err(refusal) => {
                self.deliver(from, OutgoingMessage::Error { details: refusal.reason.clone() });
                self.note_refusal(from, refusal);
            }
        }
    }

    /// Feeds the handler and passes on all it has to say about it. It waits for nothing but its input.
    fn handle(&mut self, peer: &str, message: Option<IncomingMessage>) {
        if self.handler_tx.unbounded_send((peer.to_owned(), message)).is_err() {
            warn!(peer, "the signalling handler has ended");
            return;
        }
        while let Some(Some((to, answer))) = self.handler.next().now_or_never() {
            if let Some(answer) = self.policy.outbound(&to, answer) {
                self.deliver(&to, answer);
            }
        }
    }

    fn deliver(&mut self, to: &str, message: OutgoingMessage) {
        let Some(outlet) = self.outlets.get(to) else { return };
        match outlet.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Full(message)) => {
                if let OutgoingMessage::StartSession { session_id, .. } = &message {
                    self.policy.never_began(session_id);
                }
                // The device serves all: whoever sends it more than it can take goes, not the device.
                let is_device = !lock(&self.table).remotes.contains_key(to);
                let goes = if is_device { self.from.clone() } else { Some(to.to_owned()) };
                if let Some(goes) = goes.filter(|goes| !self.overdue.contains(goes)) {
                    self.overdue.push(goes);
                }
            }
            // Its own leaving is already in the queue.
            Err(TrySendError::Closed(_)) => debug!(peer = to, "a message came after the peer had left"),
        }
    }

    fn remove(&mut self, id: &str) {
        if self.outlets.remove(id).is_none() {
            return;
        }
        self.note_producing(id, self.policy.producing(id), false);
        self.handle(id, None);
        self.policy.peer_left(id);
        if lock(&self.table).remotes.remove(id).is_some() {
            self.crowd.send_modify(|count| *count += 1);
            self.notify(Notice::PeerGone(id.to_owned()));
        }
    }

    fn end_session(&mut self, session_id: String) {
        let Some((producer, consumer)) = self.policy.session(&session_id) else { return };
        debug!(session = session_id, producer, consumer, "the device ends a session");
        let end = || EndSessionMessage { session_id: session_id.clone() };
        // The handler tells the other side only.
        self.handle(&producer, Some(IncomingMessage::EndSession(end())));
        self.deliver(&producer, OutgoingMessage::EndSession(end()));
    }

    fn disconnect(&mut self, principal: &str) {
        let of_principal = |remote: &Remote| (remote.grants.principal == principal).then(|| remote.id.clone());
        let ids: Vec<PeerId> = lock(&self.table).remotes.values().filter_map(of_principal).collect();
        for id in ids {
            info!(peer = id, principal, "disconnected: its sign-in has ended");
            self.deliver(&id, OutgoingMessage::Error { details: "Your sign-in has ended; sign in again.".into() });
            self.remove(&id);
        }
    }

    fn dismiss(&mut self, id: &str, sentence: String) {
        if !lock(&self.table).remotes.contains_key(id) {
            return;
        }
        info!(peer = id, "disconnected by the owner");
        self.deliver(id, OutgoingMessage::Error { details: sentence });
        self.remove(id);
    }

    fn note_producing(&self, id: &str, was: bool, is: bool) {
        if was == is {
            return;
        }
        let id = id.to_owned();
        match (self.policy.producer_class(&id), is) {
            (Some(ProducerClass::Device), true) => self.notify(Notice::DeviceProducing(id)),
            (Some(ProducerClass::Device), false) => self.notify(Notice::DeviceGone(id)),
            (Some(ProducerClass::Talker), true) => self.notify(Notice::TalkerProducing(id)),
            (Some(ProducerClass::Talker), false) => self.notify(Notice::TalkerStopped(id)),
            (Some(ProducerClass::Published) | None, _) => {}
        }
    }

    fn note_refusal(&self, peer: &str, Refusal { act, reason }: Refusal) {
        let principal = {
            let mut table = lock(&self.table);
            table.refused += 1;
            table.remotes.get(peer).map(|remote| remote.grants.principal.clone())
        };
        if let Some(left_out) = self.log.pass() {
            warn!(peer, principal, act, reason, left_out, "signalling message refused");
        }
        self.notify(Notice::Refused { peer: peer.to_owned(), act, reason });
    }

    fn notify(&self, notice: Notice) {
        if self.notices.send(notice).is_err() {
            debug!("nobody listens to the notices of signalling");
        }
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    // Nothing is left half done in there, so a panic elsewhere is no reason to stop.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Messages that may wait for one remote peer.
const QUEUE: usize = 256;
/// Messages that may wait for the device: those of all peers, while it makes their sessions.
const DEVICE_QUEUE: usize = 16_384;

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
