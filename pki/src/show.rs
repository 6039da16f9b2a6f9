//! The text of `duplex pki show`.
//!
//! What enters: a store and the time. What leaves: text for a person. What it never does: fail because
//! something is wrong with a certificate: that is what it is asked to tell.

use crate::certificate::{fingerprint, readable};
use crate::identity::certificates;
use crate::{Ca, Error, Name, Result, Store, certificate::Facts, files, name};
use std::time::SystemTime;

/// Describes the root and the server certificate.
pub(crate) fn describe(store: &Store, now: SystemTime) -> Result<String> {
    let ca = store.ca()?;
    let mut text = format!("store        {}\n\n", store.dir().display());
    text += &describe_ca(&ca, now);
    text.push('\n');
    text += &match describe_server(store, now) {
        Ok(server) => server,
        Err(error) => format!("server       {error}\n"),
    };
    Ok(text)
}

fn describe_ca(ca: &Ca, now: SystemTime) -> String {
    format!(
        "authority    {}\nvalid        {}\nSHA-256      {}\n",
        ca.subject(),
        validity(ca.not_before(), ca.not_after(), now),
        ca.fingerprint_sha256()
    )
}

fn describe_server(store: &Store, now: SystemTime) -> Result<String> {
    let path = store.certificate_path();
    let bytes = files::read(&path).map_err(|error| match error {
        error if error.is_not_found() => Error::NoServer { dir: store.dir().to_owned() },
        error => error,
    })?;
    let leaf = certificates(&bytes, &path)?.swap_remove(0);
    let facts = Facts::of(&leaf, &path)?;
    let mut text = format!(
        "server       {}\nnames        {}\nvalid        {}\nSHA-256      {}\n",
        facts.subject,
        name::list(&facts.names as &[Name]),
        validity(facts.not_before, facts.not_after, now),
        fingerprint(&leaf)
    );
    // The dates are shown above; what else keeps a service from using it is told here.
    if let Err(error) = store.identity(now) {
        text += &format!("not usable   {error}\n");
    }
    Ok(text)
}

fn validity(not_before: SystemTime, not_after: SystemTime, now: SystemTime) -> String {
    let days = match not_after.duration_since(now) {
        Ok(left) => format!("{} days left", left.as_secs() / 86_400),
        Err(_) => "expired".to_owned(),
    };
    format!("{} to {}, {days}", readable(not_before), readable(not_after))
}
