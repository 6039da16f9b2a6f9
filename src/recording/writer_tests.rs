use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::*;
use crate::recording::ebml::id;
use crate::recording::mend::mend_all;
use crate::recording::packet::Data;

/// A writer with a clock of its own.
struct Bench {
    packets: Sender<Packet>,
    now: Arc<Mutex<Duration>>,
    end: Arc<Mutex<Duration>>,
    notes: std::sync::mpsc::Receiver<Note>,
    asked: Arc<Mutex<Vec<Lane>>>,
    talkers: Talkers,
    thread: JoinHandle<()>,
    folder: tempfile::TempDir,
}

const START: Duration = Duration::from_secs(100);

fn shelf(folder: &Path, max_size: u64) -> Shelf {
    Shelf { folder: folder.to_owned(), max_size, max_age: None, min_free: 0 }
}

fn bench(max_size: u64) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let (packets, received) = channel();
    let (sender, notes) = channel();
    let now = Arc::new(Mutex::new(START));
    let asked: Arc<Mutex<Vec<Lane>>> = Arc::default();
    let end = Arc::new(Mutex::new(Duration::MAX));
    let (clock, asking, ending) = (now.clone(), asked.clone(), end.clone());
    let talkers = Talkers::new(Some("peer"));
    let job = Job {
        shelf: shelf(folder.path(), max_size),
        kind: Kind::WebM,
        peer: "peer".into(),
        talkers: talkers.clone(),
        now: Box::new(move || *clock.lock().unwrap()),
        end: Box::new(move || *ending.lock().unwrap()),
        ask_for_key_frame: Box::new(move |lane| asking.lock().unwrap().push(lane)),
        note: Box::new(move |note| sender.send(note).unwrap()),
    };
    let thread = std::thread::spawn(move || write(job, &received));
    Bench { packets, now, end, notes, asked, talkers, thread, folder }
}

impl Bench {
    fn put(&self, lane: Lane, at: u64, key: bool, size: usize) {
        let mut bytes = vec![if key { 0 } else { 1 }, 0, 0, 0x9D, 0x01, 0x2A, 0x40, 0x01, 0xF0, 0];
        bytes.resize(size.max(10), 7);
        let time = START + Duration::from_millis(at);
        let packet = Packet { lane, time, key, is_h264: false, size: None, data: Data::Bytes(bytes) };
        self.packets.send(packet).unwrap();
    }

    fn is_at(&self, at: u64) {
        *self.now.lock().unwrap() = START + Duration::from_millis(at);
        // Two looks of the writer's at the time.
        std::thread::sleep(TICK * 3);
    }

    /// Ends it; names of the files, the last one complete.
    fn finish(self) -> (tempfile::TempDir, Vec<PathBuf>, Vec<Note>) {
        drop(self.packets);
        self.thread.join().unwrap();
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        (self.folder, files, self.notes.try_iter().collect())
    }
}

/// Times of all blocks by track, in milliseconds, with their key flag; and the length of each cluster in time.
fn blocks(path: &Path) -> Vec<(u8, i64, bool)> {
    let bytes = std::fs::read(path).unwrap();
    let mut found = Vec::new();
    for (element, content) in layout::children(&bytes[HEAD..]) {
        if element != id::CLUSTER {
            continue;
        }
        let mut time = 0;
        for (id, content) in layout::children(content) {
            match (id, content) {
                (id::TIMESTAMP, content) => time = i64::from_be_bytes(content.try_into().unwrap()),
                (id::SIMPLE_BLOCK, [track, high, low, flags, ..]) => {
                    let offset = i64::from(i16::from_be_bytes([*high, *low]));
                    found.push((track & 0x7F, time + offset, flags & 0x80 != 0));
                }
                _ => {}
            }
        }
    }
    found
}

fn described(path: &Path) -> (Facts, Vec<u8>) {
    let bytes = std::fs::read(path).unwrap();
    let (_, facts, tracks) = layout::read(&bytes[..HEAD]).unwrap();
    let numbers = layout::children(&tracks)
        .flat_map(|(_, entries)| layout::children(entries).collect::<Vec<_>>())
        .filter(|(element, _)| *element == id::TRACK)
        .filter_map(|(_, entry)| layout::children(entry).find(|(id, _)| *id == 0xD7).map(|(_, value)| value[0]))
        .collect();
    (facts, numbers)
}

