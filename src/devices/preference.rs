//! What `auto` takes while somebody wants it, and when it goes over to a better device.
//!
//! In: a class, the kernel's lists, how each device that was tried has done, the time. Out: the device to take, or to go over to.
//! Never: opens one; goes over to one that has just come ([`STEADY`]); has one that fails tried again and again without a rest.
//!
//! The list is read when what the kernel sees has changed, or when something in it is due: a device has been there for long
//! enough, or has rested. Better is one of a lower rank, and of equals one that was lost: no other may disturb a call. Each failure makes the next rest
//! twice as long, while it works half of them are forgotten; one that was plugged in anew is tried at once.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Class, Device, Error, Listed, eligible, nothing, seen_at};

/// A better device has been there for so long before it is taken: udev gives access a little after the kernel shows it, and a
/// plug on its way into a socket touches it more than once.
pub const STEADY: Duration = Duration::from_secs(1);
/// Rests of a device that fails: the first, longer than any pause between two tries, doubled up to the last.
const REST: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(300));
/// The last one for a device whose every try costs a moment of one that works.
const REST_FROM_DISTURBING: Duration = Duration::from_secs(3600);
/// Where not all devices are known just now, it is looked again after this.
const UNKNOWN: Duration = Duration::from_secs(10);
/// While nothing else works a device is tried so often before it rests: who had it before may still be closing it.
const GRACE: u32 = 1;
/// What has played for so long works.
const WORKS: Duration = Duration::from_secs(60);
/// What was away for so long was taken out by somebody, who wants it tried; a device that resets itself is mostly back before.
const AWAY: Duration = Duration::from_secs(3);
/// What was away for so long comes as if it had never been there.
const FORGOTTEN: Duration = Duration::from_secs(600);

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
    /// Whether it played when it was lost, and has not played since.
    lost: bool,
    failures: u32,
    rests_until: Option<Instant>,
}

impl Known {
    fn new(device: &Device, now: Instant) -> Self {
        Self { device: device.clone(), there: true, since: now, lost: false, failures: 0, rests_until: None }
    }

