//! One viewer's session: its end of WebRTC, and which packets it gets.
//!
//! In: encoded pictures and sound, its peer's offer or answer, candidates and datagrams, time. Out: our offer or answer; datagrams; [`Happening`]s.
//! Never: a picture before a key frame of its rung; media to an address that has not answered a check ([`Consent`]); a panic of the library that
//! reaches another session.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gst_sdp::SDPMessage;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::format::PayloadParams;
use str0m::media::{Direction, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpWrite, SeqNo};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcError};

use super::config::{self, AUDIO, MediaConfig, VIDEO, bitrate};
use super::consent::Consent;
use super::descriptions::{self, without_candidates};
use super::frame::{AUDIO_RATE, Frame, VIDEO_RATE};
use super::redundancy::Redundancy;
use super::sockets::{Datagram, Sockets};
use crate::metrics;
use crate::outbound::climb::Anew;
use crate::outbound::link::Reading;
use crate::pipeline::Error;
use crate::sdp_check;

/// What came of something.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// Its transport is up.
    Connected,
    /// Its peer cannot go on without a key frame.
    KeyFrameWanted,
    /// How its link does.
    Reported {
        /// kbit/s that it carries, by the estimate.
        carries: Option<f64>,
        /// Share of the packets of the last second that were lost, 0 to 1; `None`: it reported on none.
        loss: Option<f64>,
        /// Bytes of media so far.
        bytes: u64,
        /// How long a packet and the answer to it take.
        round_trip: Option<Duration>,
    },
    /// Its peer answers no more (`true`), or again.
    Silent(bool),
    /// It cannot go on; why.
    Over(String),
}

/// A session.
pub struct Session {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub peer: String,
    /// When it wants to be looked at next.
    pub next: Instant,
    /// Whether its transport is up.
    pub connected: bool,
    rtc: Rtc,
    pending: Option<(SdpPendingOffer, SDPMessage)>,
    /// Whether its peer made the offer. It may have no other way to say something.
    pub calls: bool,
    /// Since when its peer does not answer.
    pub silent: Option<Instant>,
    /// Our own candidates that its peer was told.
    offered: HashSet<(SocketAddr, Protocol)>,
    /// The candidates its peer has told.
    candidates: usize,
    /// Where its peer's checks came from, and when last.
    sources: HashMap<SocketAddr, Instant>,
    /// How many there were in all.
    all_sources: usize,
    consent: Consent,
    /// Whether something was not sent for want of it.
    held_back: bool,
    /// Reports that its peer sent, in the second that began then.
    reports: (Instant, u32),
    /// What it will get first: from a key frame on, while its transport comes up.
    early: Vec<(Arc<Frame>, u32)>,
    video: Stream,
    audio: Stream,
    redundancy: Redundancy,
    /// kbit/s of the whole top rung.
    most: f64,
    counted: Arc<metrics::Session>,
}

/// One outgoing RTP stream.
#[derive(Debug)]
struct Stream {
    mid: Mid,
    pt: Pt,
    /// Whether its peer takes it at all.
    taken: bool,
    number: u64,
    /// Added to each time stamp.
    shift: u32,
    /// Whether something of it was sent.
    begun: bool,
}

/// Pictures that wait while the transport comes up: a second's.
const EARLY: usize = 32;
/// What waited longer than this when the transport is up is too old to begin with.
const OLD: Duration = Duration::from_millis(300);
/// Candidates taken of a peer: each of them is a pair with each of ours to be checked.
const CANDIDATES: usize = 24;
/// Addresses that a peer's checks may come from: the library keeps each, and looks at all of them at each packet. One from which nothing came for
/// so long makes room for another, until there were as many as the last.
const SOURCES: (usize, Duration, usize) = (32, Duration::from_secs(60), 512);
/// Datagrams of reports that a peer may send in a second. A browser sends some thirty; each may ask for hundreds of packets again.
const REPORTS: u32 = 300;
/// What is due within this is done at once: the runtime's clock has milliseconds.
const AT_ONCE: Duration = Duration::from_micros(100);
/// Steps that are done at once: the library sends a packet in each. That is a key frame of half a megabyte; then it is others' turn.
const STEPS: usize = 400;
/// How much more than the whole top rung takes is looked for on a link, so that it is known to carry it.
const ROOM: f64 = 1.25;

const NO_SDP: &str = "the SDP does not parse";