#[test]
fn a_talker_comes_and_goes_within_one_file() {
    let bench = bench(1 << 30);
    for at in (0..3000).step_by(40) {
        // The device's picture begins within a group of pictures: what cannot be decoded is left out.
        bench.put(Lane::Picture, at, at == 200, 50);
        bench.put(Lane::Both, at + 3, true, 20);
        if (1000..2000).contains(&at) {
            bench.put(Lane::TalkerSound, at, true, 20);
        }
        if at % 400 == 0 {
            bench.is_at(at);
        }
    }
    assert!(bench.asked.lock().unwrap().contains(&Lane::Picture));
    let (_folder, files, notes) = bench.finish();
    assert_eq!(files.len(), 1);
    assert_eq!(notes, [Note::Began(files[0].clone())]);
    let (facts, tracks) = described(&files[0]);
    assert_eq!(tracks, [1, 2, 4]);
    assert!(facts.duration.unwrap().abs_diff(2990) < 20, "{facts:?}");
    let blocks = blocks(&files[0]);
    let of = |track: u8| blocks.iter().filter(|(t, ..)| *t == track).map(|(_, time, _)| *time).collect::<Vec<_>>();
    assert_eq!((of(1)[0], of(1).len()), (200, 70));
    // Sound is written later by the decoder's delay, which players take off again.
    assert_eq!((of(2)[0], of(2).len()), (10, 75));
    assert_eq!((of(4)[0], of(4).len()), (1007, 25));
    for track in [1, 2, 4] {
        assert!(of(track).is_sorted(), "track {track}: {:?}", of(track));
    }
}

#[test]
fn what_is_late_keeps_its_time_and_nothing_waits_longer_than_it_may() {
    let bench = bench(1 << 30);
    bench.put(Lane::Both, 0, true, 20);
    bench.put(Lane::Both, 240, true, 20);
    bench.is_at(560);
    let path = std::fs::read_dir(bench.folder.path()).unwrap().next().unwrap().unwrap().path();
    assert_eq!(blocks(&path).len(), 2, "on the disk within 0.6 s");
    bench.put(Lane::TalkerSound, 150, true, 20);
    let (_folder, files, _) = bench.finish();
    assert_eq!(blocks(&files[0]).last(), Some(&(4, 157, true)));
}

/// Time of each cluster, and of its first and last block, in milliseconds.
fn clusters(path: &Path) -> Vec<(i64, i64, i64)> {
    let bytes = std::fs::read(path).unwrap();
    let clusters = layout::children(&bytes[HEAD..]).filter(|(element, _)| *element == id::CLUSTER);
    let spans = clusters.map(|(_, content)| {
        let time = layout::children(content).find(|(element, _)| *element == id::TIMESTAMP).unwrap().1;
        let offsets = layout::children(content).filter(|(element, _)| *element == id::SIMPLE_BLOCK);
        let offsets: Vec<i64> = offsets.map(|(_, block)| i64::from(i16::from_be_bytes([block[1], block[2]]))).collect();
        let time = i64::from_be_bytes(time.try_into().unwrap());
        (time, time + offsets.iter().min().unwrap(), time + offsets.iter().max().unwrap())
    });
    spans.collect()
}

#[test]
fn what_came_while_the_disk_was_slow_is_written_at_once_in_short_clusters() {
    let bench = bench(1 << 30);
    bench.put(Lane::Both, 0, true, 20);
    bench.is_at(560);
    // Nothing for a minute, then two seconds that are seen late.
    for at in (60_000..62_000).step_by(20) {
        bench.put(Lane::Both, at, true, 20);
    }
    bench.is_at(62_560);
    let path = std::fs::read_dir(bench.folder.path()).unwrap().next().unwrap().unwrap().path();
    let began = Instant::now();
    while blocks(&path).len() < 101 {
        assert!(began.elapsed() < Duration::from_secs(20), "all of it before anything more comes");
        std::thread::sleep(TICK);
    }
    let found = clusters(&path);
    assert_eq!((found[0], found[1].0), ((0, 7, 7), 60_000), "{found:?}");
    assert!(found.len() >= 9, "{found:?}");
    for (time, first, last) in &found {
        assert!(time <= first && last - time < CLUSTER.as_millis() as i64 + 7, "{found:?}");
    }
    let (_folder, files, _) = bench.finish();
    assert_eq!(blocks(&files[0]).last(), Some(&(2, 61_987, true)));
}

