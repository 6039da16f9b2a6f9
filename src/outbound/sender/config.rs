//! What every session is made with: codecs, certificate, keys, servers.
//!
//! In: the rungs' format, the configuration's STUN server. Out: an `Rtc` for each session. Never: a codec that is not encoded here; a
//! certificate or key made while a viewer waits; a password of ICE from a generator that can be guessed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use str0m::bwe::Bitrate;
use str0m::config::{CryptoProvider, DtlsCert};
use str0m::crypto::Sha1HmacProvider;
use str0m::format::{Codec, FormatParams};
use str0m::ice::IceCreds;
use str0m::media::{Frequency, Pt};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Rtc, RtcConfig};

use crate::config::VideoCodec;
use crate::outbound::encoder::Format;
use crate::outbound::rungs;
use crate::pipeline::Error;

/// Payload types, as browsers number them.
pub const VIDEO: u8 = 96;
const VIDEO_RTX: u8 = 97;
/// The sound's.
pub const AUDIO: u8 = 111;
/// What the library offers of the sound, and what there is. gstwebrtc-api finds `sprop-stereo` (which Chromium must be told to play) at the beginning
/// alone.
const OPUS: (&str, &str) = (" minptime=10;useinbandfec=1", " sprop-stereo=1;stereo=1;minptime=10;useinbandfec=1");

/// How often a viewer is told which instant a time stamp means. Browsers bring picture and sound together once they were told so twice of
/// each.
const REPORTS: Duration = Duration::from_millis(500);
/// How often is reckoned what links do: as often as they are looked at.
const STATS: Duration = Duration::from_millis(250);

/// How sessions are made.
#[derive(Clone)]
pub struct MediaConfig {
    crypto: Arc<CryptoProvider>,
    certificate: DtlsCert,
    codec: VideoCodec,
    h264: u32,
    /// kbit/s that the whole top rung takes.
    pub most: f64,
    /// `stun://HOST:PORT`, if one is asked.
    pub stun: Option<String>,
}

impl MediaConfig {
    /// For a ladder whose top rung has this format.
    ///
    /// # Errors
    /// No certificate can be made.
    pub fn new(top: &Format, stun: Option<String>) -> Result<Self, Error> {
        let provider = CryptoProvider { sha1_hmac_provider: &HmacSha1, ..str0m::crypto::from_feature_flags() };
        let crypto = Arc::new(provider);
        let certificate = crypto.dtls_provider.generate_certificate();
        let certificate = certificate.ok_or_else(|| Error::Input("cannot make a certificate for WebRTC".to_owned()))?;
        let most = rungs::need(top).most;
        Ok(Self { crypto, certificate, codec: top.codec, h264: profile_level_id(top), most, stun })
    }

    /// A session's end of WebRTC, nothing negotiated yet. `redundancy`: sound may come with packets before it (RED).
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn rtc(&self, redundancy: bool, now: Instant) -> Result<Rtc, Error> {
        let mut config = RtcConfig::new()
            .set_crypto_provider(self.crypto.clone())
            .set_dtls_cert(self.certificate.clone())
            .set_local_ice_credentials(credentials()?)
            .set_extension_map(extensions())
            .clear_codecs()
            .set_rtp_mode(true)
            .enable_bwe(Some(bitrate(self.most)))
            .set_rtcp_report_interval_audio(REPORTS)
            .set_rtcp_report_interval_video(REPORTS)
            .set_stats_interval(Some(STATS));
        config.set_initial_stun_rto(FIRST_CHECK);
        let codecs = config.codec_config();
        // As `AUDIO`, which is the library's own number, and with packets before it as 63.
        codecs.enable_opus(true, redundancy);
        match self.codec {
            VideoCodec::Vp8 => {
                let (pt, resend) = (Pt::from(VIDEO), Some(Pt::from(VIDEO_RTX)));
                codecs.add_config(pt, resend, Codec::Vp8, Frequency::NINETY_KHZ, None, FormatParams::default());
            }
            VideoCodec::H264 => codecs.add_h264(Pt::from(VIDEO), Some(Pt::from(VIDEO_RTX)), true, self.h264),
        }
        Ok(config.build(now))
    }
}

impl std::fmt::Debug for MediaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaConfig").field("codec", &self.codec).finish_non_exhaustive()
    }
}

/// HMAC-SHA1, which each packet is signed with. OpenSSL looks the algorithm up and makes its context anew for each: half of what a viewer costs.
#[derive(Debug)]
struct HmacSha1;

