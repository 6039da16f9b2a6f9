//! `[publish]` on the card: the media server that the device publishes to.
//!
//! In: the owner's address, token and the name of a file with the server's authority. Out: keys of the service, and the two
//! files that they name. Never: a token in what everybody may read; an address that the service would not take.

use std::fs;

use super::settings::{Secret, rule};
use super::{Error, Places, files};
use crate::config::publish::address;
use crate::http::auth;
use crate::publish::authorities;

/// Where to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The address of a WHIP endpoint.
    pub url: String,
    /// The bearer token.
    pub token: Secret,
    /// Name of a file on the card: the only authority, as PEM, that the server is trusted by; `None`: those of the system.
    pub ca: Option<String>,
}

/// Reads the table.
pub fn parse(table: &toml::Table, problems: &mut Vec<String>) -> Option<Publish> {
    let before = problems.len();
    let mut found = Publish { url: String::new(), token: Secret::None, ca: None };
    for (key, value) in table {
        let name = format!("publish.{key}");
        match (key.as_str(), value) {
            // Its own rule, and not its text: for some servers the address is the secret.
            ("url", toml::Value::String(text)) => match address(text) {
                Ok(_) => found.url.clone_from(text),
                Err(broken) => problems.push(format!("{name}: {broken}")),
            },
            ("url", _) => problems.push(format!("{name}: must be text in quotes")),
            ("token", toml::Value::String(text)) if text.is_empty() => found.token = Secret::Known,
            ("token", toml::Value::String(text)) if is_token(text) => found.token = Secret::New(text.clone()),
            ("token", _) => problems.push(format!("{name}: must be {TOKEN_RULE}")),
            ("ca", value) => found.ca = rule(&name, value, CA_RULE, is_file_name, problems),
            _ => problems.push(format!("{name}: is not a known key; there are url, token, ca")),
        }
    }
    if found.ca.is_some() && found.url.starts_with("http:") {
        problems
            .push("publish.ca: must be left out, because url is plain http://, where nothing is verified".to_owned());
    }
    if !table.contains_key("url") {
        problems.push("publish.url: is missing".to_owned());
    }
    (problems.len() == before).then_some(found)
}

/// The authority's certificate as it stands on the card; `None` if none is named.
///
/// # Errors
/// What is wrong with the file.
pub fn authority(places: &Places, publish: Option<&Publish>) -> Result<Option<String>, String> {
    let Some(name) = publish.and_then(|publish| publish.ca.as_deref()) else { return Ok(None) };
    let wrong = |what: &str| format!("publish.ca = {name:?}: {what}");
    match files::text(&places.card.join(name)) {
        Err(problem) => Err(wrong(&problem)),
        Ok(None) => Err(wrong("there is no such file on the card")),
        // As the service will take it: with one that it refuses it would not start.
        Ok(Some(text)) => match authorities(text.as_bytes()) {
            Ok(_) => Ok(Some(text)),
            Err(_) => Err(wrong("is no certificate of an authority in PEM")),
        },
    }
}

/// Keeps token and authority for the starts to come, and forgets those that are named no longer.
///
/// # Errors
/// They cannot be written.
pub fn keep(places: &Places, publish: Option<&Publish>, authority: Option<&str>) -> Result<(), Error> {
    let (token, ca) = (places.system.join(TOKEN), places.system.join(CA));
    match publish.map(|publish| &publish.token) {
        Some(Secret::New(secret)) => {
            let text = format!("{}\n{secret}\n", publish.map(origin).unwrap_or_default());
            files::update(&token, &text, 0o600)?;
        }
        Some(Secret::Known) => {}
        Some(Secret::None) | None => files::remove(&token)?,
    }
    match authority {
        Some(text) => files::update(&ca, text, 0o644),
        None => files::remove(&ca),
    }
}

/// Lays out for the service what it needs until the next start; the keys that name it.
///
/// # Errors
/// Why nothing is published, as a sentence.
pub fn lay_out(places: &Places, publish: Option<&Publish>) -> Result<toml::Table, String> {
    let mut keys = toml::Table::new();
    let Some(publish) = publish else { return Ok(keys) };
    let authority = publish.ca.as_ref().map(|name| {
        let kept = files::read(&places.system.join(CA));
        kept.ok_or_else(|| format!("Nothing is published: the authority in {name} is not known here any more; put that file onto the card again."))
    });
    keys.insert("publish-url".into(), publish.url.clone().into());
    let laid = [
        ("publish-token-file", TOKEN, 0o600, known_token(places, publish).map(|token| token + "\n")),
        ("publish-ca", CA, 0o644, authority.transpose()?),
    ];
    for (key, name, mode, text) in laid {
        let Some(text) = text else { continue };
        let path = places.run.join(name);
        files::replace(&path, &text, mode).map_err(|error| format!("Nothing is published: {error}"))?;
        // The service's own, as its state is.
        fs::File::open(&path)
            .and_then(|file| auth::give_to_owner_of(&places.state, &file))
            .map_err(|error| format!("Nothing is published: {} cannot be handed over: {error}", path.display()))?;
        keys.insert(key.into(), path.to_string_lossy().into_owned().into());
    }
    Ok(keys)
}

/// The token that was taken in for this server, and for no other.
fn known_token(places: &Places, publish: &Publish) -> Option<String> {
    if publish.token == Secret::None {
        return None;
    }
    let text = files::read(&places.system.join(TOKEN))?;
    let (server, token) = text.trim_end().split_once('\n')?;
    (server == origin(publish)).then(|| token.to_owned())
}

/// Scheme, host and port of the server.
fn origin(publish: &Publish) -> String {
    address(&publish.url).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

/// Whether its token is blank and none is known.
pub fn lacks_token(places: &Places, publish: &Publish) -> bool {
    publish.token == Secret::Known && known_token(places, publish).is_none()
}

/// What was taken in, for the status.
pub fn sentence(places: &Places, publish: &Publish) -> String {
    let host = address(&publish.url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let token = match publish.token {
        Secret::None => ", without a token",
        _ if lacks_token(places, publish) => {
            ", WITHOUT a token, for it is blank and none is known for this server (a new card, a factory reset or another server's \
             address forgets it); write it in again"
        }
        Secret::Known | Secret::New(_) => "",
    };
    format!("It is published to {host}{token}.")
}

fn is_token(text: &str) -> bool {
    (1..=2048).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_file_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && !text.starts_with('.')
        && !text.contains(['/', '\\'])
        && !text.chars().any(char::is_control)
}

/// Names of the two files.
const TOKEN: &str = "publish-token";
const CA: &str = "publish-ca.pem";
const TOKEN_RULE: &str = "a token in quotes, 1 to 2048 ASCII characters without blanks";
const CA_RULE: &str = "the name of a file on the card, beside duplex.toml, such as \"sfu-ca.pem\"";
