//! The handshake of DTLS and the encryption of reports, by GStreamer's elements; one for each viewer.
//!
//! In: packets of the handshake, reports in the clear. Out: packets to send. Never: a packet of media; those are not decrypted.
//!
//! ```text
//! appsrc (handshake) ─> dtlssrtpdec        appsrc (reports) ─> dtlssrtpenc ─> appsink
//! ```

use base64::Engine;
use gst::prelude::*;
use sha2::Digest;

use crate::Failure;

/// One end of a DTLS connection.
#[derive(Debug)]
pub struct Handshake {
    pipeline: gst::Pipeline,
    received: gst_app::AppSrc,
    reports: gst_app::AppSrc,
    decoder: gst::Element,
    encoder: gst::Element,
}

impl Handshake {
    /// Builds it; it does nothing before [`start`](Self::start). `name` is this viewer's alone, `send` gets what goes out.
    pub fn new(name: &str, send: impl Fn(&[u8]) + Send + 'static) -> Result<Self, Failure> {
        let decoder = gst::ElementFactory::make("dtlssrtpdec").property("connection-id", name).build()?;
        let encoder = gst::ElementFactory::make("dtlssrtpenc")
            .property("connection-id", name)
            .property("is-client", true)
            .build()?;
        let received = gst_app::AppSrc::builder().is_live(true).build();
        let caps = gst::Caps::new_empty_simple("application/x-rtcp");
        let reports =
            gst_app::AppSrc::builder().is_live(true).caps(&caps).format(gst::Format::Time).do_timestamp(true).build();
        let sent = gst_app::AppSink::builder().sync(false).async_(false).build();
        sent.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    if let Some(bytes) = sample.buffer().and_then(|buffer| buffer.map_readable().ok()) {
                        send(&bytes);
                    }
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        );
        let pipeline = gst::Pipeline::new();
        pipeline.add_many([received.upcast_ref(), &decoder, reports.upcast_ref(), &encoder, sent.upcast_ref()])?;
        received.link(&decoder)?;
        reports.link_pads(Some("src"), &encoder, Some("rtcp_sink_0"))?;
        encoder.link(&sent)?;
        Ok(Self { pipeline, received, reports, decoder, encoder })
    }

    /// SHA-256 of this end's certificate, as SDP has it.
    pub fn fingerprint(&self) -> Result<String, Failure> {
        let pem = self.decoder.property::<String>("pem");
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let certificate = base64::engine::general_purpose::STANDARD.decode(body)?;
        let digest: Vec<String> = sha2::Sha256::digest(certificate).iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(digest.join(":"))
    }

    /// Begins: the other end can be reached now.
    pub fn start(&self) -> Result<(), Failure> {
        self.pipeline.set_state(gst::State::Playing)?;
        Ok(())
    }

    /// Takes a packet of the handshake.
    pub fn take(&self, packet: &[u8]) {
        // It refuses only while it ends.
        self.received.push_buffer(gst::Buffer::from_slice(packet.to_vec())).ok();
    }

    /// Sends a report, once keys are agreed on.
    pub fn report(&self, packet: Vec<u8>) {
        // It refuses only while it ends.
        self.reports.push_buffer(gst::Buffer::from_slice(packet)).ok();
    }

    /// Whether keys are agreed on.
    pub fn done(&self) -> bool {
        let state = self.encoder.property_value("connection-state");
        state.transform::<i32>().ok().and_then(|state| state.get::<i32>().ok()) == Some(CONNECTED)
    }
}

/// `GST_DTLS_CONNECTION_STATE_CONNECTED`.
const CONNECTED: i32 = 4;

impl Drop for Handshake {
    fn drop(&mut self) {
        if let Err(error) = self.pipeline.set_state(gst::State::Null) {
            eprintln!("a viewer does not end: {error}");
        }
    }
}
