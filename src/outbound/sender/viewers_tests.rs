//! Viewers, each with WebRTC's other end of the same library, over this machine's own addresses.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::format::{Codec, FormatParams};
use str0m::media::{Direction, Frequency, MediaKind};
use str0m::{Event as RtcEvent, Input as RtcInput, Output, Rtc, RtcConfig};
use tokio::time::timeout;

use super::*;
use crate::config::VideoCodec;
use crate::outbound::encoder::Format;
use crate::outbound::link::Reading;
use crate::signalling::wire::StartSessionMessage;
use crate::signalling::{Grants, Kind};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// First byte of each payload of a key frame, of another picture, of sound.
const KEY: u8 = b'k';
const DELTA: u8 = b'd';
const SOUND: u8 = b's';

/// The device, driven by hand.
struct House {
    viewers: Viewers,
    events: mpsc::UnboundedReceiver<Event>,
    metrics: Metrics,
    told: Vec<Event>,
    clients: Vec<Client>,
}

/// What a packet brought.
struct Came {
    payload_type: u8,
    first: u8,
    time: u32,
    /// The time stamp that the last sender report gave.
    reported: Option<u32>,
}

/// A viewer.
struct Client {
    rtc: Rtc,
    next: Instant,
    sockets: Sockets,
    datagrams: mpsc::Receiver<Datagram>,
    peer: Peer,
    session: String,
    /// What it answers with, of what it would; or offers, if it is that which offers.
    answers: fn(String) -> String,
    pending: Option<SdpPendingOffer>,
    came: Vec<Came>,
    ended: bool,
}

impl House {
    async fn new() -> Self {
        gst::init().unwrap();
        let (width, height, framerate) = (1280, 720, 30);
        let top = Format { width, height, framerate, codec: VideoCodec::Vp8, video_bitrate: 2000, audio_bitrate: 64 };
        let (hub, _) = Hub::spawn(crate::signalling::policy::Limits::default());
        let (peer, metrics) = (hub.join(Kind::DeviceProducer).unwrap(), Metrics::new("test"));
        let (events, told) = mpsc::unbounded_channel();
        let given = Given {
            config: MediaConfig::new(&top, None).unwrap(),
            hub,
            peer,
            meta: serde_json::json!({}),
            seats: Seats::new(VideoCodec::Vp8, 1),
            metrics: metrics.clone(),
            inputs: mpsc::unbounded_channel().1,
            events,
        };
        let mut house =
            Self { viewers: Viewers::new(given), events: told, metrics, told: Vec::new(), clients: Vec::new() };
        house.until("the device is registered", |house| house.told.contains(&Event::Registered)).await;
        house
    }

    /// A viewer calls. Returns its number.
    fn call(&mut self, answers: fn(String) -> String) -> usize {
        self.come(answers, None, RtcConfig::new().enable_opus(true, true))
    }

    /// A viewer calls with an offer of its own, which takes these.
    fn call_with_offer(&mut self, answers: fn(String) -> String, kinds: &[MediaKind]) -> usize {
        self.come(answers, Some(kinds), RtcConfig::new())
    }

    fn come(&mut self, answers: fn(String) -> String, kinds: Option<&[MediaKind]>, config: RtcConfig) -> usize {
        let grants = Grants {
            watch: true,
            talk: false,
            produce: false,
            consume_peer: false,
            owner: false,
            browser: true,
            principal: "open".to_owned(),
        };
        let peer = self.viewers.given.hub.join(Kind::Remote(grants)).unwrap();
        let (mut sockets, datagrams) = Sockets::new();
        let mut rtc = config.set_rtp_mode(true).build(Instant::now());
        for candidate in candidates(&sockets.refresh(false)) {
            rtc.add_local_candidate(candidate).unwrap();
        }
        let (mut offer, mut pending) = (None, None);
        if let Some(kinds) = kinds {
            let mut changes = rtc.sdp_api();
            for kind in kinds {
                changes.add_media(*kind, Direction::RecvOnly, None, None, None);
            }
            let (made, waits) = changes.apply().unwrap();
            (offer, pending) = (Some(answers(made.to_sdp_string())), Some(waits));
        }
        let start = StartSessionMessage { peer_id: self.viewers.given.peer.id.clone(), offer };
        peer.tx.send(IncomingMessage::StartSession(start));
        let (session, came, ended, next) = (String::new(), Vec::new(), false, Instant::now());
        self.clients.push(Client { rtc, next, sockets, datagrams, peer, session, answers, pending, came, ended });
        self.clients.len() - 1
    }

