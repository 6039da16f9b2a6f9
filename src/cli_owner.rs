//! The commands that show the owner a running service: `status`, `sessions`, `log`.
//!
//! In: words of the command line, the service's answers. Out: requests for the control socket, text for a terminal.
//! Never: something that the panel on the page does not show.

use std::fmt::Write as _;

use clap::Subcommand;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::api::Role;
use crate::api::panel::{DeviceHealth, LogLevel, LogLine, RunningRecording, SessionInfo};
use crate::names;

/// What is asked about the running service.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "about", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Question {
    /// How it is.
    Status,
    /// Who is connected.
    Sessions,
    /// End one session.
    End {
        /// Its id, or the beginning of it.
        id: String,
    },
    /// The last lines of the log.
    Log {
        /// Only lines with a higher number.
        after: u64,
        /// How many at most.
        lines: usize,
    },
    /// Which recordings there are.
    Recordings,
    /// Where a recording is.
    Recording {
        /// Its name.
        name: String,
    },
    /// Delete a recording.
    DeleteRecording {
        /// Its name.
        name: String,
    },
}

/// `duplex sessions ...`.
#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// End a session; a person is signed out with it
    #[command(
        after_help = "Example:\n  duplex sessions\n  duplex sessions end 3f2a\n\nThe first characters of the id will do, if no other \
        session begins with them. A program that came with a token may come again: `duplex token revoke NAME` keeps it out."
    )]
    End {
        /// Id as `duplex sessions` shows it, or its first characters
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        id: String,
    },
}

/// A session that was ended.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Ended {
    /// As it was.
    pub session: SessionInfo,
    /// Whoever had it was signed out.
    pub signed_out: bool,
    /// How many sessions of the same sign-in ended with it.
    pub others: usize,
}

/// The state of service and device and who is there, a line for each thing that is known.
pub fn status(health: &DeviceHealth, sessions: &[SessionInfo]) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        // Writing to a String cannot fail.
        writeln!(text, "{what:<14} {value}").ok();
    };
    let service = match (health.problems.is_empty(), health.faults.is_empty()) {
        (false, _) => health.problems.join(" "),
        (true, false) => "runs".to_owned(),
        (true, true) => "well".to_owned(),
    };
    line("service", service);
    health.faults.iter().for_each(|fault| line("fault", fault.clone()));
    let watching = sessions.iter().filter(|session| session.watching).count();
    line("watching", if watching == 0 { "nobody".to_owned() } else { watching.to_string() });
    line("talking", talking(sessions));
    line(
        "recording",
        health.recording.as_ref().map_or("nothing".to_owned(), |running| recording(running, health.time)),
    );
    if let Some(server) = &health.published_to {
        line("published to", server.clone());
    }
    if !health.addresses.is_empty() {
        line("address", addresses(&health.addresses));
    }
    line("version", health.version.clone());
    line("running", span(health.service_uptime));
    if let Some(model) = &health.model {
        line("device", model.clone());
    }
    if let Some(hottest) = health.temperatures.first() {
        line("temperature", format!("{:.0} °C ({})", hottest.celsius, hottest.sensor));
    }
    if let Some(throttling) = &health.throttling {
        let now = if throttling.now { "slowed down now" } else { "none now" };
        let voltage = if throttling.low_voltage == Some(true) { ", supply voltage too low" } else { "" };
        line("throttling", format!("{now}{voltage}"));
    }
    if let Some(load) = &health.load {
        let load: Vec<String> = load.iter().map(|value| format!("{value:.2}")).collect();
        line("load", format!("{} on {} processors", load.join(" "), health.processors));
    }
    if let Some(memory) = &health.memory {
        line("memory", format!("{} free of {}", size(memory.available), size(memory.total)));
    }
    for disk in &health.disks {
        let what = if disk.purpose == "state" { "disk" } else { "recordings" };
        line(what, format!("{} free of {} ({})", size(disk.available), size(disk.total), disk.folder));
    }
    if let Some(set) = health.clock_synchronised {
        line("clock", if set { "set by a time server".to_owned() } else { "not set by a time server yet".to_owned() });
    }
    text
}

/// The address that likeliest works from elsewhere, and the one for this machine, of those that the service tells.
pub fn addresses(all: &[String]) -> String {
    match all {
        [first, .., last] => format!("{first} or {last}"),
        some => some.concat(),
    }
}

