//! The viewers' sessions that run, each in a numbered slot.
//!
//! In: sessions that begin, connect and end; bytes they send; where they stand and how their links do; what their browsers
//! measured. Out: their figures, and how long somebody has watched.
//! Never: media; what a browser said long ago; more slots than there were sessions at one time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};

/// One viewer's session; whoever sends its packets counts them here.
#[derive(Debug)]
pub struct Session {
    slot: usize,
    peer: String,
    began: Instant,
    bytes: AtomicU64,
    packets: AtomicU64,
    /// Milliseconds from its beginning to its media connection, plus one; 0: not connected.
    connected: AtomicU64,
    standing: Mutex<Standing>,
    /// What its browser measured from capture to screen, and when it said so.
    shown: Mutex<Option<(Duration, Instant)>>,
    all: Arc<Total>,
}

/// Where a viewer stands, and how its link does by the receiver's own reports.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Standing {
    /// Rung of the quality ladder; 0 is the best one.
    pub rung: usize,
    /// Width and height of the picture there, pixels; 0 before it was looked at.
    pub size: (u32, u32),
    /// `None`: nothing was reported lately.
    pub link: Option<LinkFigures>,
    /// How long a packet to the viewer and the answer take, as it was reported last; `None`: it never was, or nothing arrives.
    pub round_trip: Option<Duration>,
}

/// How a viewer's link did in the last second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkFigures {
    /// kbit/s that it is estimated to carry.
    pub carries: f64,
    /// kbit/s of media that arrived.
    pub delivered: f64,
    /// Share of packets that were lost, 0 to 1.
    pub loss: f64,
}

impl Session {
    /// A packet of so many bytes goes to the viewer.
    pub fn sent(&self, bytes: usize) {
        let bytes = bytes as u64;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.all.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.all.packets.fetch_add(1, Ordering::Relaxed);
    }
}

/// What one session has come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Signalling peer whose session it is.
    pub peer: String,
    /// Number of its slot.
    pub slot: usize,
    /// How long it has been there.
    pub age: Duration,
    /// From its beginning to its media connection; `None`: not connected yet.
    pub join: Option<Duration>,
    /// Bytes sent, of media and of what belongs to it.
    pub bytes: u64,
    /// Datagrams sent.
    pub packets: u64,
    /// Where it stands.
    pub standing: Standing,
    /// From capture to the viewer's screen, as its browser measured it; `None`: it did not say so lately.
    pub capture_to_screen: Option<Duration>,
}

/// Why a browser's figure is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// The peer watches nothing.
    NotWatching,
    /// It said one a moment ago; the time until the next.
    TooSoon(Duration),
}

/// Least time between two figures of one session's browser. The page sends one every ten seconds.
const SPACING: Duration = Duration::from_secs(4);
/// A figure holds so long: a page that is closed, or behind others, shows nothing.
const HOLDS: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Total {
    bytes: AtomicU64,
    packets: AtomicU64,
}

#[derive(Default)]
pub(super) struct Sessions {
    table: Mutex<Table>,
    total: Arc<Total>,
}

#[derive(Default)]
struct Table {
    by_id: BTreeMap<String, Arc<Session>>,
    /// Since when there has been at least one.
    watched: Option<Instant>,
}

impl Sessions {
    pub fn begin(&self, id: &str, peer: &str) -> Arc<Session> {
        let mut table = self.lock();
        let taken: Vec<usize> = table.by_id.values().map(|session| session.slot).collect();
        let slot = (0..).find(|slot| !taken.contains(slot)).unwrap_or_default();
        let session = Arc::new(Session {
            slot,
            peer: peer.to_owned(),
            began: Instant::now(),
            bytes: AtomicU64::new(0),
            packets: AtomicU64::new(0),
            connected: AtomicU64::new(0),
            standing: Mutex::default(),
            shown: Mutex::default(),
            all: self.total.clone(),
        });
        table.by_id.insert(id.to_owned(), session.clone());
        table.watched.get_or_insert_with(Instant::now);
        session
    }

