//! Where a recording listens in: probes on pads that encoded media passes anyway.
//!
//! In: pads of either direction. Out: [`Packet`]s on the common clock while a recording runs; key-frame requests.
//! Never: holds up the pad's own stream (a full recording loses packets, not the call), or does anything while nobody
//! records.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;

use super::packet::{Data, Lane, Packet};
use crate::pipeline::common_base_time;

/// Shared by both directions, which let it listen, and the recorder, which opens and closes it.
#[derive(Debug, Clone, Default)]
pub struct Tap(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    outlet: Mutex<Option<Outlet>>,
    /// The pads that pictures pass, for key-frame requests.
    pads: [Mutex<Option<gst::glib::WeakRef<gst::Pad>>>; Lane::ALL.len()],
    /// Pictures were lost: what follows means nothing before a key frame.
    broken: [AtomicBool; Lane::ALL.len()],
    lost: AtomicU64,
    /// What is of after this time goes nowhere; nanoseconds on the common clock.
    end: AtomicU64,
}

/// Where packets go.
#[derive(Debug, Clone)]
pub struct Outlet {
    /// To the file.
    pub packets: SyncSender<Packet>,
    /// The inputs of what mixes the sound of both sides, if it is mixed: the device's, the talker's.
    pub mix: Option<[gst_app::AppSrc; 2]>,
}

impl Tap {
    /// Listens at a pad for as long as the pad lives. What passes it is seen or heard `later` than its time stamp says.
    pub fn listen(&self, lane: Lane, pad: &gst::Pad, later: Duration) {
        if lane.is_picture() {
            *self.0.pads[lane as usize].lock().unwrap_or_else(PoisonError::into_inner) = Some(pad.downgrade());
        }
        let shared = Arc::downgrade(&self.0);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let (Some(shared), Some(buffer)) = (shared.upgrade(), info.buffer()) {
                shared.heard(lane, pad, buffer, later);
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// Packets go there from now on.
    pub fn open(&self, outlet: Outlet) {
        self.0.broken.iter().for_each(|broken| broken.store(false, Ordering::Relaxed));
        self.0.lost.store(0, Ordering::Relaxed);
        self.0.end.store(u64::MAX, Ordering::Relaxed);
        *self.0.outlet.lock().unwrap_or_else(PoisonError::into_inner) = Some(outlet);
    }

    /// What is of after that time, on the common clock, goes nowhere; what is of before may still come.
    pub fn end_at(&self, time: Duration) {
        self.0.end.store(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What is of after this time goes nowhere.
    pub fn end(&self) -> Duration {
        Duration::from_nanos(self.0.end.load(Ordering::Relaxed))
    }

    /// Packets go nowhere from now on.
    pub fn close(&self) {
        *self.0.outlet.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A packet that did not come through a pad: the mixed sound.
    pub fn put(&self, packet: Packet) {
        let outlet = self.0.outlet.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(outlet) = outlet {
            self.0.send(&outlet, packet);
        }
    }

    /// Asks whoever makes a picture for a key frame.
    pub fn ask_for_key_frame(&self, lane: Lane) {
        let pad = self.0.pads[lane as usize].lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(pad) = pad.and_then(|weak| weak.upgrade()) {
            // false: whoever makes it is only starting, and begins with one.
            pad.push_event(gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
    }

    /// Packets lost since it was opened, because the file was not written fast enough.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn heard(&self, lane: Lane, pad: &gst::Pad, buffer: &gst::Buffer, later: Duration) {
        let outlet = self.outlet.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(outlet) = outlet else { return };
        let Some(time) = common_time(pad, buffer).map(|time| time + later) else { return };
        let mixed = match lane {
            Lane::Sound => Some(0),
            Lane::TalkerSound => Some(1),
            _ => None,
        };
        if let (Some(inlets), Some(side)) = (&outlet.mix, mixed) {
            let mut copy = buffer.clone();
            let writable = copy.make_mut();
            writable.set_pts(gst::ClockTime::try_from(time).ok());
            writable.set_dts(None);
            // Refused only while the recording ends.
            inlets[side].push_buffer(copy).ok();
        }
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let caps = (lane.is_picture() && key).then(|| pad.current_caps()).flatten();
        let structure = caps.as_ref().and_then(|caps| caps.structure(0));
        let side = |name| structure.and_then(|s| s.get::<i32>(name).ok()).and_then(|side| u32::try_from(side).ok());
        let packet = Packet {
            lane,
            time,
            key: key || !lane.is_picture(),
            is_h264: structure.is_some_and(|s| s.name() == "video/x-h264"),
            size: side("width").zip(side("height")),
            data: Data::Buffer(buffer.clone()),
        };
        self.send(&outlet, packet);
    }

    fn send(&self, outlet: &Outlet, packet: Packet) {
        if packet.time.as_nanos() > u128::from(self.end.load(Ordering::Relaxed)) {
            return;
        }
        let broken = &self.broken[packet.lane as usize];
        if broken.load(Ordering::Relaxed) && !packet.key {
            return;
        }
        let is_picture = packet.lane.is_picture();
        match outlet.packets.try_send(packet) {
            Ok(()) => broken.store(false, Ordering::Relaxed),
            Err(TrySendError::Full(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                broken.store(is_picture, Ordering::Relaxed);
            }
            // The file has ended; the recorder is about to close the tap.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }
}

/// A buffer's time on the process's common clock.
fn common_time(pad: &gst::Pad, buffer: &gst::Buffer) -> Option<Duration> {
    let segment = pad.sticky_event::<gst::event::Segment>(0)?;
    let running = segment.segment().downcast_ref::<gst::ClockTime>()?.to_running_time(buffer.pts()?)?;
    let base = pad.parent_element()?.base_time()?;
    let time = (running + base).checked_sub(common_base_time())?;
    Some(time.into())
}
