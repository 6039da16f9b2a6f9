//! The controls that a V4L2 camera has, as its kernel driver tells them.
//!
//! In: a node below `/dev`. Out: [`Control`]s under the names by which v4l2src sets them. Never: sets a control; tells of one that
//! v4l2src does not set (text, 64 bits, arrays, disabled ones).

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{self, Opcode, Updater, opcode};

/// What values a control takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers.
    Integer,
    /// 0 or 1.
    Boolean,
    /// One of these; none are known where the driver does not tell them.
    Menu(Vec<(i32, String)>),
    /// Any: what is written only starts something.
    Button,
    /// The bits of its maximum.
    Bitmask,
}

/// A control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// As v4l2src and `v4l2-ctl` name it.
    pub name: String,
    /// What values it takes.
    pub kind: Kind,
    /// Its least value.
    pub minimum: i32,
    /// Its greatest value; of a mask all bits.
    pub maximum: i32,
    /// The distance between its values.
    pub step: i32,
    /// What the driver begins with.
    pub default: i32,
    /// Nobody can set it.
    pub read_only: bool,
    /// Another control, such as an automatic, rules it just now.
    pub inactive: bool,
}

impl Control {
    /// Whether it can be set to this value.
    pub fn takes(&self, value: i32) -> bool {
        !self.read_only
            && match &self.kind {
                Kind::Button => true,
                Kind::Bitmask => value & !self.maximum == 0,
                Kind::Menu(items) if !items.is_empty() => items.iter().any(|(index, _)| *index == value),
                Kind::Integer | Kind::Boolean | Kind::Menu(_) => (self.minimum..=self.maximum).contains(&value),
            }
    }

    fn has_gaps(&self, items: &[(i32, String)]) -> bool {
        !items.is_empty() && items.len() as i64 != i64::from(self.maximum) - i64::from(self.minimum) + 1
    }

    /// The values that it takes, in short.
    pub fn range(&self) -> String {
        match &self.kind {
            Kind::Button => "any number".to_owned(),
            Kind::Bitmask => format!("bits of {:#x}", self.maximum),
            Kind::Menu(items) if self.has_gaps(items) => {
                items.iter().map(|(index, _)| index.to_string()).collect::<Vec<_>>().join(", ")
            }
            Kind::Integer | Kind::Boolean | Kind::Menu(_) => format!("{}..{}", self.minimum, self.maximum),
        }
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<32} ", self.name)?;
        match &self.kind {
            Kind::Menu(items) if !items.is_empty() => {
                let items: Vec<_> = items.iter().map(|(index, name)| format!("{index} ({name})")).collect();
                f.write_str(&items.join(", "))?;
            }
            _ => f.write_str(&self.range())?,
        }
        if self.step > 1 {
            write!(f, " in steps of {}", self.step)?;
        }
        if self.kind != Kind::Button {
            write!(f, ", default {}", self.default)?;
        }
        match (self.read_only, self.inactive) {
            (true, _) => f.write_str("; cannot be set"),
            (false, true) => f.write_str("; ruled by another control just now"),
            (false, false) => Ok(()),
        }
    }
}

/// The controls of the camera at this node. Blocks: a USB camera is asked for each.
///
/// # Errors
/// It cannot be opened, or does not answer.
pub fn list(node: &Path) -> io::Result<Vec<Control>> {
    // Whatever stands at that path, nobody waits for its other end.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(collect(&rustix::fs::open(node, flags, Mode::empty())?)?)
}

/// A control's name as v4l2src and `v4l2-ctl` have it: `Exposure Time, Absolute` becomes `exposure_time_absolute`. See
/// `gst_v4l2_normalise_control_name` in gst-plugins-good.
pub fn normalised(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_ascii_lowercase()
}

/// What the kernel is asked.
trait Driver {
    /// The control with the next higher number.
    fn control(&self, after: u32) -> Result<QueryControl, Errno>;
    /// An item of a menu.
    fn item(&self, control: u32, index: u32) -> Result<QueryMenu, Errno>;
}

fn collect(driver: &impl Driver) -> Result<Vec<Control>, Errno> {
    let (mut found, mut last) = (Vec::new(), 0);
    loop {
        let told = match patiently(|| driver.control(last)) {
            // A driver that says the same twice would never end.
            Ok(told) if told.id > last => told,
            // There is no further one; there are none at all.
            Ok(_) | Err(Errno::INVAL | Errno::NOTTY) => return Ok(found),
            Err(error) => return Err(error),
        };
        last = told.id;
        if told.flags & DISABLED == 0
            && let Some(kind) = kind(driver, &told)
        {
            found.push(Control {
                name: normalised(&text(&told.name)),
                kind,
                minimum: told.minimum,
                maximum: told.maximum,
                step: told.step,
                default: told.default_value,
                read_only: told.flags & READ_ONLY != 0,
                inactive: told.flags & INACTIVE != 0,
            });
        }
    }
}

