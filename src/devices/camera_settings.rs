//! What of the owner's settings of a camera the camera at hand takes.
//!
//! In: the configured [`Camera`]; a device. Out: the V4L2 controls that it asks for; one sentence on those that the device does not
//! have, or not in that range; what it has. Never: sets a control, or says anything of a camera that does not answer.

use std::io;

use super::v4l2_controls::{self, Control};
use super::{Device, Driver};
use crate::config::{Auto, Camera};
use crate::words;

/// What is asked of a control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The key of the configuration that asks.
    pub key: &'static str,
    /// The control's names, those of new kernels first; a camera has one of them.
    pub names: Vec<&'a str>,
    /// The value.
    pub value: i32,
    /// Whether the setting fails without it: a camera without an automatic has none to switch off.
    pub needed: bool,
}

/// The V4L2 controls that differ from the camera's own choice, in the order in which they are set.
pub fn asked(camera: &Camera) -> Vec<Asked<'_>> {
    let mut all = Vec::new();
    if let Auto::Fixed(microseconds) = camera.exposure {
        let key = "camera-exposure";
        // V4L2 counts in 100 µs; 1 is manual exposure.
        let steps = (microseconds / 100).max(1) as i32;
        all.push(Asked { key, names: vec!["auto_exposure", "exposure_auto"], value: 1, needed: false });
        let names = vec!["exposure_time_absolute", "exposure_absolute"];
        all.push(Asked { key, names, value: steps, needed: true });
    }
    if let Auto::Fixed(kelvin) = camera.white_balance {
        let key = "camera-white-balance";
        let names = vec!["white_balance_automatic", "white_balance_temperature_auto"];
        all.push(Asked { key, names, value: 0, needed: false });
        all.push(Asked { key, names: vec!["white_balance_temperature"], value: kelvin as i32, needed: true });
    }
    all.extend(camera.controls.iter().map(|(name, value)| Asked {
        key: CONTROLS,
        names: vec![name],
        value: *value,
        needed: true,
    }));
    all
}

/// What to tell of settings that this camera does not take as they are; `None`: it takes them all. Blocks: the camera is asked, unless
/// nothing is set.
///
/// # Errors
/// It does not answer.
pub fn remark(device: &Device, camera: &Camera) -> io::Result<Option<String>> {
    match (device.driver, &device.node) {
        (Driver::V4l2, Some(node)) => {
            let asked = asked(camera);
            if asked.is_empty() { Ok(None) } else { Ok(refused(&asked, &v4l2_controls::list(node)?)) }
        }
        (Driver::Libcamera, _) if !camera.controls.is_empty() => {
            Ok(Some(format!("{CONTROLS} are for V4L2 cameras, and this one is libcamera's")))
        }
        _ => Ok(None),
    }
}

/// What of this camera can be set, a line each. Blocks as [`remark`] does.
pub fn settable(device: &Device) -> Vec<String> {
    let Some(node) = device.node.as_deref().filter(|_| device.driver == Driver::V4l2) else {
        return vec!["(through libcamera: camera-exposure and camera-white-balance, where it has them)".to_owned()];
    };
    match v4l2_controls::list(node) {
        Ok(has) if has.is_empty() => vec!["(it has no controls)".to_owned()],
        Ok(has) => has.iter().map(Control::to_string).collect(),
        Err(error) => vec![format!("(it does not tell its controls: {})", words::plain(error))],
    }
}

