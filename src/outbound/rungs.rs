//! The rungs of the quality ladder: how large and how costly each is.
//!
//! In: the format of the top rung, how many rungs are wanted; what viewers want of a rung. Out: one format a rung, the best
//! first; what a rung needs of a link, and with what bit rate it is encoded then.
//! Never: a picture too small to be of use; a rung that saves next to nothing.

use super::climb::Need;
use super::encoder::Format;

/// Each further rung: what its width and height are divided by, and its share of the top rung's bit rate. Small pictures
/// need more bits a pixel.
const STEPS: [(u32, f64); 2] = [(2, 0.3), (4, 0.08)];
/// Least bit rate of a rung, kbit/s: below it a moving picture is no picture.
const FLOOR: u32 = 120;
/// Least width of a rung, pixels.
const NARROWEST: u32 = 160;
/// A rung must save at least this share of the bit rate of the one above.
const WORTH: f64 = 0.2;

/// A rung whose viewers' links carry less is encoded with less, down to this share of its bit rate: below it a smaller
/// picture looks better.
const LEAST: f64 = 0.5;

/// What RTP, encryption and the encoder's own excess add to the picture's bit rate, and what they add to the sound's.
const OVERHEAD: (f64, f64) = (1.08, 1.3);

/// What a rung needs of a link.
pub fn need(rung: &Format) -> Need {
    let need = |video: u32| f64::from(video) * OVERHEAD.0 + f64::from(rung.audio_bitrate) * OVERHEAD.1;
    Need { most: need(rung.video_bitrate), least: need(least(rung)) }
}

/// kbit/s of the picture when a link gives its viewer so much, sound included.
pub fn video_bitrate(rung: &Format, kbits: f64) -> u32 {
    let video = (kbits - f64::from(rung.audio_bitrate) * OVERHEAD.1) / OVERHEAD.0;
    (video.round() as u32).clamp(least(rung), rung.video_bitrate)
}

fn least(rung: &Format) -> u32 {
    ((f64::from(rung.video_bitrate) * LEAST) as u32).max(FLOOR).min(rung.video_bitrate)
}

/// The formats of at most `count` rungs, from the top one down; never none.
pub fn ladder(top: &Format, count: usize) -> Vec<Format> {
    let mut rungs = vec![top.clone()];
    for (divisor, share) in STEPS.iter().take(count.saturating_sub(1)) {
        let video_bitrate = ((f64::from(top.video_bitrate) * share) as u32).max(FLOOR);
        let above = rungs.last().map_or(0, |rung| rung.video_bitrate);
        let width = even(top.width / divisor);
        if width < NARROWEST || f64::from(video_bitrate) > f64::from(above) * (1.0 - WORTH) {
            break;
        }
        rungs.push(Format { width, height: even(top.height / divisor), video_bitrate, ..top.clone() });
    }
    rungs
}

/// I420 has one colour sample for four pixels.
fn even(pixels: u32) -> u32 {
    pixels & !1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::VideoCodec;

    fn top(width: u32, height: u32, video_bitrate: u32) -> Format {
        Format { width, height, framerate: 30, codec: VideoCodec::Vp8, video_bitrate, audio_bitrate: 64 }
    }

    fn shape(rungs: &[Format]) -> Vec<(u32, u32, u32)> {
        rungs.iter().map(|rung| (rung.width, rung.height, rung.video_bitrate)).collect()
    }

    #[test]
    fn three_rungs_of_720p() {
        let rungs = ladder(&top(1280, 720, 2000), 3);
        assert_eq!(shape(&rungs), [(1280, 720, 2000), (640, 360, 600), (320, 180, 160)]);
    }

    #[test]
    fn sizes_stay_even() {
        let rungs = ladder(&top(854, 482, 1000), 3);
        assert!(rungs.iter().all(|rung| rung.width % 2 == 0 && rung.height % 2 == 0));
    }

    #[test]
    fn no_rung_that_is_too_small_or_saves_nothing() {
        assert_eq!(shape(&ladder(&top(320, 240, 1000), 3)), [(320, 240, 1000), (160, 120, 300)]);
        assert_eq!(ladder(&top(1280, 720, 130), 3).len(), 1);
        assert_eq!(shape(&ladder(&top(1280, 720, 400), 3)), [(1280, 720, 400), (640, 360, 120)]);
    }

    #[test]
    fn a_rung_is_encoded_with_what_its_links_carry_within_bounds() {
        let rung = top(1280, 720, 2000);
        let Need { most, least } = need(&rung);
        assert_eq!((video_bitrate(&rung, most), video_bitrate(&rung, least)), (2000, 1000));
        assert_eq!(video_bitrate(&rung, (most + least) / 2.0), 1500);
        for (kbits, bounded) in [(0.0, 1000), (-1.0, 1000), (1e9, 2000), (f64::NAN, 1000)] {
            assert_eq!(video_bitrate(&rung, kbits), bounded, "{kbits}");
        }
        // The smallest pictures need what they have.
        assert_eq!(video_bitrate(&top(160, 120, 130), 0.0), 120);
        assert_eq!(video_bitrate(&top(160, 120, 100), 0.0), 100);
    }

    #[test]
    fn one_rung_is_the_picture_as_configured() {
        for count in [0, 1] {
            assert_eq!(ladder(&top(1280, 720, 2000), count), [top(1280, 720, 2000)]);
        }
    }
}