impl Session {
    /// Makes a session in which nothing is negotiated yet; see [`MediaConfig::rtc`].
    ///
    /// # Errors
    /// There are no random numbers.
    pub fn new(
        config: &MediaConfig,
        id: &str,
        peer: &str,
        redundancy: bool,
        counted: Arc<metrics::Session>,
        now: Instant,
    ) -> Result<Self, Error> {
        Ok(Self {
            id: id.to_owned(),
            peer: peer.to_owned(),
            next: now,
            connected: false,
            rtc: config.rtc(redundancy, now)?,
            pending: None,
            calls: false,
            silent: None,
            offered: HashSet::new(),
            candidates: 0,
            sources: HashMap::new(),
            all_sources: 0,
            consent: Consent::default(),
            held_back: false,
            reports: (now, 0),
            early: Vec::new(),
            video: Stream::new(VIDEO)?,
            audio: Stream::new(AUDIO)?,
            redundancy: Redundancy::default(),
            most: config.most,
            counted,
        })
    }

    /// The offer for its peer.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn offer(&mut self) -> Result<String, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Input(format!("cannot offer a session: {error}"));
        let mut changes = self.rtc.sdp_api();
        let stream = Some("duplex".to_owned());
        self.video.mid =
            changes.add_media(MediaKind::Video, Direction::SendOnly, stream.clone(), Some("video".to_owned()), None);
        self.audio.mid =
            changes.add_media(MediaKind::Audio, Direction::SendOnly, stream, Some("audio".to_owned()), None);
        let (offer, pending) = changes.apply().ok_or_else(|| failed(&"there is nothing to offer"))?;
        let text = config::complete(&offer.to_sdp_string());
        let parsed = SDPMessage::parse_buffer(text.as_bytes()).map_err(|error| failed(&error))?;
        self.pending = Some((pending, parsed));
        Ok(text)
    }

    /// Takes an offer of its peer instead. Returns the answer, with those of our candidates that were offered before.
    ///
    /// # Errors
    /// The rule that the offer breaks.
    pub fn called(
        &mut self,
        text: &str,
        sockets: &Sockets,
        now: Instant,
    ) -> Result<(String, Vec<Happening>), &'static str> {
        self.calls = true;
        let theirs = sdp_check::parse(text)?;
        let (rest, candidates) = without_candidates(text);
        let offer = catch_unwind(|| SdpOffer::from_sdp_string(&rest)).ok().and_then(Result::ok).ok_or(NO_SDP)?;
        let answer = catch_unwind(AssertUnwindSafe(|| self.rtc.sdp_api().accept_offer(offer)));
        let answer = answer.ok().and_then(Result::ok).ok_or("the offer cannot be answered")?;
        let answer = descriptions::one_way(&config::complete(&answer.to_sdp_string()));
        let ours = SDPMessage::parse_buffer(answer.as_bytes()).map_err(|_| "the answer does not parse")?;
        let sent = descriptions::sent(&theirs, &ours)?;
        self.video.is(sent.video);
        self.audio.is(sent.audio);
        let mut happened = self.agreed(sockets, now, |_| Ok(()));
        self.redundancy.payload_type = self.redundancy.payload_type.filter(|red| sent.audio_types.contains(red));
        happened.extend(candidates.iter().flat_map(|candidate| self.candidate(candidate, sockets, now)));
        Ok((answer, happened))
    }

    /// Offers a candidate of ours. Returns it as its peer is told, unless it adds nothing to the others. Once: the library would take some anew, and
    /// forget what it knows of the old one.
    pub fn offer_candidate(&mut self, candidate: Candidate) -> Option<String> {
        if !self.offered.insert((candidate.addr(), candidate.proto())) {
            return None;
        }
        let added =
            catch_unwind(AssertUnwindSafe(|| self.rtc.add_local_candidate(candidate).map(Candidate::to_sdp_string)));
        added.ok().flatten()
    }

    /// Whether it is for pictures.
    pub fn takes_pictures(&self) -> bool {
        self.video.taken
    }

    /// Takes its peer's answer; a second one is not looked at.
    ///
    /// # Errors
    /// The rule that the answer breaks.
    pub fn answer(&mut self, text: &str, sockets: &Sockets, now: Instant) -> Result<Vec<Happening>, &'static str> {
        let Some((pending, offer)) = self.pending.take() else { return Ok(Vec::new()) };
        sdp_check::answers(&*sdp_check::parse(text)?, &offer)?;
        let (rest, theirs) = without_candidates(text);
        let answer = catch_unwind(|| SdpAnswer::from_sdp_string(&rest)).ok().and_then(Result::ok).ok_or(NO_SDP)?;
        let mut happened = self.agreed(sockets, now, |rtc| rtc.sdp_api().accept_answer(pending, answer));
        happened.extend(theirs.iter().flat_map(|candidate| self.candidate(candidate, sockets, now)));
        Ok(happened)
    }

    /// Both ends know what there will be.
    fn agreed(
        &mut self,
        sockets: &Sockets,
        now: Instant,
        accept: impl FnOnce(&mut Rtc) -> Result<(), RtcError>,
    ) -> Vec<Happening> {
        let video = self.video.mid;
        let happened = self.act(sockets, |session| {
            accept(&mut session.rtc)?;
            if let Some(stream) = session.rtc.direct_api().stream_tx_by_mid(video, None) {
                // The encoder keeps the rate. Spread out, a key frame would be on the screen later.
                stream.set_unpaced(true);
            }
            session.rtc.handle_input(Input::Timeout(now))
        });
        // What its peer does not take is gone from there. Each block tells its payload type, for all viewers the same.
        let red = self.rtc.codec_config().params().iter().find_map(PayloadParams::red);
        self.redundancy.payload_type = red.filter(|_| self.audio.pt == Pt::from(AUDIO));
        happened
    }

    /// Takes a candidate of its peer. What is none, or names a host that only the peer knows (mDNS), is passed over: the peer's own
    /// checks tell where they come from.
    pub fn candidate(&mut self, text: &str, sockets: &Sockets, now: Instant) -> Vec<Happening> {
        let text = text.trim().trim_start_matches("a=");
        let Ok(Ok(candidate)) = catch_unwind(|| Candidate::from_sdp_string(text)) else { return Vec::new() };
        if self.candidates >= CANDIDATES || candidate.proto() != Protocol::Udp || !sockets.may_reach(candidate.addr()) {
            return Vec::new();
        }
        self.candidates += 1;
        self.act(sockets, |session| {
            session.rtc.add_remote_candidate(candidate);
            session.rtc.handle_input(Input::Timeout(now))
        })
    }

    /// Whether a datagram is for this session.
    pub fn takes(&self, datagram: &Datagram, now: Instant) -> bool {
        let takes = || received(datagram).is_some_and(|receive| self.rtc.accepts(&Input::Receive(now, receive)));
        catch_unwind(AssertUnwindSafe(takes)).unwrap_or(false)
    }

    /// A datagram of its peer. Media and data are not looked at: none is asked for. Nor are checks from ever more addresses, and ever more reports.
    pub fn datagram(&mut self, datagram: &Datagram, sockets: &Sockets, now: Instant) -> Vec<Happening> {
        let wanted = match datagram.bytes[..] {
            [128..=191, kind, ..] => (64..=95).contains(&(kind & 0x7f)) && self.may_report(now),
            [0..=3, ..] => self.may_come_from(datagram.from, now),
            [20..=63, ..] => !has_data(&datagram.bytes),
            _ => true,
        };
        if !wanted {
            return Vec::new();
        }
        self.consent.came(datagram.from, &datagram.bytes, now);
        self.act(sockets, |session| match received(datagram) {
            Some(receive) => session.rtc.handle_input(Input::Receive(now, receive)),
            None => Ok(()),
        })
    }

    fn may_report(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.reports.0) >= Duration::from_secs(1) {
            self.reports = (now, 0);
        }
        self.reports.1 += 1;
        self.reports.1 <= REPORTS
    }

    fn may_come_from(&mut self, address: SocketAddr, now: Instant) -> bool {
        if !self.sources.contains_key(&address) && self.sources.len() >= SOURCES.0 {
            self.sources.retain(|_, last| now.saturating_duration_since(*last) < SOURCES.1);
        }
        let known = self.sources.contains_key(&address);
        let may = known || (self.sources.len() < SOURCES.0 && self.all_sources < SOURCES.2);
        if may {
            self.all_sources += usize::from(!known);
            self.sources.insert(address, now);
        }
        may
    }

    /// The name by which its peer's checks call it.
    pub fn name(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    /// From how many addresses its peer's checks came.
    #[cfg(test)]
    pub fn checked_from(&self) -> usize {
        self.sources.len()
    }

    /// Time has passed.
    pub fn time(&mut self, sockets: &Sockets, now: Instant) -> Vec<Happening> {
        self.act(sockets, |session| session.rtc.handle_input(Input::Timeout(now)))
    }

    /// A picture for it, at this time of its stream. Returns what came of it, and whether it has it now.
    pub fn picture(
        &mut self,
        frame: &Arc<Frame>,
        time: u32,
        sockets: &Sockets,
        now: Instant,
    ) -> (Vec<Happening>, bool) {
        if self.silent.is_some() {
            // It begins with a key frame once it is back, and asks for none until then.
            return (Vec::new(), true);
        }
        if self.connected {
            return (self.act(sockets, |session| session.write(MediaKind::Video, frame, time, now)), true);
        }
        if frame.key {
            self.early.clear();
        }
        if self.early.len() >= EARLY {
            // It waits for another key frame then.
            self.early.clear();
            return (Vec::new(), false);
        }
        self.early.push((frame.clone(), time));
        (Vec::new(), true)
    }

    /// Sound for it. What comes before the transport is up is not for it: it would be heard late.
    pub fn sound(&mut self, frame: &Arc<Frame>, sockets: &Sockets, now: Instant) -> Vec<Happening> {
        if !self.connected || self.silent.is_some() {
            return Vec::new();
        }
        self.act(sockets, |session| session.write(MediaKind::Audio, frame, frame.time, now))
    }

    /// Its transport is up: it gets what has waited for that, unless that is old. Returns whether it has a picture now.
    pub fn begin(&mut self, sockets: &Sockets, now: Instant) -> (Vec<Happening>, bool) {
        self.connected = true;
        // A first report to its peer may come before the first packet: it says that time stamp 0 is now. So it is.
        self.video.shift = VIDEO_RATE.now().wrapping_neg();
        self.audio.shift = AUDIO_RATE.now().wrapping_neg();
        let mut early = std::mem::take(&mut self.early);
        if early.first().is_none_or(|(frame, _)| now.duration_since(frame.made) > OLD) {
            early.clear();
        }
        let write = |(frame, time): &(Arc<Frame>, u32)| {
            self.act(sockets, |session| session.write(MediaKind::Video, frame, *time, now))
        };
        let happened = early.iter().flat_map(write).collect();
        (happened, !early.is_empty() && !std::mem::take(&mut self.held_back))
    }

    /// How its link does.
    pub fn link(&mut self, reading: &Reading, now: Instant) {
        self.redundancy.link(reading, now);
    }

    /// What its link carries is estimated anew. That looks at once for what is desired, and twice as much at most.
    pub fn estimate_anew(&mut self, Anew { from, seeks }: Anew) {
        let desired = if seeks { self.most * ROOM } else { from / 2.0 };
        self.rtc.bwe().set_desired_bitrate(bitrate(desired));
        self.rtc.bwe().reset(bitrate(from));
    }

    /// Tells its peer that it is over.
    pub fn close(&mut self, sockets: &Sockets) {
        // What comes of it is nobody's business any more.
        drop(self.act(sockets, |session| session.rtc.close()));
    }

    /// Does something, and sends and tells what comes of it.
    fn act(&mut self, sockets: &Sockets, what: impl FnOnce(&mut Self) -> Result<(), RtcError>) -> Vec<Happening> {
        let done = catch_unwind(AssertUnwindSafe(|| {
            what(self)?;
            self.drain(sockets)
        }));
        match done {
            Ok(Ok(happenings)) => happenings,
            Ok(Err(error)) => vec![Happening::Over(error.to_string())],
            Err(_) => vec![Happening::Over("the WebRTC library panicked over it".to_owned())],
        }
    }

    /// Sends what there is to send. The library gives out one packet of media at a time, and wants to be told the time in between.
    fn drain(&mut self, sockets: &Sockets) -> Result<Vec<Happening>, RtcError> {
        let mut found = Vec::new();
        for _ in 0..STEPS {
            self.step(sockets, &mut found)?;
            let now = Instant::now();
            if self.next > now + AT_ONCE {
                break;
            }
            self.rtc.handle_input(Input::Timeout(self.next.max(now)))?;
        }
        Ok(found)
    }

    fn step(&mut self, sockets: &Sockets, found: &mut Vec<Happening>) -> Result<(), RtcError> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(at) => {
                    self.next = at;
                    return Ok(());
                }
                Output::Transmit(datagram) => {
                    let (to, bytes) = (datagram.destination, &datagram.contents[..]);
                    // Nothing but checks goes to who does not answer (RFC 7675), and no media before: the address may be somebody else's, or be so by
                    // now. A handshake is a few packets, and cannot be repeated by the library.
                    let may_go = match bytes {
                        [0..=3, ..] => true,
                        _ if self.silent.is_some() => false,
                        [128..=191, ..] => self.consent.holds(to, Instant::now()),
                        _ => true,
                    };
                    if !may_go {
                        self.held_back = true;
                        continue;
                    }
                    self.consent.goes(to, bytes);
                    self.counted.sent(bytes.len());
                    sockets.send(datagram.proto, datagram.source, to, bytes);
                }
                Output::Event(event) => found.extend(happening(event)),
            }
        }
    }

    fn write(&mut self, kind: MediaKind, frame: &Frame, time: u32, now: Instant) -> Result<(), RtcError> {
        let video = kind == MediaKind::Video;
        let stream = if video { &mut self.video } else { &mut self.audio };
        if !stream.taken {
            return Ok(());
        }
        if video && !stream.begun {
            // From here on more is looked for: before there are pictures, that would be padding of a stream of its own, which GStreamer's
            // receivers take for a third media and fail over.
            self.rtc.bwe().set_desired_bitrate(bitrate(self.most * ROOM));
        }
        stream.begun = true;
        let (time, last) = (time.wrapping_add(stream.shift), frame.payloads.len().saturating_sub(1));
        let (payloads, pt) = match (&frame.redundant, self.redundancy.goes(now)) {
            (Some(redundant), Some(pt)) => (std::slice::from_ref(redundant), pt),
            _ => (&frame.payloads[..], stream.pt),
        };
        if let Some(sender) = self.rtc.direct_api().stream_tx_by_mid(stream.mid, None) {
            for (place, payload) in payloads.iter().enumerate() {
                let number = SeqNo::from(stream.number);
                stream.number += 1;
                let packet = RtpWrite::new(pt, number, time, frame.captured, payload.clone());
                // Sound that was lost is concealed, or was in the next packet: sent again it would come too late.
                sender.write_rtp(packet.marker(video && place == last).nackable(video));
            }
        }
        self.rtc.handle_input(Input::Timeout(now))
    }
}