    /// Whether this device is it. Of one that is away the name alone tells: another may have got its node.
    fn is(&self, device: &Device) -> bool {
        self.device.name == device.name || (self.there && self.device.is_same(device))
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
    pub fn ask(&mut self, now: Instant) -> impl FnOnce() -> Listed + Send + use<> {
        let seen = seen_at(&self.root, self.class);
        // Also where the answer to an earlier question was not waited for.
        self.changed |= seen != self.seen;
        self.seen = seen;
        self.again = Some(now + STEADY);
        let (root, class) = (self.root.clone(), self.class);
        move || eligible(&root, class)
    }

    /// The device to take while none plays: the best that does not rest, or, if all do, the one whose rest ends first.
    ///
    /// # Errors
    /// There is none.
    pub fn choose(&mut self, listed: &Listed, now: Instant) -> Result<Device, Error> {
        self.note(&listed.devices, now);
        let rest =
            |device: &&Device| self.known(device).and_then(|known| known.rests_until).filter(|until| now < *until);
        // The first of equals, as of those that do not rest at all.
        let Some(chosen) = listed.devices.iter().min_by_key(rest) else {
            return Err(nothing(self.class, listed.busy));
        };
        self.look_again(listed, chosen, now);
        Ok(chosen.clone())
    }

    /// The device to go over to from one that plays, if there is a better one, steadily, and it does not rest.
    pub fn better(&mut self, listed: &Listed, playing: &Device, now: Instant) -> Option<Device> {
        self.note(&listed.devices, now);
        if let Some(known) = self.known.iter_mut().find(|known| known.is(playing)) {
            known.lost = false;
        }
        let better = self.above(listed, playing).find(|known| known.ready() <= now).map(|known| known.device.clone());
        self.look_again(listed, playing, now);
        if better.is_some() {
            // Whatever becomes of it, others may be better still.
            self.again = Some(now + STEADY);
        }
        better
    }

    /// A device could not be opened, or did not work for long; `instead`: it took, or was to take, the place of one that works.
    pub fn failed(&mut self, device: &Device, instead: bool, now: Instant) {
        let at = self.known.iter().position(|known| known.is(device)).unwrap_or_else(|| {
            self.known.push(Known::new(device, now));
            self.known.len() - 1
        });
        let known = &mut self.known[at];
        known.failures = known.failures.saturating_add(1);
        let counted = if instead { known.failures } else { known.failures.saturating_sub(GRACE) };
        let longest = if instead { REST_FROM_DISTURBING } else { REST.1 };
        // Far more doublings than the longest rest has.
        let rest = counted.checked_sub(1).map(|doubled| REST.0.saturating_mul(1 << doubled.min(16)).min(longest));
        known.rests_until = rest.map(|rest| now + rest);
    }

    /// A device that has played for so long is lost; `instead` as above.
    pub fn lost(&mut self, device: &Device, played: Duration, instead: bool, now: Instant) {
        if played < WORKS {
            self.failed(device, instead, now);
        }
        if let Some(known) = self.known.iter_mut().find(|known| known.is(device)) {
            known.lost = true;
            if played >= WORKS {
                (known.failures, known.rests_until) = (known.failures / 2, None);
            }
        }
    }

    fn note(&mut self, listed: &[Device], now: Instant) {
        self.known.retain(|known| known.there || now < known.since + FORGOTTEN);
        for known in &mut self.known {
            let now_listed = listed.iter().find(|device| known.is(device));
            let there = now_listed.is_some();
            if let Some(device) = now_listed {
                // Its name or its node may be another.
                known.device.clone_from(device);
            }
            if there != known.there {
                if there && now >= known.since + AWAY {
                    known.rests_until = None;
                }
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
        self.known.iter().find(|known| known.is(device))
    }

    /// When the list is asked for again though nothing changes, while this one is taken.
    fn look_again(&mut self, listed: &Listed, taken: &Device, now: Instant) {
        let ready = self.above(listed, taken).map(Known::ready).min();
        let news = std::mem::take(&mut self.changed).then_some(now + STEADY);
        let unknown = listed.busy.map(|_| now + UNKNOWN);
        self.again = [ready, news, unknown].into_iter().flatten().min();
    }

    /// Those that are better than this one; none, if no list has it: it is a sound server's, or being pulled out.
    fn above(&self, listed: &Listed, playing: &Device) -> impl Iterator<Item = &Known> {
        let place = listed.devices.iter().position(|device| device.is_same(playing));
        let others = listed.devices.iter().enumerate().filter(move |(at, _)| place.is_some_and(|place| place != *at));
        let rank = place.map_or(0, |place| listed.devices[place].rank);
        others
            .filter_map(|(_, device)| self.known(device))
            .filter(move |known| known.device.rank < rank || (known.device.rank == rank && known.lost))
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
        let rank = u8::from(!name.starts_with("usb"));
        let name = name.to_owned();
        Device { name, description: String::new(), driver: Driver::Alsa, rank, node: None, offers: None }
    }

    fn all(devices: &[Device]) -> Listed {
        Listed { devices: devices.to_vec(), busy: None }
    }

    impl Preference {
        /// Whether a device of that name has failed.
        pub fn has_failed(&self, name: &str) -> bool {
            self.known.iter().any(|known| known.device.name == name && known.failures > 0)
        }
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
            self.preference.choose(&all(listed), self.now).map_or_else(|error| error.to_string(), |device| device.name)
        }

        fn better(&mut self, listed: &[Device], playing: &Device) -> Option<String> {
            self.preference.better(&all(listed), playing, self.now).map(|device| device.name)
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
        assert_eq!(world.again(), None);
    }

    #[test]
    fn an_equal_device_disturbs_nobody() {
        let (first, second) = (device("usb-1"), device("usb-2"));
        let mut world = World::new();
        assert_eq!(world.choose(std::slice::from_ref(&second)), "usb-2");
        assert_eq!(world.after(5.0).better(&[first.clone(), second.clone()], &second), None);
        assert_eq!(world.again(), None);
        assert_eq!(
            world.choose(&[first.clone(), second.clone()]),
            "usb-1",
            "where none plays the kernel's order decides"
        );
        // It is pulled out, the other one plays, and it is put back, wherever the list has it then.
        let now = world.after(60.0).now;
        world.preference.lost(&first, Duration::from_secs(60), false, now);
        assert_eq!(world.choose(std::slice::from_ref(&second)), "usb-2");
        world.after(20.0);
        for both in [[second.clone(), first.clone()], [first.clone(), second.clone()]] {
            assert_eq!(world.better(&both, &second), None, "it has just come");
            assert_eq!(world.after(1.0).better(&both, &second).as_deref(), Some("usb-1"));
            // Once it plays it is as any other.
            assert_eq!(world.better(&both, &first), None);
            assert_eq!(world.after(5.0).better(&both, &second), None);
            let now = world.now;
            world.preference.lost(&first, Duration::from_secs(60), false, now);
            assert_eq!(world.choose(std::slice::from_ref(&second)), "usb-2");
        }
    }

    #[test]
    fn where_not_all_are_known_it_is_looked_again() {
        let (board, busy) = (device("board"), Some(crate::devices::libcamera::Busy));
        let mut world = World::new();
        let error = world.preference.choose(&Listed { devices: Vec::new(), busy }, world.now).unwrap_err();
        assert!(matches!(error, Error::Busy(_)), "{error}");
        let some = Listed { devices: vec![board.clone()], busy };
        assert_eq!(world.preference.choose(&some, world.now).unwrap(), board);
        assert_eq!(world.again(), Some(10.0));
        assert_eq!(world.preference.better(&some, &board, world.now), None);
        assert_eq!(world.again(), Some(10.0));
    }

    #[test]
    fn a_better_device_that_cannot_be_opened_rests_for_longer_each_time() {
        let (usb, board) = (device("usb"), device("board"));
        let both = [usb.clone(), board.clone()];
        let mut world = World::new();
        assert_eq!(world.choose(&both[1..]), "board");
        world.better(&both, &board);
        let mut tried = Vec::new();
        while world.now - world.began < Duration::from_secs(20_000) {
            let again = world.again().expect("it is tried again");
            if world.after(again).better(&both, &board).is_some() {
                tried.push((world.now - world.began).as_secs());
                world.preference.failed(&usb, true, world.now);
            }
        }
        // As the list is looked at a second later the first time.
        assert_eq!(tried[..11], [1, 5, 13, 29, 61, 125, 253, 509, 1021, 2045, 4093]);
        assert_eq!(tried.windows(2).map(|two| two[1] - two[0]).max(), Some(3600), "every hour at last: {tried:?}");
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
        // It works for a while: it does not rest, and half of its failures are forgotten.
        let now = world.after(60.0).now;
        world.preference.lost(&usb, Duration::from_secs(60), true, now);
        assert_eq!(world.choose(&both), "usb");
        world.preference.lost(&usb, Duration::from_secs(1), true, now);
        assert_eq!(world.choose(&both), "board");
        assert_eq!(world.again(), Some(8.0));
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
        // If the other one fails as well, or goes: the one whose rest ends first.
        for _ in 0..3 {
            let now = world.now;
            world.preference.failed(&board, false, now);
        }
        assert_eq!((world.choose(&both), world.choose(&both[..1])), ("usb".to_owned(), "usb".to_owned()));
        assert_eq!(world.after(1.0).choose(&both), "usb");
        let now = world.now;
        world.preference.failed(&usb, false, now);
        assert_eq!(world.choose(&both), "board", "they take turns");
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
        let listed = preference.ask(now)();
        let playing = preference.choose(&listed, now).unwrap();
        assert_eq!(playing.name, "plughw:CARD=Headphones,DEV=0");
        // The kernel may name a device a moment before it tells what it is.
        assert!(!preference.is_due(now) && preference.is_due(now + STEADY));
        let listed = preference.ask(now + STEADY)();
        assert_eq!(preference.better(&listed, &playing, now + STEADY), None);
        assert!(!preference.is_due(now + Duration::from_secs(3600)));
        plug(root.path(), &[("Headphones", false), ("Device", true)]);
        assert!(preference.is_due(now));
        let listed = preference.ask(now)();
        assert_eq!(preference.better(&listed, &playing, now), None);
        assert!(!preference.is_due(now) && preference.is_due(now + STEADY));
        let listed = preference.ask(now + STEADY)();
        let better = preference.better(&listed, &playing, now + STEADY).unwrap();
        assert_eq!(better.name, "plughw:CARD=Device,DEV=0");
        // No answer: it is asked again.
        let _unanswered = preference.ask(now);
        assert!(!preference.is_due(now) && preference.is_due(now + STEADY));
    }
}