/// Some USB cameras fail now and then, and answer when they are asked again.
fn patiently(mut ask: impl FnMut() -> Result<QueryControl, Errno>) -> Result<QueryControl, Errno> {
    for _ in 0..TRIES {
        match ask() {
            Err(Errno::INTR | Errno::IO | Errno::PIPE | Errno::TIMEDOUT) => {}
            answer => return answer,
        }
    }
    ask()
}

/// `None`: v4l2src does not set such.
fn kind(driver: &impl Driver, told: &QueryControl) -> Option<Kind> {
    let items = |name: fn(&QueryMenu) -> String| {
        let all = told.minimum.max(0)..=told.maximum;
        if all.clone().nth(MOST_ITEMS).is_some() {
            return Kind::Menu(Vec::new());
        }
        // A number that the menu leaves out is an error.
        let item = |number: i32| Some((number, name(&driver.item(told.id, number.try_into().ok()?).ok()?)));
        Kind::Menu(all.filter_map(item).collect())
    };
    match told.kind {
        1 => Some(Kind::Integer),
        2 => Some(Kind::Boolean),
        3 => Some(items(|item| text(&item.name))),
        4 => Some(Kind::Button),
        8 => Some(Kind::Bitmask),
        9 => Some(items(|item| i64::from_ne_bytes(std::array::from_fn(|at| item.name[at])).to_string())),
        _ => None,
    }
}

fn text(name: &[u8]) -> String {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let text = String::from_utf8_lossy(&name[..end]);
    // It is shown on terminals.
    text.chars().filter(|letter| !letter.is_control()).collect()
}

impl Driver for OwnedFd {
    fn control(&self, after: u32) -> Result<QueryControl, Errno> {
        let mut asked = QueryControl { id: after | NEXT, ..QueryControl::default() };
        // SAFETY: the number is VIDIOC_QUERYCTRL, made of the size of the struct, which has the kernel's layout; every value that the
        // kernel writes into it is valid.
        #[allow(unsafe_code)]
        unsafe { ioctl::ioctl(self, Updater::<QUERY_CONTROL, _>::new(&mut asked)) }?;
        Ok(asked)
    }

    fn item(&self, control: u32, index: u32) -> Result<QueryMenu, Errno> {
        let mut asked = QueryMenu { id: control, index, ..QueryMenu::default() };
        // SAFETY: as above, of VIDIOC_QUERYMENU.
        #[allow(unsafe_code)]
        unsafe { ioctl::ioctl(self, Updater::<QUERY_MENU, _>::new(&mut asked)) }?;
        Ok(asked)
    }
}

/// `struct v4l2_queryctrl` of the kernel's `videodev2.h`: what v4l2src asks with, which tells of all that it sets.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct QueryControl {
    id: u32,
    kind: u32,
    name: [u8; 32],
    minimum: i32,
    maximum: i32,
    step: i32,
    default_value: i32,
    flags: u32,
    _reserved: [u32; 2],
}

/// `struct v4l2_querymenu`; in a menu of numbers the name's first eight bytes are one.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct QueryMenu {
    id: u32,
    index: u32,
    name: [u8; 32],
    _reserved: u32,
}