/// Who has the turn, and how many wait for it.
fn talking(sessions: &[SessionInfo]) -> String {
    let talker = sessions.iter().find(|session| session.talking).map_or("nobody".to_owned(), who);
    match sessions.iter().filter(|session| session.waiting).count() {
        0 => talker,
        1 => format!("{talker}; 1 waits"),
        waiting => format!("{talker}; {waiting} wait"),
    }
}

/// A recording under way; `now` is the device's clock, milliseconds since 1970.
fn recording(running: &RunningRecording, now: u64) -> String {
    let (began, today) = (local(running.since.saturating_mul(1000)), local(now).date());
    let day = format_description!("[year]-[month]-[day] ");
    // One that the rule `always` began may be older than today.
    let day = if began.date() == today { String::new() } else { began.format(day).unwrap_or_default() };
    let what = running.file.as_deref().unwrap_or("the talker alone");
    format!("since {day}{}: {what}", of_day(began))
}

/// What has become of a session that was to be ended.
pub fn ended(Ended { session, signed_out, others }: &Ended) -> String {
    let id: String = session.id.chars().take(SHORT_ID).collect();
    let mut text = format!("ended {id}: {}, from {}", who(session), session.address.as_deref().unwrap_or("-"));
    if *signed_out {
        text += "; signed out";
    }
    if *others > 0 {
        write!(text, ", {others} more of the same sign-in ended").ok();
    }
    if let Some(token) = &session.token {
        write!(text, "; it may come again: `duplex token revoke {token}` keeps it out").ok();
    }
    text + "\n"
}

/// Characters of an id that are shown.
const SHORT_ID: usize = 8;

/// What a session is called.
fn who(session: &SessionInfo) -> String {
    let person = |role: &str| format!("{}, {role}", names::short_name(&session.id));
    match (&session.token, session.role) {
        (Some(token), _) => format!("token {token}"),
        (None, Some(Role::Owner)) => person("owner"),
        (None, Some(Role::Talker)) => person("talker"),
        (None, Some(Role::Viewer)) => person("viewer"),
        (None, None) => person("nobody"),
    }
}

/// A line for each session.
pub fn sessions(sessions: &[SessionInfo]) -> String {
    if sessions.is_empty() {
        return "nobody is connected\n".to_owned();
    }
    let mut text = String::new();
    for session in sessions {
        let id: String = session.id.chars().take(SHORT_ID).collect();
        let who = who(session);
        let does = match session {
            session if session.talking => "talks",
            session if session.waiting => "waits to talk",
            session if session.watching => "watches",
            _ => "is connected",
        };
        let from = session.address.as_deref().unwrap_or("-");
        let since = clock(session.since.saturating_mul(1000));
        write!(text, "{id}  {who:<23} {does:<13} {from:<39} since {since}  {}", size(session.sent_bytes)).ok();
        let link = link(session);
        if !link.is_empty() {
            write!(text, "  {link}").ok();
        }
        text.push('\n');
    }
    text
}

/// What is known of the way to a viewer: size of its picture, bit rate, loss, round trip, delay.
fn link(session: &SessionInfo) -> String {
    let mut parts = Vec::new();
    if let (Some(width), Some(height)) = (session.width, session.height) {
        parts.push(format!("{width}x{height}"));
    }
    if let (Some(kbits), Some(lost)) = (session.delivered_kbits, session.lost_percent) {
        parts.push(format!("{kbits} kbit/s, {lost:.1} % lost"));
    }
    parts.extend(session.round_trip_ms.map(|trip| format!("round trip {} ms", milliseconds(trip))));
    parts.extend(session.capture_to_screen_ms.map(|latency| format!("capture to screen {latency} ms")));
    parts.join(", ")
}

/// With a decimal where there would be nothing but it.
fn milliseconds(value: f32) -> String {
    if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// Lines of the log.
pub fn log(lines: &[LogLine]) -> String {
    let mut text = String::new();
    for line in lines {
        let level = match line.level {
            LogLevel::Error => "ERROR",
            LogLevel::Warn => "WARN ",
            LogLevel::Info => "INFO ",
            LogLevel::Debug => "DEBUG",
            LogLevel::Trace => "TRACE",
        };
        writeln!(text, "{} {level} {}", clock(line.time), line.text).ok();
    }
    text
}

/// Time of day on this machine from milliseconds since 1970.
fn clock(milliseconds: u64) -> String {
    of_day(local(milliseconds))
}

fn of_day(time: OffsetDateTime) -> String {
    time.format(format_description!("[hour]:[minute]:[second]")).unwrap_or_default()
}

/// In this machine's zone, from milliseconds since 1970.
fn local(milliseconds: u64) -> OffsetDateTime {
    let seconds = i64::try_from(milliseconds / 1000).unwrap_or(0);
    in_this_zone(OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH))
}

