//! Publishing: the device's one encode, sent once to a media server by WHIP (RFC 9725), for more viewers than the device
//! can serve.
//!
//! In: where to, the signalling hub, which sessions of outbound are connected. Out: one session more of the device's own
//! sender, for as long as the service runs, made again after each end; [`Report`]s. Never: an encoder or a pipeline of
//! its own; a token or an address's path in a log; an end that reaches viewers.
//!
//! ```text
//! hub <== Call: a peer of the hub, as a viewer is ==> offer, candidates ─┐
//!                                                                        ├─ POST ──> server ──> answer (201, Location)
//! sender <====================== answer ================================ ┘  ... media ... DELETE Location
//! ```

mod backoff;
mod call;
mod http;
mod sdp;
mod whip;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::{Config, Publish, VideoCodec};
use crate::metrics::Metrics;
use crate::outbound::Outbound;
use crate::sdp_check;
use crate::signalling::hub::Hub;
use backoff::Backoff;
use call::Call;
use http::Http;
pub use http::{RootsError, authorities};
use whip::{Accepted, Endpoint};

/// What publishing needs of the configuration.
#[derive(Debug)]
pub struct Settings {
    to: Publish,
    token: Option<PathBuf>,
    codec: VideoCodec,
    http: Http,
}

impl Settings {
    /// `None`: nothing is published.
    ///
    /// # Errors
    /// There is no authority by which the server could be trusted.
    pub fn of(config: &Config) -> Result<Option<Self>, RootsError> {
        let Some(to) = config.publish.clone() else { return Ok(None) };
        let http = if to.is_plain() { Http::plain() } else { Http::new(config.publish_ca.as_deref())? };
        Ok(Some(Self { to, token: config.publish_token.clone(), codec: config.video_codec, http }))
    }
}

/// What publishing goes through.
#[derive(Debug)]
pub struct Parts {
    /// Where the device's media is asked for.
    pub hub: Hub,
    /// What knows when media flows.
    pub outbound: Outbound,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Host of the server while media goes there.
    pub published: watch::Sender<Option<String>>,
    /// What is wrong.
    pub reports: mpsc::UnboundedSender<Report>,
}

/// What publishing tells: what keeps it from its work, the end of a sentence that begins "Publishing"; `None`: it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report(pub Option<String>);

/// Publishes as long as it lives.
#[derive(Debug)]
pub struct Publisher {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// Begins at once, and does not end by itself.
    pub fn start(settings: Settings, parts: Parts) -> Self {
        let stop = watch::Sender::new(false);
        let task = tokio::spawn(Task { settings, parts }.run(stop.subscribe()));
        Self { stop, task }
    }

    /// Ends it, and tells the server so.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(STOP, self.task).await.is_err() {
            tracing::warn!("publishing did not end in time; the server will find out by itself");
        }
    }
}

struct Task {
    settings: Settings,
    parts: Parts,
}

/// How a publication ended.
struct Broken {
    why: String,
    /// How long media went.
    lasted: Duration,
}

impl From<String> for Broken {
    fn from(why: String) -> Self {
        Self { why, lasted: Duration::ZERO }
    }
}

impl Task {
    async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::default();
        while let Err(Broken { why, lasted }) = self.once(&mut stop).await {
            let wait = backoff.next(lasted);
            tracing::warn!(again_in_seconds = wait.as_secs(), "publishing {why}; trying again");
            self.parts.metrics.publish_failed();
            self.report(Some(why));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stopped(&mut stop) => return,
            }
        }
    }

    /// One publication from its offer to its end; `Ok`: it was told to stop.
    async fn once(&self, stop: &mut watch::Receiver<bool>) -> Result<(), Broken> {
        let Settings { to, token, http, .. } = &self.settings;
        let endpoint = Endpoint::read(to, token.as_deref()).await?;
        let fails = |why: String| format!("to {} fails: {why}", endpoint.host());
        let (call, offer) = tokio::select! {
            made = Call::start(&self.parts.hub) => made.map_err(fails)?,
            () = stopped(stop) => return Ok(()),
        };
        tracing::debug!(host = endpoint.host(), "offering picture and sound");
        let asking = endpoint.offer(http, &offer);
        tokio::pin!(asking);
        let accepted = tokio::select! {
            accepted = &mut asking => accepted,
            // What was asked for may be granted already, and is given back then.
            () = stopped(stop) => match tokio::time::timeout(LAST_WORD, asking).await {
                Ok(accepted) => accepted,
                Err(_) => return Ok(()),
            },
        };
        let accepted = accepted.map_err(|error| fails(error.to_string()))?;
        let end = self.carry(call, &offer, &accepted, &endpoint, stop).await;
        if let Some(resource) = &accepted.resource {
            match tokio::time::timeout(LAST_WORD, endpoint.end(http, resource)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "the server was not told that publishing ended"),
                Err(_) => tracing::debug!("the server took no notice that publishing ended"),
            }
        }
        end.map_err(|Broken { why, lasted }| Broken { why: fails(why), lasted })
    }

    /// Takes the server's answer, and stays until the session ends.
    async fn carry(
        &self,
        mut call: Call,
        offer: &str,
        accepted: &Accepted,
        endpoint: &Endpoint,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), Broken> {
        fits(&accepted.answer, offer).map_err(|rule| match rule {
            sdp_check::REFUSES => format!(
                "it does not take what the device sends ({} with Opus); video-codec sets another one",
                self.settings.codec
            ),
            rule => rule.to_owned(),
        })?;
        call.answer(&accepted.answer);
        let id = call.peer().to_owned();
        tokio::select! {
            () = self.parts.outbound.connected(&id) => {}
            () = call.ended() => return Err(NO_MEDIA.to_owned().into()),
            () = stopped(stop) => return Ok(()),
        }
        let host = endpoint.host();
        let began = Instant::now();
        tracing::info!(host, "published");
        if accepted.resource.is_none() {
            tracing::warn!(
                host,
                "the server names no address by which publishing can be ended: it will find out by itself"
            );
        }
        self.parts.metrics.published(true);
        self.parts.published.send_replace(Some(host.to_owned()));
        self.report(None);
        let end = tokio::select! {
            () = call.ended() => Err(Broken { why: "the media connection to it ended".to_owned(), lasted: began.elapsed() }),
            () = stopped(stop) => Ok(()),
        };
        self.parts.metrics.published(false);
        self.parts.published.send_replace(None);
        end
    }

    fn report(&self, what: Option<String>) {
        // Nobody is there any more only while the service stops.
        self.parts.reports.send(Report(what)).ok();
    }
}

/// Checks an answer against the offer it belongs to.
fn fits(answer: &str, offer: &str) -> Result<(), &'static str> {
    sdp_check::answers(&*sdp_check::parse(answer)?, &*sdp_check::parse(offer)?)
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Err: whoever could say so is gone, which means the same.
    stop.wait_for(|stop| *stop).await.ok();
}

/// Longest wait for publishing to end, the last words to the server among it.
const STOP: Duration = Duration::from_secs(6);
/// Longest wait for a server that has nothing to say any more.
const LAST_WORD: Duration = Duration::from_secs(2);
/// What to look at when no media connection comes about.
const NO_MEDIA: &str =
    "no media connection to it came about; UDP to it must be open, or a TURN server configured (ice-server)";
