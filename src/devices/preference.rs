//! What `auto` takes while the service runs, and when it goes over to a better device.
//!
//! In: a class, the kernel's lists, how each device that was tried has done, the time. Out: the device to take, or to go over to.
//! Never: opens one; goes over to one that has just come ([`STEADY`]); has one that fails tried again and again without a rest.
//!
//! The list is read when what the kernel sees has changed, or when something in it is due: a device has been there for long
//! enough, or has rested. Each failure makes the next rest twice as long; one that works for a while, or was plugged in anew, begins
//! from the first.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Class, Device, Error, eligible, seen_at};

/// A better device has been there for so long before it is taken: udev gives access a little after the kernel shows it, and a
/// plug on its way into a socket touches it more than once.
pub const STEADY: Duration = Duration::from_secs(1);
/// Rests of a device that fails: the first, longer than any pause between two tries, doubled up to the last.
const REST: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(300));
/// While nothing else works a device is tried so often before it rests: who had it before may still be closing it.
const GRACE: u32 = 1;
/// What has played for so long works.
const WORKS: Duration = Duration::from_secs(60);
/// What was away for so long was taken out by somebody; a device that resets itself is back before.
const AWAY: Duration = Duration::from_secs(3);

/// The preference of one who plays on a device of a class.
#[derive(Debug)]
pub struct Preference {
    class: Class,
    root: PathBuf,
    /// What the kernel saw when the list was last asked for.
    seen: String,
    /// Whether that was news: the kernel names a device a moment before it tells what it is.
    changed: bool,
    /// When to ask for it again though nothing changes.
    again: Option<Instant>,
    known: Vec<Known>,
}

/// A device that is there, or was a moment ago.
#[derive(Debug)]
struct Known {
    device: Device,
    there: bool,
    /// Since when it is there, or away.
    since: Instant,
    failures: u32,
    rests_until: Option<Instant>,
}

impl Known {
    fn new(device: &Device, now: Instant) -> Self {
        Self { device: device.clone(), there: true, since: now, failures: 0, rests_until: None }
    }

    fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }

    /// From when on it may take the place of a device that plays.
    fn ready(&self) -> Instant {
        (self.since + STEADY).max(self.rests_until.unwrap_or(self.since))
    }
}

impl Preference {
    /// Of this computer's devices.
    pub fn of(class: Class) -> Self {
        Self::below(Path::new("/"), class)
    }

    /// Of the devices below `root`.
    pub fn below(root: &Path, class: Class) -> Self {
        Self { class, root: root.to_owned(), seen: String::new(), changed: false, again: None, known: Vec::new() }
    }

    /// Whether the list is to be asked for.
    pub fn is_due(&self, now: Instant) -> bool {
        self.again.is_some_and(|again| again <= now) || seen_at(&self.root, self.class) != self.seen
    }

    /// What lists those that `auto` may mean, for [`choose`](Self::choose) or [`better`](Self::better). It may block, as
    /// [`list`](super::list) does; without an answer it is due again after a moment.
    pub fn ask(&mut self, now: Instant) -> impl FnOnce() -> Result<Vec<Device>, Error> + Send + use<> {
        let seen = seen_at(&self.root, self.class);
        self.changed = seen != self.seen;
        self.seen = seen;
        self.again = Some(now + STEADY);
        let (root, class) = (self.root.clone(), self.class);
        move || eligible(&root, class)
    }

    /// The device to take while none plays: the best that does not rest, or the best, if all do.
    ///
    /// # Errors
    /// There is none.
    pub fn choose(&mut self, listed: &[Device], now: Instant) -> Result<Device, Error> {
        self.note(listed, now);
        let at =
            listed.iter().position(|device| !self.known(device).is_some_and(|known| known.rests(now))).unwrap_or(0);
        self.again = self.first_ready(&listed[..at.min(listed.len())]);
        self.look_once_more(now);
        listed.get(at).cloned().ok_or(Error::None { class: self.class })
    }

    /// The device to go over to from one that plays, if there is a better one, steadily, and it does not rest.
    pub fn better(&mut self, listed: &[Device], playing: &Device, now: Instant) -> Option<Device> {
        self.note(listed, now);
        let at = listed.iter().position(|device| device.is_same(playing)).unwrap_or(0);
        let before = &listed[..at];
        let better = before.iter().find(|device| self.known(device).is_some_and(|known| known.ready() <= now));
        // Whatever becomes of it, others may be better still.
        self.again = if better.is_some() { Some(now + STEADY) } else { self.first_ready(before) };
        self.look_once_more(now);
        better.cloned()
    }

    /// A device could not be opened, or did not work for long; `instead`: it took, or was to take, the place of one that works.
    pub fn failed(&mut self, device: &Device, instead: bool, now: Instant) {
        let at = self.known.iter().position(|known| known.device.is_same(device)).unwrap_or_else(|| {
            self.known.push(Known::new(device, now));
            self.known.len() - 1
        });
        let known = &mut self.known[at];
        known.failures = known.failures.saturating_add(1);
        let counted = if instead { known.failures } else { known.failures.saturating_sub(GRACE) };
        // Far more doublings than the longest rest has.
        let rest = counted.checked_sub(1).map(|doubled| REST.0.saturating_mul(1 << doubled.min(16)).min(REST.1));
        known.rests_until = rest.map(|rest| now + rest);
    }