/// The same moment in this machine's zone.
pub fn in_this_zone(utc: OffsetDateTime) -> OffsetDateTime {
    time::UtcOffset::current_local_offset().map_or(utc, |offset| utc.to_offset(offset))
}

fn span(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    if hours == 0 { format!("{minutes} min") } else { format!("{hours} h {minutes} min") }
}

/// Bytes, as people read them.
pub fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    if bytes >= 1e9 { format!("{:.1} GB", bytes / 1e9) } else { format!("{:.1} MB", bytes / 1e6) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str, token: Option<&str>, watching: bool) -> SessionInfo {
        SessionInfo {
            id: id.to_owned(),
            role: Some(Role::Viewer),
            token: token.map(str::to_owned),
            address: Some("192.0.2.7".to_owned()),
            since: 1_700_000_000,
            watching,
            talking: false,
            waiting: false,
            own: false,
            sent_bytes: 2_500_000,
            rung: watching.then_some(1),
            width: watching.then_some(640),
            height: watching.then_some(360),
            delivered_kbits: watching.then_some(480),
            lost_percent: watching.then_some(2.5),
            link_kbits: watching.then_some(2500),
            round_trip_ms: watching.then_some(3.25),
            capture_to_screen_ms: watching.then_some(86),
            join_ms: None,
        }
    }

    #[test]
    fn sessions_are_a_line_each() {
        let text = sessions(&[session("0123456789", None, true), session("abcdef0123", Some("robot"), false)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].starts_with("01234567  Silver Finch, viewer ")
                && lines[0].contains("watches")
                && lines[0]
                    .ends_with("2.5 MB  640x360, 480 kbit/s, 2.5 % lost, round trip 3.2 ms, capture to screen 86 ms"),
            "{text}"
        );
        assert!(lines[1].starts_with("abcdef01  token robot ") && lines[1].contains("is connected"));
        let waiting = SessionInfo { waiting: true, ..session("0123456789", None, true) };
        assert!(sessions(&[waiting]).contains("viewer    waits to talk 192.0.2.7"));
        assert_eq!(sessions(&[]), "nobody is connected\n");
    }

    #[test]
    fn what_was_ended_is_told() {
        let told = |token, signed_out, others| {
            ended(&Ended { session: session("0123456789", token, true), signed_out, others })
        };
        assert_eq!(told(None, false, 0), "ended 01234567: Silver Finch, viewer, from 192.0.2.7\n");
        let person =
            "ended 01234567: Silver Finch, viewer, from 192.0.2.7; signed out, 2 more of the same sign-in ended\n";
        assert_eq!(told(None, true, 2), person);
        let program = "ended 01234567: token robot, from 192.0.2.7; it may come again: `duplex token revoke robot` keeps it out\n";
        assert_eq!(told(Some("robot"), false, 0), program);
    }

    #[test]
    fn who_talks_and_what_is_recorded_is_told() {
        let (one, two) = (session("0123456789", None, true), session("abcdef0123", Some("robot"), true));
        assert_eq!(talking(&[one.clone(), two.clone()]), "nobody");
        let (one, two) = (SessionInfo { talking: true, ..one }, SessionInfo { waiting: true, ..two });
        assert_eq!(talking(&[one.clone(), two.clone()]), "Silver Finch, viewer; 1 waits");
        assert_eq!(talking(&[two.clone(), one, two]), "Silver Finch, viewer; 2 wait");
        let (since, now) = (1_700_000_000, 1_700_000_001_000);
        let of = |file: Option<&str>, now| recording(&RunningRecording { since, file: file.map(str::to_owned) }, now);
        assert_eq!(of(Some("a.webm"), now), format!("since {}: a.webm", clock(since * 1000)));
        assert!(of(None, now).ends_with(": the talker alone"));
        let later = of(Some("a.webm"), now + 3 * 86_400_000);
        assert_eq!(later, format!("since {} {}: a.webm", local(since * 1000).date(), clock(since * 1000)));
    }

    #[test]
    fn spans_and_sizes_read_well() {
        assert_eq!((span(59), span(3700)), ("0 min".to_owned(), "1 h 1 min".to_owned()));
        assert_eq!((size(1_500_000), size(2_000_000_000)), ("1.5 MB".to_owned(), "2.0 GB".to_owned()));
    }
}