/// What of this a camera with these controls does not take, and what it has.
fn refused(asked: &[Asked<'_>], has: &[Control]) -> Option<String> {
    let mut absent = false;
    let problems: Vec<String> = asked
        .iter()
        .filter_map(|asked| {
            let names: Vec<String> = asked.names.iter().map(|name| v4l2_controls::normalised(name)).collect();
            let there = || has.iter().filter(|control| names.contains(&control.name));
            let (key, value) = (asked.key, asked.value);
            match there().next() {
                None if !asked.needed => None,
                None => {
                    absent = true;
                    Some(format!("{key}: the camera has no {}", asked.names.join(" or ")))
                }
                Some(_) if there().any(|control| control.takes(value)) => None,
                Some(control) if control.read_only => Some(format!("{key}: {} cannot be set", control.name)),
                Some(control) => Some(format!("{key}: {} takes {}, not {value}", control.name, control.range())),
            }
        })
        .collect();
    if problems.is_empty() {
        return None;
    }
    let mut text = problems.join("; ");
    if absent {
        let settable = has.iter().filter(|control| !control.read_only);
        let list: Vec<String> = settable.map(|control| format!("{} {}", control.name, control.range())).collect();
        text += &if list.is_empty() { "; it has none".to_owned() } else { format!("; it has {}", list.join("; ")) };
    }
    Some(text)
}

/// The key of what is asked by name.
const CONTROLS: &str = "camera-controls";

#[cfg(test)]
mod tests {
    use super::super::v4l2_controls::tests::webcam;
    use super::*;

    fn set(exposure: Auto, white_balance: Auto, controls: &[(&str, i32)]) -> Camera {
        let controls = controls.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Camera { exposure, white_balance, controls, ..Camera::default() }
    }

    #[test]
    fn what_a_camera_takes_nobody_is_told() {
        let camera = set(Auto::Fixed(10_000), Auto::Auto, &[("brightness", -3), ("zoom__absolute", 200), ("reset", 1)]);
        assert_eq!(refused(&asked(&camera), &webcam()), None);
        assert_eq!(refused(&asked(&Camera::default()), &[]), None);
    }

    #[test]
    fn either_name_of_a_control_will_do() {
        let mut old = webcam();
        for control in &mut old {
            control.name = match control.name.as_str() {
                "auto_exposure" => "exposure_auto".into(),
                "exposure_time_absolute" => "exposure_absolute".into(),
                other => other.into(),
            };
        }
        let camera = set(Auto::Fixed(10_000), Auto::Auto, &[]);
        assert_eq!(refused(&asked(&camera), &old), None);
        // No automatic, nothing to switch off.
        old.retain(|control| control.name != "exposure_auto");
        assert_eq!(refused(&asked(&camera), &old), None);
        old.clear();
        assert_eq!(
            refused(&asked(&camera), &old).as_deref(),
            Some("camera-exposure: the camera has no exposure_time_absolute or exposure_absolute; it has none")
        );
    }

    #[test]
    fn what_it_does_not_take_is_told_with_what_it_does() {
        let out_of_range = set(Auto::Fixed(1_000_000), Auto::Auto, &[("brightness", 65), ("link_frequency", 0)]);
        assert_eq!(
            refused(&asked(&out_of_range), &webcam()).as_deref(),
            Some(
                "camera-exposure: exposure_time_absolute takes 3..2047, not 10000; \
                camera-controls: brightness takes -64..64, not 65; camera-controls: link_frequency cannot be set"
            )
        );
        let unknown = set(Auto::Auto, Auto::Fixed(4600), &[("night_vision", 1), ("auto_exposure", 2)]);
        assert_eq!(
            refused(&asked(&unknown), &webcam()).as_deref(),
            Some(
                "camera-white-balance: the camera has no white_balance_temperature; \
                camera-controls: the camera has no night_vision; camera-controls: auto_exposure takes 1, 3, not 2; \
                it has brightness -64..64; white_balance_automatic 0..1; auto_exposure 1, 3; \
                exposure_time_absolute 3..2047; reset any number; leds bits of 0x5; zoom_absolute 100..500"
            )
        );
    }

    #[test]
    fn a_camera_is_asked_only_where_something_is_set() {
        let device = |driver, node: Option<&str>| Device {
            name: "one".into(),
            description: String::new(),
            driver,
            rank: 0,
            node: node.map(Into::into),
            offers: None,
        };
        let gone = device(Driver::V4l2, Some("/dev/nobody"));
        let camera = set(Auto::Auto, Auto::Auto, &[("gain", 4)]);
        assert_eq!(remark(&gone, &Camera::default()).unwrap(), None);
        assert_eq!(remark(&gone, &camera).unwrap_err().kind(), io::ErrorKind::NotFound);
        let boards = device(Driver::Libcamera, None);
        assert_eq!(remark(&boards, &set(Auto::Fixed(10_000), Auto::Auto, &[])).unwrap(), None);
        assert!(remark(&boards, &camera).unwrap().is_some_and(|text| text.contains("libcamera")));
        assert_eq!(settable(&gone), ["(it does not tell its controls: no such file or folder)"]);
        assert_eq!(settable(&device(Driver::V4l2, Some("/dev/null"))), ["(it has no controls)"]);
        assert!(settable(&boards)[0].contains("libcamera"));
    }
}