    /// A device that has played for so long is lost; `instead` as above.
    pub fn lost(&mut self, device: &Device, played: Duration, instead: bool, now: Instant) {
        if played < WORKS {
            return self.failed(device, instead, now);
        }
        if let Some(known) = self.known.iter_mut().find(|known| known.device.is_same(device)) {
            (known.failures, known.rests_until) = (0, None);
        }
    }

    fn note(&mut self, listed: &[Device], now: Instant) {
        self.known.retain(|known| known.there || now < known.since + AWAY);
        for known in &mut self.known {
            let there = listed.iter().any(|device| device.is_same(&known.device));
            if there != known.there {
                (known.there, known.since) = (there, now);
            }
        }
        for device in listed {
            if self.known(device).is_none() {
                self.known.push(Known::new(device, now));
            }
        }
    }

    fn known(&self, device: &Device) -> Option<&Known> {
        self.known.iter().find(|known| known.device.is_same(device))
    }

    fn look_once_more(&mut self, now: Instant) {
        if std::mem::take(&mut self.changed) {
            let soon = now + STEADY;
            self.again = Some(self.again.map_or(soon, |again| again.min(soon)));
        }
    }

    fn first_ready(&self, devices: &[Device]) -> Option<Instant> {
        devices.iter().filter_map(|device| self.known(device)).map(Known::ready).min()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;
    use crate::devices::Driver;

    /// Writes the kernel's lists for these sound cards, by number, below `root`: an id, and whether it is on USB.
    pub fn plug(root: &Path, cards: &[(&str, bool)]) {
        let proc = root.join("proc/asound");
        fs::create_dir_all(&proc).unwrap();
        let mut pcms = String::new();
        for (number, (id, usb)) in cards.iter().enumerate() {
            let folder = proc.join(format!("card{number}"));
            fs::create_dir_all(&folder).unwrap();
            fs::create_dir_all(proc.join(id)).unwrap();
            fs::write(folder.join("id"), format!("{id}\n")).unwrap();
            if *usb {
                fs::write(folder.join("usbid"), "0d8c:0014\n").unwrap();
            }
            pcms += &format!("{number:02}-00: {id} : {id} : playback 1 : capture 1\n");
        }
        fs::write(proc.join("pcm"), pcms).unwrap();
        for folder in fs::read_dir(&proc).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
            let name = folder.file_name().unwrap().to_str().unwrap();
            let number = name.strip_prefix("card").and_then(|number| number.parse::<usize>().ok());
            if number.map_or(!cards.iter().any(|(id, _)| *id == name), |number| number >= cards.len()) {
                fs::remove_dir_all(folder).unwrap();
            }
        }
    }

    fn device(name: &str) -> Device {
        let name = name.to_owned();
        Device { name, description: String::new(), driver: Driver::Alsa, node: None, offers: None }
    }

    struct World {
        preference: Preference,
        began: Instant,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            let now = Instant::now();
            Self { preference: Preference::below(Path::new("/nowhere"), Class::Speaker), began: now, now }
        }

        /// Seconds pass.
        fn after(&mut self, seconds: f64) -> &mut Self {
            self.now += Duration::from_secs_f64(seconds);
            self
        }

        fn choose(&mut self, listed: &[Device]) -> String {
            self.preference.choose(listed, self.now).map_or_else(|error| error.to_string(), |device| device.name)
        }

        fn better(&mut self, listed: &[Device], playing: &Device) -> Option<String> {
            self.preference.better(listed, playing, self.now).map(|device| device.name)
        }

