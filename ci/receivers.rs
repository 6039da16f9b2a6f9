//! Load for measurements: many stock `webrtcsrc` viewers in one process that take media and decode nothing.
//!
//! In: a signalling address, how many, for how long. Out: JSON lines: packets of picture per viewer and second, or how long
//! joins took. Never: a decoder; traffic to anything but the given address.
//!
//! `receivers ws://127.0.0.1:PORT PRODUCER COUNT SECONDS`: all at once (PRODUCER `-` takes the first one listed).
//! `receivers ws://127.0.0.1:PORT PRODUCER COUNT joins`: one after the other, each until its first packet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;

/// A join that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(20);

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [uri, producer, count, seconds] = words.as_slice() else {
        return Err("usage: receivers SIGNALLING PRODUCER COUNT SECONDS|joins".into());
    };
    let count: usize = count.parse()?;
    duplex::init_gstreamer()?;
    if seconds == "joins" { joins(uri, producer, count) } else { together(uri, producer, count, seconds.parse()?) }
}

fn together(uri: &str, producer: &str, count: usize, seconds: u64) -> Result<(), Failure> {
    let packets = Arc::new(AtomicU64::new(0));
    let mut pipelines = Vec::new();
    for _ in 0..count {
        let pipeline = viewer(uri, producer, &packets)?;
        pipeline.set_state(gst::State::Playing)?;
        pipelines.push(pipeline);
    }
    // Sessions come up first; then the time that counts begins.
    std::thread::sleep(Duration::from_secs(3));
    println!("counting");
    let before = packets.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_secs(seconds));
    let received = packets.load(Ordering::Relaxed) - before;
    let rate = received as f64 / seconds as f64 / count.max(1) as f64;
    println!("{{\"viewers\": {count}, \"packets_per_second\": {rate:.1}}}");
    for pipeline in pipelines {
        pipeline.set_state(gst::State::Null)?;
    }
    Ok(())
}

fn joins(uri: &str, producer: &str, count: usize) -> Result<(), Failure> {
    for number in 0..count {
        let (packets, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let pipeline = viewer(uri, producer, &packets)?;
        pipeline.set_state(gst::State::Playing)?;
        while packets.load(Ordering::Relaxed) == 0 {
            if began.elapsed() > PATIENCE {
                return Err(format!("join {number}: no picture within {PATIENCE:?}").into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        println!("{{\"join\": {number}, \"ms\": {}}}", began.elapsed().as_millis());
        pipeline.set_state(gst::State::Null)?;
    }
    Ok(())
}

/// A viewer that counts its packets of picture.
fn viewer(uri: &str, producer: &str, packets: &Arc<AtomicU64>) -> Result<gst::Pipeline, Failure> {
    let pipeline = gst::Pipeline::new();
    let source = gst::ElementFactory::make("webrtcsrc").property("stun-server", None::<String>).build()?;
    let signaller = source.property::<glib::Object>("signaller");
    signaller.set_property("uri", uri);
    if producer == "-" {
        source.set_property("connect-to-first-producer", true);
    } else {
        signaller.set_property("producer-peer-id", producer);
    }
    pipeline.add(&source)?;
    let (weak, packets) = (pipeline.downgrade(), packets.clone());
    source.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        // RTP is asked for, so that webrtcsrc brings no decoder.
        let made = gst::ElementFactory::make("capsfilter")
            .property("caps", gst::Caps::new_empty_simple("application/x-rtp"))
            .build();
        let sink = gst::ElementFactory::make("fakesink").property("sync", false).property("async", false).build();
        let (Ok(filter), Ok(sink)) = (made, sink) else { return };
        let video = pad.name().starts_with("video");
        let linked = pipeline.add_many([&filter, &sink]).is_ok()
            && filter.link(&sink).is_ok()
            && filter.sync_state_with_parent().is_ok()
            && sink.sync_state_with_parent().is_ok()
            && filter.static_pad("sink").is_some_and(|target| pad.link(&target).is_ok());
        if let (true, true, Some(target)) = (linked, video, sink.static_pad("sink")) {
            let packets = packets.clone();
            target.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, info| {
                let here = info.buffer_list().map_or(1, |list| list.len() as u64);
                packets.fetch_add(here, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            });
        }
    });
    Ok(pipeline)
}