#[test]
fn all_tracks_end_with_the_moment_of_the_stop() {
    let bench = bench(1 << 30);
    for at in (0..1000).step_by(20) {
        bench.put(Lane::Both, at, true, 20);
        // Heard later than it came.
        bench.put(Lane::TalkerSound, at + 300, true, 20);
    }
    bench.is_at(900);
    *bench.end.lock().unwrap() = START + Duration::from_millis(980);
    let (_folder, files, _) = bench.finish();
    let blocks = blocks(&files[0]);
    let last = |track: u8| blocks.iter().rfind(|(of, ..)| *of == track).unwrap().1;
    assert_eq!((last(2), last(4)), (987, 987));
}

#[test]
fn a_large_recording_goes_on_in_a_new_file_at_a_key_frame_without_a_gap() {
    let bench = bench(480_000);
    for at in (0..8000).step_by(40) {
        bench.put(Lane::Picture, at, at % 1000 == 0, 2000);
        bench.put(Lane::Both, at, true, 20);
        if at == 400 {
            bench.talkers.turn(Some("second"));
        }
        if at % 200 == 0 {
            bench.is_at(at);
        }
    }
    let (_folder, files, _) = bench.finish();
    assert_eq!(files.len(), 3, "{files:?}");
    let named: Vec<_> = files.iter().map(|file| described(file).0.talkers.unwrap().join(" ")).collect();
    assert_eq!(named, ["peer second", "second", "second"], "each file names its own talkers");
    let mut pictures = 0;
    let mut sounds = 0;
    for file in &files {
        let blocks = blocks(file);
        let first = blocks.iter().find(|(track, ..)| *track == 1).unwrap();
        assert!(first.2 && first.1 == 0, "{first:?}");
        pictures += blocks.iter().filter(|(track, ..)| *track == 1).count();
        sounds += blocks.iter().filter(|(track, ..)| *track == 2).count();
    }
    assert_eq!((pictures, sounds), (200, 200));
}

#[test]
fn what_a_killed_process_left_is_finished() {
    let bench = bench(1 << 30);
    for at in (0..2000).step_by(40) {
        bench.put(Lane::Picture, at, at % 400 == 0, 500);
        match at {
            480 => bench.talkers.turn(None),
            800 => bench.talkers.turn(Some("0123-45678")),
            _ => {}
        }
        if at % 400 == 0 {
            bench.is_at(at);
        }
    }
    bench.is_at(2000);
    let path = std::fs::read_dir(bench.folder.path()).unwrap().next().unwrap().unwrap().path();
    let torn = std::fs::read(&path).unwrap();
    let (_folder, ..) = bench.finish();
    let whole = blocks(&path).len();

    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join(path.file_name().unwrap());
    std::fs::write(&copy, &torn[..torn.len() - 100]).unwrap();
    assert_eq!(described(&copy).0.duration, None);
    mend_all(&shelf(folder.path(), 1));
    let (facts, tracks) = described(&copy);
    assert_eq!(tracks, [1]);
    let kept = blocks(&copy);
    assert!(kept.len() >= whole - 20 && !kept.is_empty(), "{} of {whole}", kept.len());
    assert_eq!(facts.duration, Some(kept.last().unwrap().1 as u64 + 20));
    assert_eq!(facts.talkers.unwrap(), ["peer", "01234567"], "who came later, too");
    let mended = std::fs::read(&copy).unwrap();
    mend_all(&shelf(folder.path(), 1));
    assert_eq!(std::fs::read(&copy).unwrap(), mended, "nothing to do a second time");
    // What holds nothing is no recording.
    for nothing in [&torn[..HEAD], &torn[..HEAD + 20], &[]] {
        std::fs::write(&copy, nothing).unwrap();
        mend_all(&shelf(folder.path(), 1));
        assert!(!copy.exists(), "{} bytes", nothing.len());
    }
    // Rubbish is left alone.
    std::fs::write(&copy, vec![0; 10_000]).unwrap();
    mend_all(&shelf(folder.path(), 1));
    assert_eq!(std::fs::read(&copy).unwrap(), vec![0; 10_000]);
}

#[test]
fn too_little_room_is_told_and_nothing_is_written() {
    let bench = bench(1 << 30);
    let mut full = shelf(bench.folder.path(), 1);
    full.min_free = u64::MAX;
    let sentence = full.check_room().unwrap_err();
    assert!(sentence.contains("record-min-free") && sentence.contains("MiB are free"), "{sentence}");
    let (_folder, files, notes) = bench.finish();
    assert!(files.is_empty() && notes.is_empty());
}
