//! One viewer: a socket that answers checks, shakes hands, counts and tells what it counted.
//!
//! In: an offer, packets. Out: an answer, packets, a [`Count`]. Never: more than one task.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::Failure;
use crate::answer::{Here, Kind, Meaning, answer};
use crate::feedback::Feedback;
use crate::handshake::Handshake;
use crate::rtp::{Count, Counter, header};
use crate::stun;

/// What its task and those who ask share.
#[derive(Debug)]
struct Shared {
    counter: Mutex<Counter>,
    handshake: Handshake,
}

impl Shared {
    fn counter(&self) -> std::sync::MutexGuard<'_, Counter> {
        self.counter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A viewer; it leaves when it is dropped.
#[derive(Debug)]
pub struct Viewer {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Viewer {
    /// Answers an offer; packets are taken at this address.
    pub async fn new(offer: &str, address: IpAddr) -> Result<(Self, String), Failure> {
        let socket = Arc::new(UdpSocket::bind((address, 0)).await?);
        let (fragment, password) =
            (uuid::Uuid::new_v4().simple().to_string(), uuid::Uuid::new_v4().simple().to_string());
        let there = Arc::new(Mutex::new(None));
        let (out, to) = (socket.clone(), there.clone());
        let handshake = Handshake::new(&fragment, move |packet| {
            if let Some(to) = *to.lock().unwrap_or_else(PoisonError::into_inner) {
                // What does not go out now gets lost, as on any network.
                out.try_send_to(packet, to).ok();
            }
        })?;
        let here = Here {
            credentials: (&fragment, &password),
            fingerprint: &handshake.fingerprint()?,
            address: socket.local_addr()?,
        };
        let (answer, meaning) = answer(offer, &here);
        let shared = Arc::new(Shared { counter: Mutex::default(), handshake });
        let life = Life { socket, there, password, meaning, shared: shared.clone() };
        let task = tokio::spawn(async move {
            if let Err(error) = life.live().await {
                eprintln!("a viewer ended: {error}");
            }
        });
        Ok((Self { shared, task }, answer))
    }

    /// Counts anew.
    pub fn reset(&self) {
        self.shared.counter().reset();
    }

    /// What it counted.
    pub fn report(&self) -> Count {
        self.shared.counter().count(self.shared.handshake.done(), Instant::now())
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What its task has.
struct Life {
    socket: Arc<UdpSocket>,
    /// Where the sender is.
    there: Arc<Mutex<Option<SocketAddr>>>,
    password: String,
    meaning: Meaning,
    shared: Arc<Shared>,
}

impl Life {
    async fn live(self) -> Result<(), Failure> {
        let (mut packet, mut started, mut seen) = (vec![0; 2048], false, false);
        let mut feedback = Feedback::new(uuid::Uuid::new_v4().as_u128() as u32, Instant::now());
        let handshake = &self.shared.handshake;
        loop {
            let (size, from) = self.socket.recv_from(&mut packet).await?;
            let (packet, now) = (&packet[..size], Instant::now());
            // RFC 7983 tells the protocols apart by the first byte.
            match packet.first() {
                Some(0..=3) => {
                    let Some(check) = stun::answer(packet, from, &self.password) else { continue };
                    self.socket.send_to(&check.answer, from).await?;
                    if check.nominated {
                        *self.there.lock().unwrap_or_else(PoisonError::into_inner) = Some(from);
                        if !std::mem::replace(&mut started, true) {
                            handshake.start()?;
                        }
                    }
                }
                Some(20..=63) => handshake.take(packet),
                // RTCP by its second byte (RFC 5761).
                Some(128..=191) if size > 1 && !(192..=223).contains(&packet[1]) => {
                    let Some(header) = header(packet, self.meaning.transport_wide) else { continue };
                    self.shared.counter().take(&header, &self.meaning, size, now);
                    if let Some(report) = feedback.take(header.transport_wide, header.source, now) {
                        handshake.report(report);
                    }
                    let video = self.meaning.kinds.get(&header.payload) == Some(&Kind::Video);
                    if video && !std::mem::replace(&mut seen, true) {
                        handshake.report(feedback.wants_key_frame(header.source));
                    }
                }
                _ => {}
            }
        }
    }
}