    /// How long it took, at the first time.
    pub fn connected(&self, id: &str) -> Option<Duration> {
        let session = self.lock().by_id.get(id)?.clone();
        let took = session.began.elapsed();
        let mark = u64::try_from(took.as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let first = session.connected.compare_exchange(0, mark, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        first.then_some(took)
    }

    pub fn stands(&self, id: &str, standing: Standing) {
        if let Some(session) = self.lock().by_id.get(id) {
            *session.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
        }
    }

    /// A peer's browser measured so long from capture to screen.
    pub fn shown(&self, peer: &str, latency: Duration, now: Instant) -> Result<(), NotTaken> {
        let table = self.lock();
        let own = table.by_id.values().filter(|session| session.peer == peer);
        let session = own.max_by_key(|session| session.began).ok_or(NotTaken::NotWatching)?;
        let mut shown = session.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let next = shown.map_or(now, |(_, said)| said + SPACING);
        if now < next {
            return Err(NotTaken::TooSoon(next - now));
        }
        *shown = Some((latency, now));
        Ok(())
    }

    pub fn end(&self, id: &str) {
        let mut table = self.lock();
        table.by_id.remove(id);
        if table.by_id.is_empty() {
            table.watched = None;
        }
    }

    pub fn clear(&self) {
        *self.lock() = Table::default();
    }

    pub fn watched(&self) -> (usize, Duration) {
        let table = self.lock();
        (table.by_id.len(), table.watched.map(|since| since.elapsed()).unwrap_or_default())
    }

    pub fn list(&self) -> Vec<Figures> {
        let mut list: Vec<Figures> = self.lock().by_id.values().map(|session| figures(session)).collect();
        list.sort_by(|a, b| a.peer.cmp(&b.peer).then(a.slot.cmp(&b.slot)));
        list
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn figures(session: &Session) -> Figures {
    let connected = session.connected.load(Ordering::Relaxed);
    let shown = *session.shown.lock().unwrap_or_else(PoisonError::into_inner);
    Figures {
        peer: session.peer.clone(),
        slot: session.slot,
        age: session.began.elapsed(),
        join: (connected > 0).then(|| Duration::from_millis(connected - 1)),
        bytes: session.bytes.load(Ordering::Relaxed),
        packets: session.packets.load(Ordering::Relaxed),
        standing: *session.standing.lock().unwrap_or_else(PoisonError::into_inner),
        capture_to_screen: shown.filter(|(_, said)| said.elapsed() < HOLDS).map(|(latency, _)| latency),
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("count", &self.lock().by_id.len()).finish()
    }
}

impl Collector for Sessions {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let list = self.list();
        let connected = list.iter().filter(|figures| figures.join.is_some()).count();
        gauge(&mut encoder, "viewers", "Sessions the device sends to, or is about to", list.len() as i64)?;
        gauge(
            &mut encoder,
            "viewers_connected",
            "Sessions among them that have their media connection",
            connected as i64,
        )?;
        let total = |count: &AtomicU64| count.load(Ordering::Relaxed);
        counter(
            &mut encoder,
            "sent_bytes",
            "Bytes sent to all viewers, of media and of what belongs to it",
            total(&self.total.bytes),
        )?;
        counter(&mut encoder, "sent_packets", "Datagrams sent to all viewers", total(&self.total.packets))?;
        let of_session = "in the session of a slot; begins anew when the slot is taken again";
        let help = format!("Bytes sent {of_session}, of media and of what belongs to it");
        let mut family = encoder.encode_descriptor("session_sent_bytes", &help, None, MetricType::Counter)?;
        for figures in &list {
            let labels = [("slot", figures.slot.to_string())];
            ConstCounter::new(figures.bytes).encode(family.encode_family(&labels)?)?;
        }
        let help = format!("Datagrams sent {of_session}");
        let mut family = encoder.encode_descriptor("session_sent_packets", &help, None, MetricType::Counter)?;
        for figures in &list {
            let labels = [("slot", figures.slot.to_string())];
            ConstCounter::new(figures.packets).encode(family.encode_family(&labels)?)?;
        }
        let seconds = prometheus_client::registry::Unit::Seconds;
        let mut gauges = |name, help, unit, of: fn(&Figures) -> Option<f64>| {
            let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
            for (figures, value) in list.iter().filter_map(|figures| Some((figures, of(figures)?))) {
                let labels = [("slot", figures.slot.to_string())];
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
            Ok::<(), fmt::Error>(())
        };
        gauges("session_age", "Age of the session of a slot", Some(&seconds), |figures| {
            Some(figures.age.as_secs_f64())
        })?;
        let rung = "Rung of the quality ladder on which the session of a slot stands; 0 is the best one";
        gauges("session_rung", rung, None, |figures| Some(figures.standing.rung as f64))?;
        let loss = "Share of the packets of the last second that were lost on the way to a slot's viewer";
        gauges("session_loss_ratio", loss, None, |figures| Some(figures.standing.link?.loss))?;
        let delivered = "Bits a second that arrived at a slot's viewer, lately";
        gauges("session_delivered_bits_per_second", delivered, None, |figures| {
            Some(figures.standing.link?.delivered * 1000.0)
        })?;
        let carries = "Bits a second that the link to a slot's viewer is estimated to carry; more than the best picture takes is not looked for";
        gauges("session_link_bits_per_second", carries, None, |figures| Some(figures.standing.link?.carries * 1000.0))?;
        let round_trip = "Time that a packet to a slot's viewer and the answer take, by its reports on packets";
        gauges("session_round_trip", round_trip, Some(&seconds), |figures| {
            Some(figures.standing.round_trip?.as_secs_f64())
        })?;
        let shown = "Time from capture to the screen of a slot's viewer, as its browser measured it lately (Chromium; \
            Firefox does not tell)";
        gauges("session_capture_to_screen", shown, Some(&seconds), |figures| {
            Some(figures.capture_to_screen?.as_secs_f64())
        })
    }
}

fn gauge(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: i64) -> Result<(), fmt::Error> {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, ConstGauge::<i64>::TYPE)?)
}

fn counter(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: u64) -> Result<(), fmt::Error> {
    let counter = ConstCounter::new(value);
    counter.encode(encoder.encode_descriptor(name, help, None, ConstCounter::<u64>::TYPE)?)
}
