//! The publisher's session with the device: a peer of the signalling hub that asks for the device's media as a viewer does.
//!
//! In: messages of the hub. Out: the device's offer with all its candidates; the server's answer to the device. Never: HTTP;
//! media. Dropping it ends the session.

use std::time::Duration;

use super::sdp::{self, Candidate};
use crate::signalling::Kind;
use crate::signalling::hub::{Hub, Peer};
use crate::signalling::wire::{
    IncomingMessage, OutgoingMessage, PeerMessage, PeerMessageInner, SdpMessage, StartSessionMessage,
};

/// One session with the device.
#[derive(Debug)]
pub struct Call {
    peer: Peer,
    session: String,
}

/// What has come so far.
#[derive(Default)]
struct Gathered {
    session: Option<String>,
    offer: Option<String>,
    candidates: Vec<Candidate>,
    complete: bool,
}

impl Call {
    /// Asks for the device's media; its offer is complete with candidates.
    ///
    /// # Errors
    /// A sentence's end that says why there is none.
    pub async fn start(hub: &Hub) -> Result<(Self, String), String> {
        let mut peer = hub.join(Kind::DevicePublisher).map_err(|error| error.to_string())?;
        let mut gathered = Gathered::default();
        let deadline = tokio::time::sleep(GATHER);
        tokio::pin!(deadline);
        while !(gathered.complete && gathered.offer.is_some()) {
            tokio::select! {
                message = peer.rx.recv() => gathered.take(&peer, message.ok_or("the service is stopping")?)?,
                // A STUN server that does not answer holds it up for some seconds.
                () = &mut deadline => break,
            }
        }
        let Gathered { session: Some(session), offer: Some(offer), candidates, .. } = gathered else {
            return Err(format!("the device makes no offer within {} s", GATHER.as_secs()));
        };
        if candidates.is_empty() {
            return Err("the device has no network address".to_owned());
        }
        let offer = sdp::complete(&offer, &candidates);
        Ok((Self { peer, session }, offer))
    }

    /// The peer's id, by which outbound knows the session.
    pub fn peer(&self) -> &str {
        &self.peer.id
    }

    /// Gives the device the server's answer.
    pub fn answer(&self, answer: &str) {
        // Its session takes the candidates out of it.
        let peer_message = PeerMessageInner::Sdp(SdpMessage::Answer { sdp: answer.to_owned() });
        self.peer.tx.send(IncomingMessage::Peer(PeerMessage { session_id: self.session.clone(), peer_message }));
    }

    /// Waits for the end of the session, from whichever side.
    pub async fn ended(&mut self) {
        while let Some(message) = self.peer.rx.recv().await {
            if matches!(message, OutgoingMessage::EndSession(end) if end.session_id == self.session) {
                return;
            }
        }
    }
}

impl Gathered {
    fn take(&mut self, peer: &Peer, message: OutgoingMessage) -> Result<(), String> {
        match message {
            OutgoingMessage::Welcome { .. } => peer.tx.send(IncomingMessage::List),
            OutgoingMessage::List { producers } => {
                let device = producers.into_iter().next().ok_or("the device cannot be called yet")?;
                peer.tx.send(IncomingMessage::StartSession(StartSessionMessage { peer_id: device.id, offer: None }));
            }
            OutgoingMessage::SessionStarted { session_id, .. } => self.session = Some(session_id),
            OutgoingMessage::Peer(PeerMessage { peer_message, .. }) => match peer_message {
                PeerMessageInner::Sdp(SdpMessage::Offer { sdp }) => self.offer = Some(sdp),
                PeerMessageInner::Ice { candidate, .. } if candidate.is_empty() => self.complete = true,
                PeerMessageInner::Ice { candidate, sdp_m_line_index } => {
                    self.candidates.push((sdp_m_line_index, candidate));
                }
                PeerMessageInner::Sdp(SdpMessage::Answer { .. }) => {}
            },
            OutgoingMessage::EndSession(_) => return Err("the device ended the session before its offer".to_owned()),
            OutgoingMessage::Error { details } => return Err(details.trim_end_matches('.').to_owned()),
            OutgoingMessage::PeerStatusChanged(_)
            | OutgoingMessage::StartSession { .. }
            | OutgoingMessage::ListConsumers { .. } => {}
        }
        Ok(())
    }
}