        /// When the list is to be read though nothing changes, in seconds from now.
        fn again(&self) -> Option<f64> {
            self.preference.again.map(|again| (again - self.now).as_secs_f64())
        }
    }

    #[test]
    fn a_better_device_is_taken_once_it_is_there_for_a_moment() {
        let (usb, board) = (device("usb"), device("board"));
        let mut world = World::new();
        let (both, alone) = ([usb.clone(), board.clone()], [board.clone()]);
        assert_eq!(world.choose(&alone), "board");
        assert_eq!(world.again(), None, "nothing is read while nothing changes");
        assert_eq!(world.better(&alone, &board), None);
        assert_eq!(world.after(60.0).better(&both, &board), None, "it has just come");
        assert_eq!(world.again(), Some(1.0));
        assert_eq!(world.after(0.9).better(&both, &board), None);
        // It was out for a moment.
        assert_eq!(world.after(0.05).better(&alone, &board), None);
        assert_eq!(world.after(0.1).better(&both, &board), None);
        assert_eq!(world.after(0.9).better(&both, &board), None, "it is there steadily from the second time on");
        assert_eq!(world.after(0.1).better(&both, &board).as_deref(), Some("usb"));
        // Where the best one plays there is nothing to go over to.
        assert_eq!(world.after(5.0).better(&both, &usb), None);
        assert_eq!(world.again(), None);
        // Nor from a device that no list has: a sound server's, or one that is being pulled out.
        assert_eq!(world.after(5.0).better(&both, &device("other")), None);
    }

    #[test]
    fn a_better_device_that_cannot_be_opened_rests_for_longer_each_time() {
        let (usb, board) = (device("usb"), device("board"));
        let both = [usb.clone(), board.clone()];
        let mut world = World::new();
        assert_eq!(world.choose(&both[1..]), "board");
        world.better(&both, &board);
        let mut tried = Vec::new();
        while world.now - world.began < Duration::from_secs(3600) {
            let again = world.again().expect("it is tried again");
            if world.after(again).better(&both, &board).is_some() {
                tried.push((world.now - world.began).as_secs());
                world.preference.failed(&usb, true, world.now);
            }
        }
        // As the list is looked at a second later the first time.
        assert_eq!(tried[..9], [1, 5, 13, 29, 61, 125, 253, 509, 809]);
        assert!(tried.len() < 22, "every five minutes at most: {tried:?}");
    }

    #[test]
    fn one_that_stops_soon_after_it_took_the_place_of_another_gives_it_back() {
        let (usb, board) = (device("usb"), device("board"));
        let both = [usb.clone(), board.clone()];
        let mut world = World::new();
        world.choose(&both);
        for rest in [4.0, 8.0, 16.0] {
            let (now, played) = (world.now, Duration::from_secs(3));
            world.preference.lost(&usb, played, true, now);
            assert_eq!(world.choose(&both), "board");
            assert_eq!(world.again(), Some(rest));
            assert_eq!(world.after(rest - 0.1).better(&both, &board), None);
            assert_eq!(world.after(0.1).better(&both, &board).as_deref(), Some("usb"));
        }
        // It works for a while: its failures are forgotten.
        let now = world.after(60.0).now;
        world.preference.lost(&usb, Duration::from_secs(60), true, now);
        assert_eq!(world.choose(&both), "usb");
    }

    #[test]
    fn where_nothing_plays_the_best_is_tried_some_times_before_another_is_taken() {
        let (usb, board) = (device("usb"), device("board"));
        let both = [usb.clone(), board.clone()];
        let mut world = World::new();
        assert_eq!(world.choose(&[]), "no speaker is connected");
        for _ in 0..2 {
            assert_eq!(world.choose(&both), "usb");
            let now = world.after(0.5).now;
            world.preference.failed(&usb, false, now);
        }
        // Longer than the loops wait between two tries.
        assert_eq!(world.after(2.5).choose(&both), "board");
        // If the other one fails as well, or goes: the best of those that are there.
        for _ in 0..3 {
            let now = world.now;
            world.preference.failed(&board, false, now);
        }
        assert_eq!((world.choose(&both), world.choose(&both[..1])), ("usb".to_owned(), "usb".to_owned()));
        assert_eq!(world.after(1.0).choose(&both), "usb");
    }

    #[test]
    fn one_that_somebody_took_out_and_put_back_begins_anew() {
        let (usb, board) = (device("usb"), device("board"));
        let both = [usb.clone(), board.clone()];
        for (away, waits) in [(1.0, true), (4.0, false)] {
            let mut world = World::new();
            world.choose(&both);
            for _ in 0..6 {
                let now = world.now;
                world.preference.failed(&usb, true, now);
            }
            world.choose(&both[1..]);
            world.after(away).better(&both, &board);
            assert_eq!(world.after(1.0).better(&both, &board).is_none(), waits, "away for {away} s");
        }
    }

    #[test]
    fn the_list_is_asked_for_when_the_kernel_sees_something_else() {
        let root = tempfile::tempdir().unwrap();
        plug(root.path(), &[("Headphones", false)]);
        let mut preference = Preference::below(root.path(), Class::Microphone);
        let now = Instant::now();
        assert!(preference.is_due(now));
        let listed = preference.ask(now)().unwrap();
        let playing = preference.choose(&listed, now).unwrap();
        assert_eq!(playing.name, "plughw:CARD=Headphones,DEV=0");
        // The kernel may name a device a moment before it tells what it is.
        assert!(!preference.is_due(now) && preference.is_due(now + STEADY));
        let listed = preference.ask(now + STEADY)().unwrap();
        assert_eq!(preference.better(&listed, &playing, now + STEADY), None);
        assert!(!preference.is_due(now + Duration::from_secs(3600)));
        plug(root.path(), &[("Headphones", false), ("Device", true)]);
        assert!(preference.is_due(now));
        let listed = preference.ask(now)().unwrap();
        assert_eq!(preference.better(&listed, &playing, now), None);
        assert!(!preference.is_due(now) && preference.is_due(now + STEADY));
        let listed = preference.ask(now + STEADY)().unwrap();
        let better = preference.better(&listed, &playing, now + STEADY).unwrap();
        assert_eq!(better.name, "plughw:CARD=Device,DEV=0");
        // No answer, as where the board's cameras are busy: it is asked again.
        let _unanswered = preference.ask(now);
        assert!(!preference.is_due(now) && preference.is_due(now + STEADY));
    }
}
