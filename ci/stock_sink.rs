//! The baselines of measurements: a stock `webrtcsink` as gst-plugin-webrtc delivers it, with raw or with encoded input; and
//! RTP for an SFU.
//!
//! In: a signalling address and a file. Out: a producer; its peer id is what the signalling server lists; or RTP to two ports of
//! loopback. Never: a setting of `webrtcsink` but those that keep it on this machine and, if asked for, to VP8 at one bit rate.
//!
//! The file is decoded, scaled and looped by Duplex's own source, so that what differs is the sending alone.
//!
//! `stock_sink ws://127.0.0.1:PORT FILE [KBIT/S [encoded]]`; encoded: it gets what Duplex's own encoders make of the file.
//! `stock_sink rtp:VIDEOPORT:AUDIOPORT FILE KBIT/S encoded`: VP8 as payload type 96, Opus as 97.
//! `stock_sink count:CODEC[:defaults] FILE KBIT/S encoded`: sends nothing, and prints twice a second how many pictures were encoded as `vp8` or
//! `h264`, by the encoder as Duplex sets it or (`defaults`) as GStreamer has it where it is told no more than to keep up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use duplex::bridge;
use duplex::config::VideoCodec;
use duplex::outbound::encoder::Format;
use duplex::outbound::source;
use duplex::pipeline::{Event, Pipeline};
use gst::glib;
use gst::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (uri, file, bitrate, encoded) = match words.as_slice() {
        [uri, file] => (uri, file, None, false),
        [uri, file, bitrate] => (uri, file, Some(bitrate.parse::<u32>()?), false),
        [uri, file, bitrate, word] if word == "encoded" => (uri, file, Some(bitrate.parse::<u32>()?), true),
        _ => return Err("usage: stock_sink SIGNALLING FILE [KBIT/S [encoded]]".into()),
    };
    duplex::init_gstreamer()?;
    let format = Format {
        width: 1280,
        height: 720,
        framerate: 30,
        codec: if uri.starts_with("count:h264") { VideoCodec::H264 } else { VideoCodec::Vp8 },
        video_bitrate: bitrate.unwrap_or(2000),
        audio_bitrate: 64,
    };
    let mut sending = Pipeline::on_common_time("stock");
    let picture = bridge::inlet(&format.raw_video(), 2, gst::ClockTime::ZERO)?;
    let sound = bridge::inlet(&Format::raw_audio(), 20, gst::ClockTime::ZERO)?;
    sending.inner().add_many([&picture, &sound])?;
    let mut ends: [gst::Element; 2] = [picture.clone().upcast(), sound.clone().upcast()];
    if encoded {
        let video = match uri.ends_with(":defaults") {
            true => default_encoder(&format)?,
            false => format.video_encoder()?,
        };
        for (end, encoder) in ends.iter_mut().zip([video, format.audio_encoder()?]) {
            sending.inner().add(&encoder)?;
            end.link(&encoder)?;
            *end = encoder;
        }
    }
    match uri.split_once(':') {
        Some(("rtp", ports)) => send_rtp(sending.inner(), &ends, ports)?,
        Some(("count", _)) => count(sending.inner(), &ends)?,
        _ => send_webrtc(sending.inner(), &ends, uri, bitrate)?,
    }
    sending.play().await?;

    let mut clip = source::file(std::path::Path::new(file), Some(&format), true)?;
    for (outlet, inlet) in [(&clip.video, &picture), (&clip.audio, &sound)] {
        if let Some(outlet) = outlet {
            bridge::join(outlet, &[inlet], |_| {});
        }
    }
    clip.pipeline.preroll(Duration::from_secs(10)).await?;
    clip.pipeline.inner().seek_simple(gst::SeekFlags::SEGMENT | gst::SeekFlags::FLUSH, gst::ClockTime::ZERO)?;
    clip.pipeline.play().await?;
    loop {
        tokio::select! {
            event = clip.pipeline.next() => match event {
                Some(Event::SegmentDone) => clip.pipeline.inner().seek_simple(gst::SeekFlags::SEGMENT, gst::ClockTime::ZERO)?,
                Some(Event::Error { message, .. }) => return Err(message.into()),
                Some(Event::Eos) | None => return Err("the file ended".into()),
                Some(_) => {}
            },
            event = sending.next() => if let Some(Event::Error { message, .. }) = event {
                return Err(message.into());
            },
        }
    }
}

