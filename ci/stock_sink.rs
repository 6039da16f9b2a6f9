//! The baselines of measurements: a stock `webrtcsink` as gst-plugin-webrtc delivers it, with raw or with encoded input.
//!
//! In: a signalling address and a file. Out: a producer; its peer id is what the signalling server lists. Never: a
//! setting of `webrtcsink` but those that keep it on this machine and, if asked for, to VP8 at one bit rate.
//!
//! The file is decoded, scaled and looped by Duplex's own source, so that what differs is the sending alone.
//!
//! `stock_sink ws://127.0.0.1:PORT FILE [KBIT/S [encoded]]`; encoded: it gets what Duplex's own encoders make of the file.

use duplex::bridge;
use duplex::config::VideoCodec;
use duplex::outbound::encoder::{Format, KeyFrames};
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
        codec: VideoCodec::Vp8,
        video_bitrate: 2000,
        audio_bitrate: 64,
    };
    let mut sending = Pipeline::on_common_time("stock");
    let picture = bridge::inlet(&format.raw_video(), 2, gst::ClockTime::ZERO)?;
    let sound = bridge::inlet(&Format::raw_audio(), 20, gst::ClockTime::ZERO)?;
    let sink = gst::ElementFactory::make("webrtcsink").build()?;
    sink.set_property("stun-server", None::<String>);
    if let Some(kbits) = bitrate {
        sink.set_property("video-caps", gst::Caps::new_empty_simple("video/x-vp8"));
        sink.set_property("audio-caps", gst::Caps::new_empty_simple("audio/x-opus"));
        sink.set_property("start-bitrate", kbits * 1000);
        sink.set_property("max-bitrate", kbits * 1000);
    }
    sink.property::<glib::Object>("signaller").set_property("uri", uri);
    sending.inner().add_many([picture.upcast_ref(), sound.upcast_ref(), &sink])?;
    if encoded {
        let encoders = [format.video_encoder(KeyFrames::OnRequest)?, format.audio_encoder()?];
        sending.inner().add_many(&encoders)?;
        for ((inlet, encoder), pad) in [&picture, &sound].into_iter().zip(&encoders).zip(["video_%u", "audio_%u"]) {
            inlet.link(encoder)?;
            encoder.link_pads(Some("src"), &sink, Some(pad))?;
        }
    } else {
        picture.link_pads(Some("src"), &sink, Some("video_%u"))?;
        sound.link_pads(Some("src"), &sink, Some("audio_%u"))?;
    }
    sending.play().await?;

    let mut clip = source::file(std::path::Path::new(file), Some(&format), true)?;
    for (outlet, inlet) in [(&clip.video, &picture), (&clip.audio, &sound)] {
        if let Some(outlet) = outlet {
            bridge::join(outlet, &[inlet], || {});
        }
    }
    clip.pipeline.preroll(std::time::Duration::from_secs(10)).await?;
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