    async fn connected(&mut self) -> usize {
        let client = self.call(|answer| answer);
        self.until("a viewer is connected", |house| house.is_connected(client)).await;
        client
    }

    /// Lets things happen until something is so.
    async fn until(&mut self, what: &str, so: impl Fn(&House) -> bool) {
        let happens = async {
            while !so(self) {
                self.turn().await;
            }
        };
        timeout(PATIENCE, happens).await.unwrap_or_else(|_| panic!("not in time: {what}"));
    }

    async fn turn(&mut self) {
        let viewers = &mut self.viewers;
        let tick = tokio::time::sleep(Duration::from_millis(2));
        tokio::select! {
            Some(message) = viewers.given.peer.rx.recv() => viewers.message(message),
            Some(datagram) = viewers.datagrams.recv() => viewers.datagram(&datagram),
            () = tick => viewers.time(),
        }
        while let Ok(event) = self.events.try_recv() {
            self.told.push(event);
        }
        self.clients.iter_mut().for_each(Client::turn);
    }

    fn picture(&mut self, key: bool, packets: usize) {
        let (time, now) = (super::super::frame::VIDEO_RATE.now(), Instant::now());
        let payloads = (0..packets).map(|_| Arc::from([if key { KEY } else { DELTA }; 500])).collect();
        self.viewers.picture(&Arc::new(Frame {
            rung: 0,
            key,
            time,
            captured: now,
            made: now,
            payloads,
            redundant: None,
        }));
    }

    fn sound(&mut self) {
        let (time, now) = (super::super::frame::AUDIO_RATE.now(), Instant::now());
        let payloads = vec![Arc::from([SOUND; 80])];
        let mut before = super::super::redundancy::Before::default();
        before.with(&payloads[0], time.wrapping_sub(960));
        let redundant = before.with(&payloads[0], time);
        self.viewers.input(Input::Sound(Arc::new(Frame {
            rung: 0,
            key: true,
            time,
            captured: now,
            made: now,
            payloads,
            redundant,
        })));
    }

    /// Pictures and sound, until a viewer has got so many packets more of a kind.
    async fn feed(&mut self, client: usize, kind: u8, more: usize) {
        let count = |house: &House| house.clients[client].count(kind);
        let enough = count(self) + more;
        let begun = Instant::now();
        while count(self) < enough {
            assert!(begun.elapsed() < PATIENCE, "only {} of {enough}", count(self));
            self.picture(kind == KEY, 3);
            self.sound();
            let now = Instant::now();
            self.until("a hundredth of a second", |_| now.elapsed() > Duration::from_millis(10)).await;
        }
    }

    /// Sound, until something is so.
    async fn until_fed(&mut self, what: &str, so: impl Fn(&House) -> bool) {
        let begun = Instant::now();
        while !so(self) {
            assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
            self.sound();
            self.turn().await;
        }
    }

    fn is_connected(&self, client: usize) -> bool {
        self.told.contains(&Event::Connected(self.clients[client].session.clone()))
    }

    fn times_told(&self, event: &Event) -> usize {
        self.told.iter().filter(|told| *told == event).count()
    }

    /// Packets and bytes that were sent to one viewer.
    fn sent(&self, client: usize) -> (u64, u64) {
        let peer = &self.clients[client].peer.id;
        self.metrics
            .sessions()
            .iter()
            .find(|figures| &figures.peer == peer)
            .map_or((0, 0), |figures| (figures.packets, figures.bytes))
    }
}