impl Stream {
    /// Of nobody yet.
    fn new(pt: u8) -> Result<Self, Error> {
        let mut random = [0_u8; 2];
        getrandom::fill(&mut random).map_err(|error| Error::Input(format!("no random numbers: {error}")))?;
        // Below half of the first round, so that the receiver is not wrong about the round (RFC 3711, 3.3.1).
        let number = u64::from(u16::from_be_bytes(random) / 2);
        Ok(Self { mid: Mid::new(), pt: Pt::from(pt), taken: true, number, shift: 0, begun: false })
    }

    /// Its media is this one; `None`: its peer takes none.
    fn is(&mut self, media: Option<(Mid, Pt)>) {
        self.taken = media.is_some();
        if let Some((mid, pt)) = media {
            (self.mid, self.pt) = (mid, pt);
        }
    }
}

fn received(datagram: &Datagram) -> Option<Receive<'_>> {
    Receive::new(datagram.protocol, datagram.from, datagram.to, &datagram.bytes).ok()
}

/// Whether there is application data among the records of DTLS: data channels, of which none is offered. (Records: RFC 6347, 4.1.)
fn has_data(mut datagram: &[u8]) -> bool {
    const DATA: u8 = 23;
    while let Some((head, rest)) = datagram.split_at_checked(13) {
        if head[0] == DATA {
            return true;
        }
        let length = usize::from(u16::from_be_bytes([head[11], head[12]]));
        datagram = rest.get(length..).unwrap_or_default();
    }
    false
}

