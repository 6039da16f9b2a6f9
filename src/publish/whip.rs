//! The two requests of WHIP (RFC 9725) that publishing needs: an offer for an answer, and the end.
//!
//! In: an endpoint's address and token, a complete offer. Out: the answer, and where it is ended. Never: the token at
//! another origin than the configured one; a request over plain HTTP beyond the machine; PATCH (the offer is complete).

use std::path::Path;

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use hyper::{HeaderMap, Method, StatusCode};
use url::Url;

use super::http::{self, Http, SDP};
use crate::config::Publish;
use crate::config::publish::{address, is_protected};

/// Where to publish, as the configuration's files have it at this moment.
#[derive(Debug)]
pub struct Endpoint {
    url: Url,
    token: Option<HeaderValue>,
}

/// What the server granted.
#[derive(Debug)]
pub struct Accepted {
    /// Its session description.
    pub answer: String,
    /// What is deleted at the end; `None`: the server did not say, or not so that it could be done.
    pub resource: Option<Url>,
}

/// Why the server did not grant it; the end of a sentence about the server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no answer.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// It knows us, or not, and says no.
    #[error("it refuses the token of publish-token-file ({0})")]
    Token(StatusCode),
    /// It would like to know us.
    #[error("it wants a token ({0}); publish-token-file names the file with one")]
    NoToken(StatusCode),
    /// Another origin wants the token.
    #[error("it redirects to {0}, which wants a token; write that address into publish-url if it shall have it")]
    TokenElsewhere(String),
    /// Nothing is there.
    #[error("it has no WHIP endpoint at this address ({0})")]
    NoEndpoint(StatusCode),
    /// Any other status.
    #[error("it answers {0}")]
    Status(StatusCode),
    /// A redirect that is not followed.
    #[error("it redirects {0}")]
    Redirect(&'static str),
    /// No description.
    #[error("its answer is no session description (application/sdp)")]
    NoSdp,
}

impl Endpoint {
    /// Reads address and token.
    ///
    /// # Errors
    /// The end of a sentence that begins "Publishing".
    pub async fn read(to: &Publish, token: Option<&Path>) -> Result<Self, String> {
        let url = match to {
            Publish::At(url) => url.clone(),
            Publish::InFile(path) => address(&first_line(path).await?)
                .map_err(|rule| format!("fails: the first line of {} {rule}", path.display()))?,
        };
        let token = match token {
            None => None,
            Some(path) => {
                let line = first_line(path).await?;
                let value = HeaderValue::from_str(&format!("Bearer {line}")).ok().filter(|_| !line.is_empty());
                let mut value =
                    value.ok_or_else(|| format!("fails: the first line of {} is no token", path.display()))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self { url, token })
    }

    /// The server's name, for people.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Offers; follows redirects.
    ///
    /// # Errors
    /// It is not granted.
    pub async fn offer(&self, http: &Http, offer: &str) -> Result<Accepted, Error> {
        let mut url = self.url.clone();
        for _ in 0..=REDIRECTS {
            let reply = http.send(Method::POST, &url, &self.fields(&url), Some(offer.to_owned())).await?;
            match reply.status {
                StatusCode::CREATED | StatusCode::OK => {
                    let resource = location(&url, &reply.headers).ok();
                    let kind = reply.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
                    let kind = kind.split(';').next().unwrap_or_default().trim();
                    match String::from_utf8(reply.body.to_vec()) {
                        Ok(answer) if kind.eq_ignore_ascii_case(SDP) => return Ok(Accepted { answer, resource }),
                        _ => return Err(self.give_back(http, resource).await),
                    }
                }
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {
                    url = location(&url, &reply.headers).map_err(Error::Redirect)?;
                    tracing::debug!(host = url.host_str(), "the server redirects");
                }
                status => return Err(self.refused(&url, status)),
            }
        }
        Err(Error::Redirect("too often"))
    }

    /// Ends what was granted.
    ///
    /// # Errors
    /// The server does not say that it is.
    pub async fn end(&self, http: &Http, resource: &Url) -> Result<(), Error> {
        let reply = http.send(Method::DELETE, resource, &self.fields(resource), None).await?;
        if reply.status.is_success() { Ok(()) } else { Err(Error::Status(reply.status)) }
    }

    /// Ends what was granted with an answer that cannot be used.
    async fn give_back(&self, http: &Http, resource: Option<Url>) -> Error {
        if let Some(resource) = resource
            && let Err(error) = self.end(http, &resource).await
        {
            tracing::debug!(%error, "the server was not told that its answer cannot be used");
        }
        Error::NoSdp
    }

    fn fields(&self, url: &Url) -> Vec<(HeaderName, HeaderValue)> {
        let token = self.token.clone().filter(|_| url.origin() == self.url.origin());
        token.into_iter().map(|token| (AUTHORIZATION, token)).collect()
    }

    fn refused(&self, url: &Url, status: StatusCode) -> Error {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                if self.token.is_none() {
                    Error::NoToken(status)
                } else if url.origin() == self.url.origin() {
                    Error::Token(status)
                } else {
                    Error::TokenElsewhere(url.host_str().unwrap_or_default().to_owned())
                }
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Error::NoEndpoint(status),
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => {
                Error::Redirect("in a way that is not for offers (307 and 308 are)")
            }
            status => Error::Status(status),
        }
    }
}