impl Client {
    fn turn(&mut self) {
        while let Ok(message) = self.peer.rx.try_recv() {
            self.message(message);
        }
        while let Ok(datagram) = self.datagrams.try_recv() {
            if let Ok(receive) =
                str0m::net::Receive::new(datagram.protocol, datagram.from, datagram.to, &datagram.bytes)
            {
                self.rtc.handle_input(RtcInput::Receive(Instant::now(), receive)).unwrap();
                self.drain();
            }
        }
        if self.next <= Instant::now() {
            self.rtc.handle_input(RtcInput::Timeout(Instant::now())).unwrap();
            self.drain();
        }
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) => break self.next = at,
                Output::Transmit(out) => self.sockets.send(out.proto, out.source, out.destination, &out.contents),
                Output::Event(RtcEvent::RtpPacket(packet)) if !packet.payload.is_empty() => self.came.push(Came {
                    payload_type: *packet.header.payload_type,
                    first: packet.payload[0],
                    time: packet.header.timestamp,
                    reported: packet.last_sender_info.map(|info| info.rtp_time.numer() as u32),
                }),
                Output::Event(_) => {}
            }
        }
    }

    fn message(&mut self, message: OutgoingMessage) {
        match message {
            OutgoingMessage::SessionStarted { session_id, .. } => self.session = session_id,
            OutgoingMessage::EndSession(_) => self.ended = true,
            OutgoingMessage::Peer(PeerMessage { peer_message, .. }) => match peer_message {
                PeerMessageInner::Sdp(SdpMessage::Offer { sdp }) => {
                    let offer = SdpOffer::from_sdp_string(&sdp).unwrap();
                    let answer = self.rtc.sdp_api().accept_offer(offer).unwrap();
                    let sdp = (self.answers)(answer.to_sdp_string());
                    self.say(PeerMessageInner::Sdp(SdpMessage::Answer { sdp }));
                    self.drain();
                }
                PeerMessageInner::Sdp(SdpMessage::Answer { sdp }) => {
                    let answer = SdpAnswer::from_sdp_string(&sdp).unwrap();
                    self.rtc.sdp_api().accept_answer(self.pending.take().unwrap(), answer).unwrap();
                    self.drain();
                }
                PeerMessageInner::Ice { candidate, .. } if !candidate.is_empty() => {
                    self.rtc.add_remote_candidate(Candidate::from_sdp_string(&candidate).unwrap());
                    self.drain();
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn say(&self, peer_message: PeerMessageInner) {
        self.peer.tx.send(IncomingMessage::Peer(PeerMessage { session_id: self.session.clone(), peer_message }));
    }

    fn count(&self, kind: u8) -> usize {
        self.came.iter().filter(|came| came.first == kind).count()
    }
}

/// Runs on one thread, as the real one does.
fn on_one_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn a_viewer_gets_sound_and_pictures_from_a_key_frame_on() {
    on_one_thread(async {
        let mut house = House::new().await;
        let client = house.connected().await;
        house.feed(client, SOUND, 3).await;
        assert_eq!(house.clients[client].count(DELTA), 0, "nothing to which those pictures could refer");
        house.feed(client, KEY, 3).await;
        house.feed(client, DELTA, 10).await;
        let kinds: HashSet<u8> = house.clients[client].came.iter().map(|came| came.first).collect();
        assert_eq!(kinds, [KEY, DELTA, SOUND].into());
    });
}

#[test]
fn sender_reports_tell_the_time_of_what_is_sent() {
    on_one_thread(async {
        let mut house = House::new().await;
        let client = house.connected().await;
        // Reports begin before there is anything to report on, two a second.
        let (begun, (_, before)) = (Instant::now(), house.sent(client));
        house.until("more than a second", |_| begun.elapsed() > Duration::from_millis(1200)).await;
        let (_, after) = house.sent(client);
        assert!((1..6000).contains(&(after - before)), "{} bytes though there is nothing to send", after - before);
        for kind in [KEY, SOUND] {
            let reported = |house: &House| {
                house.clients[client].came.iter().filter(|came| came.first == kind && came.reported.is_some()).count()
            };
            while reported(&house) < 20 {
                house.feed(client, kind, 1).await;
            }
        }
        // A report is at most some seconds from the packet; the first ones are made before there is any packet.
        for came in &house.clients[client].came {
            let Some(reported) = came.reported else { continue };
            let apart = (came.time.wrapping_sub(reported) as i32).unsigned_abs();
            assert!(apart < 90_000 * 5, "{apart} between {} and what was reported, {reported}", came.time);
        }
    });
}

#[test]
fn a_whole_picture_leaves_at_once() {
    on_one_thread(async {
        let mut house = House::new().await;
        let client = house.connected().await;
        house.feed(client, KEY, 3).await;
        let (before, _) = house.sent(client);
        // Nobody is told the time in between.
        house.picture(true, 200);
        let (after, _) = house.sent(client);
        assert!(after - before >= 200, "{}", after - before);
        house.until("all of it arrives", |house| house.clients[client].count(KEY) >= 203).await;
    });
}

#[test]
fn who_answers_nonsense_is_ended_once_and_alone() {
    on_one_thread(async {
        let mut house = House::new().await;
        let good = house.connected().await;
        house.feed(good, KEY, 3).await;
        let bad: [fn(String) -> String; 4] = [
            |_| "v=0\r\nnonsense".to_owned(),
            |_| String::new(),
            |answer| answer.replace("m=audio", "m=video"),
            |answer| answer.replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 zz"),
        ];
        for answers in bad {
            let client = house.call(answers);
            house.until("it is ended", |house| house.clients[client].ended).await;
            let session = house.clients[client].session.clone();
            let end = EndSessionMessage { session_id: session.clone() };
            house.viewers.message(OutgoingMessage::EndSession(end));
            house.feed(good, KEY, 3).await;
            assert_eq!(house.times_told(&Event::Left(session.clone())), 1);
            assert!(!house.viewers.sessions.contains_key(&session) && !house.clients[good].ended);
        }
        assert_eq!(house.viewers.given.seats.wanted(), [true]);
    });
}

#[test]
fn who_makes_the_offer_gets_what_it_takes() {
    on_one_thread(async {
        let mut house = House::new().await;
        for (kinds, kind, not) in [
            (&[MediaKind::Audio, MediaKind::Video][..], KEY, None),
            (&[MediaKind::Video], KEY, Some(SOUND)),
            (&[MediaKind::Audio], SOUND, Some(KEY)),
        ] {
            let client = house.call_with_offer(|offer| offer, kinds);
            house.until("it is connected", |house| house.is_connected(client)).await;
            house.feed(client, kind, 6).await;
            assert_eq!(not.map_or(0, |not| house.clients[client].count(not)), 0);
        }
    });
}

#[test]
fn a_player_has_payload_types_of_its_own() {
    on_one_thread(async {
        let mut house = House::new().await;
        let mut config = RtcConfig::new().clear_codecs();
        let codecs = config.codec_config();
        let (none, rate) = (FormatParams::default(), Frequency::NINETY_KHZ);
        codecs.add_config(120.into(), Some(121.into()), Codec::Vp8, rate, None, none);
        codecs.add_config(100.into(), None, Codec::Opus, Frequency::FORTY_EIGHT_KHZ, Some(2), none);
        let client = house.come(|offer| offer, Some(&[MediaKind::Video, MediaKind::Audio]), config);
        house.until("it is connected", |house| house.is_connected(client)).await;
        house.feed(client, KEY, 6).await;
        house.feed(client, SOUND, 6).await;
        let types = |kind: u8| {
            let came = house.clients[client].came.iter().filter(move |came| came.first == kind);
            came.map(|came| came.payload_type).collect::<HashSet<u8>>()
        };
        assert_eq!((types(KEY), types(SOUND)), ([120].into(), [100].into()));
    });
}

#[test]
fn an_offer_that_cannot_be_answered_ends_its_session_alone() {
    on_one_thread(async {
        let mut house = House::new().await;
        let good = house.connected().await;
        let bad: [fn(String) -> String; 6] = [
            |_| "v=0\r\nnonsense".to_owned(),
            |_| String::new(),
            |offer| offer.replace("m=video", "m=application"),
            |offer| offer.replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 zz"),
            |offer| offer.replace("a=recvonly", "a=sendonly"),
            |offer| offer.replace("VP8", "XYZ").replace("opus", "xyz"),
        ];
        for offers in bad {
            let client = house.call_with_offer(offers, &[MediaKind::Video, MediaKind::Audio]);
            house.until("it is ended", |house| house.clients[client].ended).await;
            let session = house.clients[client].session.clone();
            assert!(!house.viewers.sessions.contains_key(&session) && !house.clients[good].ended);
        }
        house.feed(good, KEY, 3).await;
    });
}

#[test]
fn who_takes_no_picture_gets_none() {
    on_one_thread(async {
        let mut house = House::new().await;
        let client = house.call(|answer| {
            let (head, video) = answer.split_once("m=video").unwrap();
            let (video, rest) = video.split_once("m=audio").unwrap();
            format!("{head}m=video{}m=audio{rest}", video.replace("a=recvonly", "a=inactive"))
        });
        let settled = |house: &House| {
            house.clients[client].ended || house.told.contains(&Event::Connected(house.clients[client].session.clone()))
        };
        house.until("it is connected, or ended", settled).await;
        if !house.clients[client].ended {
            house.feed(client, SOUND, 10).await;
        }
        assert_eq!(house.clients[client].count(KEY) + house.clients[client].count(DELTA), 0);
    });
}

#[test]
fn what_waits_for_a_transport_is_a_seconds_pictures() {
    on_one_thread(async {
        let mut house = House::new().await;
        let client = house.call(|_| "v=0\r\n".repeat(0));
        let joined = |house: &House| house.told.iter().any(|event| matches!(event, Event::Joined { .. }));
        house.until("it joins", joined).await;
        let session = house.viewers.sessions.keys().next().unwrap().clone();
        house.picture(true, 3);
        for _ in 0..31 {
            house.picture(false, 3);
        }
        assert!(house.viewers.given.seats.is_fed(&session));
        house.picture(false, 3);
        assert!(!house.viewers.given.seats.is_fed(&session), "it needs another key frame");
        assert_eq!(house.clients[client].came.len(), 0);
    });
}

#[test]
fn checks_from_ever_more_addresses_and_media_are_not_looked_at() {
    on_one_thread(async {
        let mut house = House::new().await;
        let client = house.connected().await;
        let id = house.clients[client].session.clone();
        let to = house.viewers.sockets.refresh(true)[0].address;
        let session = house.viewers.sessions.get_mut(&id).unwrap();
        for port in 1..=200 {
            // A binding request, as far as its first bytes.
            let from = SocketAddr::from(([127, 0, 0, 1], port));
            let bytes = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
            session.datagram(
                &Datagram { protocol: Protocol::Udp, to, from, bytes },
                &house.viewers.sockets,
                Instant::now(),
            );
        }
        assert!(session.checked_from() <= 32, "{}", session.checked_from());
        // A packet of media, of a length that would be taken.
        let from = SocketAddr::from(([127, 0, 0, 1], 9));
        let media = Datagram { protocol: Protocol::Udp, to, from, bytes: [&[128, 96][..], &[1; 60]].concat() };
        assert!(session.datagram(&media, &house.viewers.sockets, Instant::now()).is_empty());
        house.feed(client, KEY, 3).await;
    });
}

#[test]
fn packets_of_sound_come_again_at_who_loses_some_and_takes_that() {
    on_one_thread(async {
        let mut house = House::new().await;
        let takes = house.connected().await;
        let not = house.call(|answer| {
            assert!(answer.contains("a=rtpmap:63 red/48000/2"), "{answer}");
            answer.replace(" 63\r\n", "\r\n").replace("a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n", "")
        });
        let is_connected = |house: &House| house.told.contains(&Event::Connected(house.clients[not].session.clone()));
        house.until("it is connected", is_connected).await;
        house.feed(takes, SOUND, 3).await;
        let reading = Reading { carries: 3000.0, sent: 2000.0, delivered: 1940.0, loss: 0.03, round_trip: None };
        for session in house.viewers.sessions.values_mut() {
            session.link(&reading, Instant::now());
        }
        let again = |house: &House, client: usize| {
            house.clients[client].came.iter().filter(|came| came.payload_type == 63).count()
        };
        assert_eq!(again(&house, takes), 0);
        house.until_fed("they come again", |house| again(house, takes) > 3).await;
        house.feed(not, SOUND, 3).await;
        assert_eq!(again(&house, not), 0);
    });
}

#[test]
fn who_is_ended_by_the_device_is_told_and_gets_nothing_more() {
    on_one_thread(async {
        let mut house = House::new().await;
        let client = house.connected().await;
        house.feed(client, KEY, 3).await;
        let id = house.clients[client].session.clone();
        house.viewers.input(Input::End(id.clone()));
        house.until("it is told", |house| house.clients[client].ended).await;
        let count = house.clients[client].came.len();
        house.picture(true, 3);
        house.sound();
        house.turn().await;
        assert_eq!((house.times_told(&Event::Left(id)), house.clients[client].came.len()), (1, count));
        assert!(house.viewers.routes.is_empty() && house.viewers.sessions.is_empty());
    });
}
