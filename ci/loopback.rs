//! Both ends in one process: the service and stock `webrtcsrc` viewers, over a plain WebSocket on loopback.
//!
//! Sessions are opened and closed; afterwards threads, file descriptors and pads must be where they were. Pads are
//! counted by a tracer of the test's own: GStreamer 1.22's leaks tracer crashes when it is asked for living objects more
//! than once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use duplex::config::{self, Flags};
use gst::glib;
use gst::prelude::*;
use tokio::sync::{mpsc, oneshot};

const SESSIONS: usize = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Usage {
    threads: usize,
    descriptors: usize,
    pads: usize,
}

fn usage() -> Usage {
    let entries = |path: &str| std::fs::read_dir(path).expect(path).count();
    let pads = LIVING_PADS.lock().expect("no panic in a hook").len();
    Usage { threads: entries("/proc/self/task"), descriptors: entries("/proc/self/fd"), pads }
}

/// How many pads were ever made: none are left where nobody watches.
static PADS_MADE: AtomicUsize = AtomicUsize::new(0);

/// Addresses of all pads there are in this process.
static LIVING_PADS: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

glib::wrapper! {
    pub struct PadCounter(ObjectSubclass<pad_counter::PadCounter>) @extends gst::Tracer, gst::Object;
}

mod pad_counter {
    use gst::glib;
    use gst::prelude::*;
    use gst::subclass::prelude::*;

    use std::sync::atomic::Ordering;

    use super::{LIVING_PADS, PADS_MADE};

    #[derive(Default)]
    pub struct PadCounter;

    #[glib::object_subclass]
    impl ObjectSubclass for PadCounter {
        const NAME: &'static str = "DuplexPadCounter";
        type Type = super::PadCounter;
        type ParentType = gst::Tracer;
    }

    impl ObjectImpl for PadCounter {
        fn constructed(&self) {
            self.parent_constructed();
            self.register_hook(TracerHook::ObjectCreated);
            self.register_hook(TracerHook::ObjectDestroyed);
        }
    }

    impl GstObjectImpl for PadCounter {}

    impl TracerImpl for PadCounter {
        fn object_created(&self, _: u64, object: &gst::Object) {
            if object.is::<gst::Pad>() {
                PADS_MADE.fetch_add(1, Ordering::Relaxed);
                LIVING_PADS.lock().expect("no panic in a hook").insert(object.as_ptr() as usize);
            }
        }

        fn object_destroyed(&self, _: u64, object: std::ptr::NonNull<gst::ffi::GstObject>) {
            LIVING_PADS.lock().expect("no panic in a hook").remove(&(object.as_ptr() as usize));
        }
    }
}

/// Opens a session and closes it again once picture and sound have come.
async fn watch(uri: &str) -> Result<(), String> {
    let pipeline = gst::Pipeline::new();
    let source = gst::ElementFactory::make("webrtcsrc")
        .property("connect-to-first-producer", true)
        .property("stun-server", None::<String>)
        .build()
        .map_err(|error| error.to_string())?;
    source.property::<glib::Object>("signaller").set_property("uri", uri);
    pipeline.add(&source).map_err(|error| error.to_string())?;
    let (seen, mut arrivals) = mpsc::unbounded_channel();
    let weak = pipeline.downgrade();
    source.connect_pad_added(move |_, pad| {
        let (Some(pipeline), Ok(sink)) =
            (weak.upgrade(), gst::ElementFactory::make("fakesink").property("sync", false).build())
        else {
            return;
        };
        let (seen, kind, first) = (seen.clone(), pad.name().starts_with("video"), AtomicUsize::new(0));
        let target = sink.static_pad("sink").expect("a pad");
        target.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            if first.fetch_add(1, Ordering::Relaxed) == 0 {
                seen.send(kind).ok();
            }
            gst::PadProbeReturn::Ok
        });
        pipeline.add(&sink).expect("add");
        sink.sync_state_with_parent().expect("sync");
        pad.link(&target).expect("link");
    });
    let playing = pipeline.clone();
    tokio::task::spawn_blocking(move || playing.set_state(gst::State::Playing)).await.expect("join").expect("play");
    let both = async {
        let (mut picture, mut sound) = (false, false);
        while !(picture && sound) {
            match arrivals.recv().await {
                Some(true) => picture = true,
                Some(false) => sound = true,
                None => return Err("the client ended".to_owned()),
            }
        }
        Ok(())
    };
    let result = tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .unwrap_or_else(|_| Err("no media within 20 s".into()));
    tokio::task::spawn_blocking(move || pipeline.set_state(gst::State::Null)).await.expect("join").expect("stop");
    result
}

#[test]
fn fifty_sessions_leave_nothing_behind() {
    gst::init().expect("GStreamer");
    let _counter: PadCounter = glib::Object::new();
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(async {
        let state = tempfile::tempdir().expect("folder");
        let flags = [
            ("listen", "127.0.0.1:0"),
            ("plain", "true"),
            ("width", "320"),
            ("height", "240"),
            ("framerate", "15"),
            ("sound", "discard"),
        ]
        .into_iter()
        .fold(Flags::default(), |flags, (key, value)| flags.with(key, value))
        .with("idle-grace", "1")
        .with("state-dir", state.path().to_str().expect("UTF-8"));
        let config = config::load(&flags, |_| None).expect("configuration");
        let (ready, url) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let service = tokio::spawn(duplex::run(
            config,
            duplex::Start::default(),
            move |told, _| {
                ready.send(told.urls[0].clone()).ok();
            },
            async {
                stopped.await.ok();
            },
        ));
        let uri = url.await.expect("the service starts").replace("http://", "ws://").replace("localhost", "127.0.0.1");

        for _ in 0..3 {
            watch(&uri).await.expect("a first session");
        }
        let before = settled(Duration::from_secs(40), None).await;
        let began = Instant::now();
        let failed = Arc::new(AtomicUsize::new(0));
        for number in 0..SESSIONS {
            if let Err(error) = watch(&uri).await {
                eprintln!("session {number}: {error}");
                failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        println!("{SESSIONS} sessions in {:.1} s", began.elapsed().as_secs_f64());
        settled(Duration::from_secs(60), Some(before)).await;
        // Whatever still ends, ends within a moment of the threads that held it.
        let after = settled(Duration::from_secs(20), None).await;
        println!("before {before:?}\nafter  {after:?}");
        assert_eq!(failed.load(Ordering::Relaxed), 0, "sessions failed");
        assert!(after.threads <= before.threads, "threads: {} before, {} after", before.threads, after.threads);
        assert!(
            after.descriptors <= before.descriptors,
            "descriptors: {} before, {} after",
            before.descriptors,
            after.descriptors
        );
        assert!(PADS_MADE.load(Ordering::Relaxed) > SESSIONS, "the tracer counts nothing");
        assert!(after.pads <= before.pads, "pads: {} before, {} after", before.pads, after.pads);

        stop.send(()).ok();
        service.await.expect("join").expect("the service ends well");
    });
}

/// Waits until usage is no more than `goal`, or without one until it has not changed for 3 s; at most `limit`.
async fn settled(limit: Duration, goal: Option<Usage>) -> Usage {
    let deadline = Instant::now() + limit;
    let mut last = usage();
    let mut still_since = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let now = usage();
        if now != last {
            still_since = Instant::now();
        }
        last = now;
        let reached = match goal {
            Some(goal) => now.threads <= goal.threads && now.descriptors <= goal.descriptors && now.pads <= goal.pads,
            None => still_since.elapsed() > Duration::from_secs(3),
        };
        if reached || Instant::now() > deadline {
            return now;
        }
    }
}