const QUERY_CONTROL: Opcode = opcode::read_write::<QueryControl>(b'V', 36);
const QUERY_MENU: Opcode = opcode::read_write::<QueryMenu>(b'V', 37);
/// `V4L2_CTRL_FLAG_NEXT_CTRL`.
const NEXT: u32 = 0x8000_0000;
/// `V4L2_CTRL_FLAG_DISABLED`.
const DISABLED: u32 = 0x0001;
/// `V4L2_CTRL_FLAG_READ_ONLY`.
const READ_ONLY: u32 = 0x0004;
/// `V4L2_CTRL_FLAG_INACTIVE`.
const INACTIVE: u32 = 0x0010;
/// How often a camera that fails is asked again.
const TRIES: usize = 3;
/// A menu with more is not told of: the kernel's own have no more.
const MOST_ITEMS: usize = 64;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A driver that tells of these, or breaks off.
    struct Fake(Vec<QueryControl>, Option<Errno>);

    impl Driver for Fake {
        fn control(&self, after: u32) -> Result<QueryControl, Errno> {
            self.0.iter().find(|told| told.id > after).copied().ok_or(self.1.unwrap_or(Errno::INVAL))
        }

        fn item(&self, control: u32, index: u32) -> Result<QueryMenu, Errno> {
            let name = match (control, index) {
                (3, 1) => padded(b"Manual Mode"),
                (3, 3) => padded(b"Aperture Priority Mode"),
                (9, _) => padded(&(100 + i64::from(index)).to_ne_bytes()),
                _ => return Err(Errno::INVAL),
            };
            Ok(QueryMenu { id: control, index, name, _reserved: 0 })
        }
    }

    fn padded(text: &[u8]) -> [u8; 32] {
        std::array::from_fn(|at| text.get(at).copied().unwrap_or(0))
    }

    fn told(id: u32, kind: u32, name: &str, range: [i32; 4], flags: u32) -> QueryControl {
        let [minimum, maximum, step, default_value] = range;
        let name = padded(name.as_bytes());
        QueryControl { id, kind, name, minimum, maximum, step, default_value, flags, _reserved: [0; 2] }
    }

    /// A webcam's, and some that nobody can set.
    pub fn webcam() -> Vec<Control> {
        let all = vec![
            told(1, 1, "Brightness", [-64, 64, 1, 0], 0),
            told(2, 2, "White Balance, Automatic", [0, 1, 1, 1], 0),
            told(3, 3, "Auto Exposure", [0, 3, 1, 3], 0),
            told(4, 1, "Exposure Time, Absolute", [3, 2047, 1, 250], INACTIVE),
            told(5, 4, "Reset", [0, 0, 0, 0], 0),
            told(6, 6, "User Controls", [0, 0, 0, 0], READ_ONLY),
            told(7, 7, "Text", [0, 10, 1, 0], 0),
            told(8, 8, "Leds", [0, 5, 0, 4], 0),
            told(9, 9, "Link Frequency", [0, 1, 1, 0], READ_ONLY),
            told(10, 1, "Hue", [0, 9, 3, 0], DISABLED),
            told(11, 1, "Zoom (absolute)", [100, 500, 100, 100], 0),
        ];
        collect(&Fake(all, None)).unwrap()
    }

    #[test]
    fn names_are_those_of_v4l2src() {
        for (name, expected) in [
            ("Brightness", "brightness"),
            ("Exposure Time, Absolute", "exposure_time_absolute"),
            ("Exposure (Absolute)", "exposure_absolute"),
            ("White Balance Temperature, Auto", "white_balance_temperature_auto"),
            ("  Integer 32 Bits -", "integer_32_bits"),
            ("exposure__absolute_", "exposure_absolute"),
            ("Größe", "gr_e"),
            ("-", ""),
        ] {
            assert_eq!(normalised(name), expected);
        }
    }

    #[test]
    fn the_kernels_layout() {
        // As videodev2.h has them on x86-64 and ARM.
        assert_eq!((QUERY_CONTROL, QUERY_MENU), (0xC044_5624, 0xC02C_5625));
    }

    #[test]
    fn what_v4l2src_sets_is_listed() {
        let plain = |control: &Control| control.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = webcam().iter().map(plain).collect();
        assert_eq!(
            lines,
            [
                "brightness -64..64, default 0",
                "white_balance_automatic 0..1, default 1",
                "auto_exposure 1 (Manual Mode), 3 (Aperture Priority Mode), default 3",
                "exposure_time_absolute 3..2047, default 250; ruled by another control just now",
                "reset any number",
                "leds bits of 0x5, default 4",
                "link_frequency 0 (100), 1 (101), default 0; cannot be set",
                "zoom_absolute 100..500 in steps of 100, default 100",
            ]
        );
    }

    #[test]
    fn values_that_are_taken() {
        let all = webcam();
        let takes = |name: &str, value| all.iter().find(|one| one.name == name).is_some_and(|one| one.takes(value));
        for (name, good, bad) in [
            ("brightness", -64, -65),
            ("white_balance_automatic", 1, 2),
            ("auto_exposure", 1, 2),
            ("leds", 5, 2),
            ("zoom_absolute", 500, 501),
        ] {
            assert!(takes(name, good) && !takes(name, bad), "{name}");
        }
        assert!(takes("reset", 7) && !takes("link_frequency", 0));
    }

    #[test]
    fn a_camera_that_does_not_answer_is_no_camera_without_controls() {
        let one = || vec![told(1, 1, "Brightness", [-64, 64, 1, 0], 0)];
        assert_eq!(collect(&Fake(one(), Some(Errno::NODEV))), Err(Errno::NODEV));
        assert_eq!(collect(&Fake(Vec::new(), Some(Errno::NOTTY))), Ok(Vec::new()));
        assert_eq!(collect(&Fake(one(), None)).map(|found| found.len()), Ok(1));
        // The real call: what is not there, and what has none.
        assert_eq!(list(Path::new("/dev/nobody")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(list(Path::new("/dev/null")).unwrap(), []);
    }

    #[test]
    fn a_driver_that_repeats_itself_comes_to_an_end() {
        struct Stuck;
        impl Driver for Stuck {
            fn control(&self, _: u32) -> Result<QueryControl, Errno> {
                Ok(told(1, 1, "Brightness", [0, 1, 1, 0], 0))
            }
            fn item(&self, _: u32, _: u32) -> Result<QueryMenu, Errno> {
                Err(Errno::INVAL)
            }
        }
        assert_eq!(collect(&Stuck).map(|found| found.len()), Ok(1));
    }
    #[test]
    fn one_that_fails_now_and_then_is_asked_again() {
        let left = std::cell::Cell::new(TRIES);
        let ask = || match left.get() {
            0 => Ok(told(1, 1, "Brightness", [0, 1, 1, 0], 0)),
            more => {
                left.set(more - 1);
                Err(Errno::IO)
            }
        };
        assert!(patiently(ask).is_ok());
        assert_eq!(patiently(|| Err(Errno::TIMEDOUT)).map(|told| told.id), Err(Errno::TIMEDOUT));
        assert_eq!(patiently(|| Err(Errno::INVAL)).map(|told| told.id), Err(Errno::INVAL));
    }
}