/// The encoder of the picture with GStreamer's own defaults, but for the bit rate and for what makes it an encoder for real time.
fn default_encoder(format: &Format) -> Result<gst::Element, Box<dyn std::error::Error>> {
    let encoder = match format.codec {
        VideoCodec::Vp8 => gst::ElementFactory::make("vp8enc")
            .property("deadline", 1i64)
            .property("target-bitrate", (format.video_bitrate * 1000) as i32),
        VideoCodec::H264 => gst::ElementFactory::make("x264enc")
            .property_from_str("tune", "zerolatency")
            .property("bitrate", format.video_bitrate),
    };
    Ok(encoder.build()?)
}

/// Counts pictures and sends nothing.
fn count(pipeline: &gst::Pipeline, ends: &[gst::Element; 2]) -> Result<(), Box<dyn std::error::Error>> {
    let pictures = Arc::new(AtomicU64::new(0));
    for end in ends {
        let sink = gst::ElementFactory::make("fakesink").property("sync", false).property("async", false).build()?;
        pipeline.add(&sink)?;
        end.link(&sink)?;
    }
    let seen = pictures.clone();
    let pad = ends[0].static_pad("src").ok_or("an encoder without a src pad")?;
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        seen.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(500));
            println!("{}", pictures.load(Ordering::Relaxed));
        }
    });
    Ok(())
}

/// Gives both to `webrtcsink`.
fn send_webrtc(
    pipeline: &gst::Pipeline,
    [picture, sound]: &[gst::Element; 2],
    uri: &str,
    bitrate: Option<u32>,
) -> Result<(), Box<dyn std::error::Error>> {
    let sink = gst::ElementFactory::make("webrtcsink").build()?;
    sink.set_property("stun-server", None::<String>);
    if let Some(kbits) = bitrate {
        sink.set_property("video-caps", gst::Caps::new_empty_simple("video/x-vp8"));
        sink.set_property("audio-caps", gst::Caps::new_empty_simple("audio/x-opus"));
        sink.set_property("start-bitrate", kbits * 1000);
        sink.set_property("max-bitrate", kbits * 1000);
    }
    sink.property::<glib::Object>("signaller").set_property("uri", uri);
    pipeline.add(&sink)?;
    picture.link_pads(Some("src"), &sink, Some("video_%u"))?;
    sound.link_pads(Some("src"), &sink, Some("audio_%u"))?;
    Ok(())
}

/// Sends both as RTP to ports of loopback; `ports`: `VIDEO:AUDIO`.
fn send_rtp(pipeline: &gst::Pipeline, ends: &[gst::Element; 2], ports: &str) -> Result<(), Box<dyn std::error::Error>> {
    let payloaders = [
        gst::ElementFactory::make("rtpvp8pay").property("pt", 96u32).property_from_str("picture-id-mode", "15-bit"),
        gst::ElementFactory::make("rtpopuspay").property("pt", 97u32),
    ];
    for ((end, payloader), port) in ends.iter().zip(payloaders).zip(ports.split(':')) {
        // As large as webrtcsink's.
        let payloader = payloader.property("mtu", 1200u32).build()?;
        let sink = gst::ElementFactory::make("udpsink")
            .property("host", "127.0.0.1")
            .property("port", port.parse::<i32>()?)
            .property("sync", false)
            .property("async", false)
            .build()?;
        pipeline.add_many([&payloader, &sink])?;
        gst::Element::link_many([end, &payloader, &sink])?;
    }
    Ok(())
}