fn happening(event: Event) -> Option<Happening> {
    match event {
        Event::Connected => Some(Happening::Connected),
        Event::KeyframeRequest(_) => Some(Happening::KeyFrameWanted),
        // The event of an estimate comes smoothed, up to three seconds late.
        Event::PeerStats(stats) => Some(Happening::Reported {
            carries: stats.bwe_tx.map(|estimate| estimate.as_f64() / 1000.0),
            loss: stats.egress_loss_fraction.map(f64::from),
            bytes: stats.bytes_tx,
            round_trip: stats.rtt,
        }),
        Event::IceConnectionStateChange(state) => match state {
            IceConnectionState::Disconnected => Some(Happening::Silent(true)),
            state => state.is_connected().then_some(Happening::Silent(false)),
        },
        Event::Closed => Some(Happening::Over("its peer closed it".to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn data_is_found_behind_other_records() {
        let record = |kind: u8, length: u16| {
            [&[kind, 254, 253, 0, 1, 0, 0, 0, 0, 0, 9][..], &length.to_be_bytes(), &vec![7; usize::from(length)]]
                .concat()
        };
        assert!(has_data(&record(23, 5)));
        assert!(has_data(&[record(22, 40), record(23, 5)].concat()));
        assert!(!has_data(&[record(22, 40), record(20, 1), record(21, 2)].concat()));
        // Cut short, or of a length that is not there.
        assert!(!has_data(&record(22, 40)[..20]) && !has_data(&[22]) && !has_data(&[]));
    }
}