/// The address that an answer names, relative to the one that was asked.
///
/// # Errors
/// There is none, or none that may be used; the end of "it redirects".
fn location(asked: &Url, headers: &HeaderMap) -> Result<Url, &'static str> {
    let named = headers.get(LOCATION).and_then(|value| value.to_str().ok()).ok_or("without saying where")?;
    let url = asked.join(named).map_err(|_| "to something that is no address")?;
    // What may be plain is on this machine: a server elsewhere has no business there.
    let fits = url.scheme() == "https" || (asked.scheme() == "http" && is_protected(&url));
    if fits { Ok(url) } else { Err("to an address that is not https://") }
}

async fn first_line(path: &Path) -> Result<String, String> {
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|error| format!("fails: cannot read {}: {error}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// How often a server may send the offer elsewhere.
const REDIRECTS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn named(asked: &str, location_is: Option<&str>) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        if let Some(text) = location_is {
            headers.insert(LOCATION, HeaderValue::from_str(text).unwrap());
        }
        location(&Url::parse(asked).unwrap(), &headers).map(|url| url.to_string())
    }

    #[test]
    fn locations_are_relative_to_what_was_asked() {
        let asked = "https://sfu.example:8889/door/whip?key=1";
        for (text, url) in [
            ("https://media7.example/r/1", "https://media7.example/r/1"),
            ("//media7.example/r/1", "https://media7.example/r/1"),
            ("/r/1?a=b", "https://sfu.example:8889/r/1?a=b"),
            ("whip/1", "https://sfu.example:8889/door/whip/1"),
            ("?id=1", "https://sfu.example:8889/door/whip?id=1"),
            ("", "https://sfu.example:8889/door/whip?key=1"),
        ] {
            assert_eq!(named(asked, Some(text)).as_deref(), Ok(url), "{text}");
        }
        assert_eq!(named("http://127.0.0.1:1/w", Some("/r")).as_deref(), Ok("http://127.0.0.1:1/r"));
        assert_eq!(named(asked, None), Err("without saying where"));
        assert_eq!(named(asked, Some("http://sfu.example/r")), Err("to an address that is not https://"));
        assert_eq!(named(asked, Some("http://127.0.0.1:631/")), Err("to an address that is not https://"));
        assert_eq!(named(asked, Some("file:///etc/passwd")), Err("to an address that is not https://"));
        assert_eq!(named(asked, Some("https://[x")), Err("to something that is no address"));
    }

    #[tokio::test]
    async fn the_token_is_for_the_configured_origin_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, " a.b-c \nmore").unwrap();
        let to = Publish::At(Url::parse("https://sfu.example/whip").unwrap());
        let endpoint = Endpoint::read(&to, Some(&file)).await.unwrap();
        let sent = |url: &str| endpoint.fields(&Url::parse(url).unwrap());
        assert_eq!(sent("https://sfu.example/r/1")[0].1, "Bearer a.b-c");
        assert!(!format!("{endpoint:?}").contains("a.b-c"));
        for elsewhere in ["https://media7.example/r", "https://sfu.example:8443/r", "http://127.0.0.1/r"] {
            assert!(sent(elsewhere).is_empty(), "{elsewhere}");
        }
        for (text, said) in [("", "no token"), ("a\u{7}b", "no token")] {
            std::fs::write(&file, text).unwrap();
            assert!(Endpoint::read(&to, Some(&file)).await.unwrap_err().contains(said));
        }
        std::fs::write(&file, "http://sfu.example/whip").unwrap();
        let said = Endpoint::read(&Publish::InFile(file), None).await.unwrap_err();
        assert!(said.contains("loopback"), "{said}");
    }

    #[test]
    fn refusals_say_what_to_look_at() {
        let url = Url::parse("https://sfu.example/whip").unwrap();
        let with =
            |token: Option<&'static str>| Endpoint { url: url.clone(), token: token.map(HeaderValue::from_static) };
        let said = |endpoint: &Endpoint, at: &str, status: u16| {
            endpoint.refused(&Url::parse(at).unwrap(), StatusCode::from_u16(status).unwrap()).to_string()
        };
        let (known, unknown) = (with(Some("Bearer x")), with(None));
        assert_eq!(said(&known, url.as_str(), 401), "it refuses the token of publish-token-file (401 Unauthorized)");
        assert!(said(&unknown, url.as_str(), 403).contains("wants a token"));
        assert!(said(&known, "https://other.example/", 401).contains("redirects to other.example"));
        assert!(said(&known, url.as_str(), 404).contains("no WHIP endpoint"));
        assert!(said(&known, url.as_str(), 302).contains("307 and 308"));
        assert_eq!(said(&known, url.as_str(), 503), "it answers 503 Service Unavailable");
    }
}