impl Sha1HmacProvider for HmacSha1 {
    fn sha1_hmac(&self, key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
        // It takes keys of any length; were it not so, what is signed with zeros is taken by nobody.
        let Ok(mut hmac) = Hmac::<sha1::Sha1>::new_from_slice(key) else { return [0; 20] };
        payloads.iter().for_each(|payload| hmac.update(payload));
        hmac.finalize().into_bytes().into()
    }
}

/// A connectivity check is repeated after this when it is not answered: on the networks here an answer takes a few milliseconds.
const FIRST_CHECK: Duration = Duration::from_millis(100);

/// The offer as it is sent: with all that is to be said of the sound.
pub fn complete(offer: &str) -> String {
    offer.replace(OPUS.0, OPUS.1)
}

/// kbit/s as the library takes them.
pub fn bitrate(kbits: f64) -> Bitrate {
    Bitrate::from((kbits.max(0.0) * 1000.0) as u64)
}

fn extensions() -> ExtensionMap {
    let mut extensions = ExtensionMap::empty();
    extensions.set(2, Extension::AbsoluteSendTime);
    extensions.set(3, Extension::TransportSequenceNumber);
    extensions.set(4, Extension::RtpMid);
    extensions
}

/// As long as RFC 8445 (5.3) wants them at least, and more: 48 random bits and 144.
fn credentials() -> Result<IceCreds, Error> {
    let mut random = [0_u8; 24];
    getrandom::fill(&mut random).map_err(|error| Error::Input(format!("no random numbers: {error}")))?;
    let text = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
    Ok(IceCreds { ufrag: text(&random[..6]), pass: text(&random[6..]) })
}

/// Constrained baseline (42e0), at the lowest level that takes this size and rate: macroblocks a picture and a second, ITU-T H.264
/// table A-1. Never less than 3.1, which browsers name.
fn profile_level_id(format: &Format) -> u32 {
    const LEVELS: [(u32, u32, u32); 6] = [
        (0x1f, 3600, 108_000),
        (0x20, 5120, 216_000),
        (0x28, 8192, 245_760),
        (0x2a, 8704, 522_240),
        (0x33, 36_864, 983_040),
        (0x34, 36_864, 2_073_600),
    ];
    let blocks = format.width.div_ceil(16) * format.height.div_ceil(16);
    let rate = blocks.saturating_mul(format.framerate);
    let fits = |(_, most, most_a_second): &&(u32, u32, u32)| blocks <= *most && rate <= *most_a_second;
    0x0042_e000 | LEVELS.iter().find(fits).map_or(0x34, |(level, ..)| *level)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn format(width: u32, height: u32, framerate: u32) -> Format {
        Format { width, height, framerate, codec: VideoCodec::H264, video_bitrate: 2000, audio_bitrate: 64 }
    }

    #[test]
    fn the_level_takes_the_picture() {
        for (size, level) in [
            ((320, 180, 30), 0x1f),
            ((1280, 720, 30), 0x1f),
            ((1280, 720, 60), 0x20),
            ((1920, 1080, 30), 0x28),
            ((3840, 2160, 30), 0x33),
        ] {
            assert_eq!(profile_level_id(&format(size.0, size.1, size.2)), 0x42_e000 | level, "{size:?}");
        }
    }

    #[test]
    fn packets_are_signed_as_rfc_2202_wants() {
        // Its test cases 1 and 6: a key shorter than a block, and a longer one, the data in pieces.
        let hex = |digest: [u8; 20]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(
            hex(HmacSha1.sha1_hmac(&[0x0b; 20], &[b"Hi ", b"There"])),
            "b617318655057264e28bc0b6fb378c8ef146be00"
        );
        let long = HmacSha1.sha1_hmac(&[0xaa; 80], &[b"Test Using Larger Than Block-Size Key - Hash Key First"]);
        assert_eq!(hex(long), "aa4ae5e15272d00e95705637ce8a3b55ed402112");
    }

    #[test]
    fn no_two_sessions_have_the_same_credentials() {
        let (one, other) = (credentials().unwrap(), credentials().unwrap());
        assert!(one.ufrag != other.ufrag && one.pass != other.pass);
        // RFC 8445: 4 and 22 characters at least.
        assert!(one.ufrag.len() >= 4 && one.pass.len() >= 22, "{}", one.pass.len());
    }
}
