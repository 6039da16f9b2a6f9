//! The end of the log, for the owner: at once, and line by line as it grows.
//!
//! In: requests of the owner. Out: JSON, or `text/event-stream` with one line in each event.
//! Never: a line for anybody else, or after the owner's sign-in has ended.

use super::AppState;
use super::access::Caller;
use super::denied::Denied;
use crate::api::panel::{Log, LogLevel, LogLine};
use crate::log_tail::{KEPT, Line};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::routing::get;
use axum::{Json, Router};
use futures::Stream;
use futures::stream::unfold;
use serde::Deserialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Interval, interval};
use tracing::Level;

/// The routes under `/api/v1`.
pub fn routes() -> Router<AppState> {
    Router::new().route("/log", get(log)).route("/log/events", get(log_events))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(default)]
    after: u64,
    lines: Option<usize>,
}

/// The last lines.
#[utoipa::path(
    get,
    path = "/api/v1/log",
    tag = "owner",
    params(
        ("lines" = Option<u32>, Query, description = "How many at most, 1 to 500; 200 without it"),
        ("after" = Option<u64>, Query, description = "Only lines with a higher number")
    ),
    responses((status = 200, body = Log))
)]
pub(super) async fn log(
    State(state): State<AppState>,
    caller: Caller,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Log>, Denied> {
    caller.must_own()?;
    let Wanted { after, lines } = parameters(wanted)?;
    Ok(Json(Log { lines: last(&state, after, lines.unwrap_or(LINES)) }))
}

/// The last lines with a number above `after`, the oldest first.
pub(super) fn last(state: &AppState, after: u64, most: usize) -> Vec<LogLine> {
    state.panel.log.lines(after, most).into_iter().map(shown).collect()
}

/// The last lines, then each new one: the data of an event is a `LogLine`.
#[utoipa::path(
    get,
    path = "/api/v1/log/events",
    tag = "owner",
    params(
        ("lines" = Option<u32>, Query, description = "How many old ones at most, 1 to 500; 200 without it"),
        ("after" = Option<u64>, Query, description = "Only lines with a higher number")
    ),
    responses((status = 200, content_type = "text/event-stream", body = LogLine))
)]
pub(super) async fn log_events(
    State(state): State<AppState>,
    caller: Caller,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Denied> {
    caller.must_own()?;
    let Wanted { after, lines } = parameters(wanted)?;
    let more = state.panel.log.follow();
    let waiting: VecDeque<Line> = state.panel.log.lines(after, lines.unwrap_or(LINES)).into();
    let after = waiting.back().map_or(after, |line| line.number);
    let tail = Tail { state, caller, after, waiting, more, check: interval(CHECK) };
    let stream = unfold(tail, |mut tail| async {
        let event = tail.next().await?;
        Some((Ok(event), tail))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn parameters(wanted: Result<Query<Wanted>, QueryRejection>) -> Result<Wanted, Denied> {
    match wanted {
        Ok(Query(wanted)) if wanted.lines.is_none_or(|lines| (1..=KEPT).contains(&lines)) => Ok(wanted),
        _ => {
            let message = format!("The address may end in ?lines=1 to {KEPT} and &after=NUMBER, and in nothing else.");
            Err(Denied::new(StatusCode::BAD_REQUEST, "badRequest", message))
        }
    }
}

struct Tail {
    state: AppState,
    caller: Caller,
    after: u64,
    waiting: VecDeque<Line>,
    more: watch::Receiver<u64>,
    check: Interval,
}

impl Tail {
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(line) = self.waiting.pop_front() {
                match sse::Event::default().json_data(shown(line)) {
                    Ok(event) => return Some(event),
                    // Logging this would make another line, and that another.
                    Err(_) => continue,
                }
            }
            tokio::select! {
                changed = self.more.changed() => changed.ok()?,
                _ = self.check.tick() => {
                    if !self.caller.credential.holds(&self.state.auth).await {
                        return None;
                    }
                }
            }
            self.waiting = self.state.panel.log.lines(self.after, KEPT).into();
            self.after = self.waiting.back().map_or(self.after, |line| line.number);
        }
    }
}

fn shown(line: Line) -> LogLine {
    let level = match line.level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    };
    LogLine { number: line.number, time: line.time, level, part: line.part, text: line.text }
}

const LINES: usize = 200;
const CHECK: Duration = Duration::from_secs(3);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