/// Longest wait for the offer and its candidates. Without STUN and TURN it takes some 50 ms, on a busy machine that has just
/// started seconds.
const GATHER: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signalling::policy::Limits;
    use crate::signalling::wire::{PeerRole, PeerStatus};

    const PATIENCE: Duration = Duration::from_secs(10);

    fn registered(hub: &Hub) -> Peer {
        let device = hub.join(Kind::DeviceProducer).unwrap();
        let roles = vec![PeerRole::Producer];
        device.tx.send(IncomingMessage::SetPeerStatus(PeerStatus { roles, meta: None, peer_id: None }));
        device
    }

    async fn until<T>(device: &mut Peer, wanted: impl Fn(OutgoingMessage) -> Option<T>) -> T {
        loop {
            let message = tokio::time::timeout(PATIENCE, device.rx.recv()).await.unwrap().unwrap();
            if let Some(found) = wanted(message) {
                return found;
            }
        }
    }

    #[tokio::test]
    async fn the_offer_has_all_candidates_and_the_answer_arrives() {
        let (hub, _notices) = Hub::spawn(Limits::default());
        let mut device = registered(&hub);
        let starting = tokio::spawn({
            let hub = hub.clone();
            async move { Call::start(&hub).await }
        });
        let session = until(&mut device, |message| match message {
            OutgoingMessage::StartSession { session_id, .. } => Some(session_id),
            _ => None,
        })
        .await;
        let candidate =
            |candidate: &str| PeerMessageInner::Ice { candidate: candidate.to_owned(), sdp_m_line_index: 0 };
        // Candidates may come before the offer that they belong to.
        for peer_message in [
            candidate("candidate:1 1 UDP 1 192.0.2.1 9 typ host"),
            PeerMessageInner::Sdp(SdpMessage::Offer { sdp: "v=0\r\nm=video 9 RTP 96\r\n".into() }),
            candidate("candidate:2 1 UDP 1 192.0.2.2 9 typ host"),
            candidate(""),
        ] {
            device.tx.send(IncomingMessage::Peer(PeerMessage { session_id: session.clone(), peer_message }));
        }
        let (mut call, offer) = tokio::time::timeout(PATIENCE, starting).await.unwrap().unwrap().unwrap();
        assert!(
            offer.contains("192.0.2.1 9 typ host\r\na=candidate:2 ") && offer.ends_with("a=end-of-candidates\r\n"),
            "{offer}"
        );
        call.answer("v=1");
        let answer = until(&mut device, |message| match message {
            OutgoingMessage::Peer(PeerMessage {
                peer_message: PeerMessageInner::Sdp(SdpMessage::Answer { sdp }),
                ..
            }) => Some(sdp),
            _ => None,
        });
        assert_eq!(answer.await, "v=1");
        hub.end_session(&session);
        tokio::time::timeout(PATIENCE, call.ended()).await.unwrap();
    }

    #[tokio::test]
    async fn a_device_that_is_not_there_or_has_no_address_is_told() {
        let (hub, _notices) = Hub::spawn(Limits::default());
        assert_eq!(Call::start(&hub).await.unwrap_err(), "the device cannot be called yet");
        let mut device = registered(&hub);
        let starting = tokio::spawn(async move { Call::start(&hub).await.map(|_| ()) });
        let session_id = until(&mut device, |message| match message {
            OutgoingMessage::StartSession { session_id, .. } => Some(session_id),
            _ => None,
        })
        .await;
        let none = PeerMessageInner::Ice { candidate: String::new(), sdp_m_line_index: 0 };
        for peer_message in [none, PeerMessageInner::Sdp(SdpMessage::Offer { sdp: "v=0\r\n".into() })] {
            device.tx.send(IncomingMessage::Peer(PeerMessage { session_id: session_id.clone(), peer_message }));
        }
        let said = tokio::time::timeout(PATIENCE, starting).await.unwrap().unwrap().unwrap_err();
        assert_eq!(said, "the device has no network address");
    }
}
