//! What this crate needs to know of an X.509 certificate, read once and kept in plain types.
//!
//! What enters: DER, and the path it came from for messages. What leaves: [`Facts`], or the rule broken.
//! What it never does: judge trust; the only signature it checks is one authority's over one certificate.

use crate::{Error, Name, Result};
use base64::Engine;
use rustls_pki_types::CertificateDer;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use time::macros::format_description;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The facts of one certificate.
pub(crate) struct Facts {
    pub subject: String,
    pub common_name: Option<String>,
    pub names: Vec<Name>,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    pub is_ca: bool,
    /// The public key as SubjectPublicKeyInfo, in DER.
    pub public_key: Vec<u8>,
}

impl Facts {
    /// Reads the facts out of `der`; `path` is where it came from.
    pub fn of(der: &CertificateDer<'_>, path: &Path) -> Result<Self> {
        let certificate = parse(der, path)?;
        let is_ca =
            certificate.basic_constraints().map_err(|error| bad(path, error))?.is_some_and(|found| found.value.ca);
        let san = certificate.subject_alternative_name().map_err(|error| bad(path, error))?;
        let names = san.map(|found| found.value.general_names.iter().filter_map(to_name).collect()).unwrap_or_default();
        Ok(Self {
            subject: certificate.subject().to_string(),
            common_name: certificate
                .subject()
                .iter_common_name()
                .next()
                .and_then(|name| name.as_str().ok())
                .map(str::to_owned),
            names,
            not_before: to_system_time(certificate.validity().not_before.timestamp()),
            not_after: to_system_time(certificate.validity().not_after.timestamp()),
            is_ca,
            public_key: certificate.public_key().raw.to_vec(),
        })
    }
}

/// Whether `issuer` signed `subject`, by name and by signature; validity is not looked at.
pub(crate) fn signed_by(subject: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> bool {
    let (Ok((_, subject)), Ok((_, issuer))) = (X509Certificate::from_der(subject), X509Certificate::from_der(issuer))
    else {
        return false;
    };
    subject.issuer().as_raw() == issuer.subject().as_raw()
        && subject.verify_signature(Some(issuer.public_key())).is_ok()
}

/// SHA-256 over the DER, as browsers and phones show it: `AA:BB:…`, 32 pairs.
pub(crate) fn fingerprint(der: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    let pairs: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

/// One PEM block, lines of 64 characters.
pub(crate) fn to_pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    text.push_str(&base64_lines(der, 64, ""));
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// Base64 in lines of `width` characters, each after `indent` and ending in a newline.
pub(crate) fn base64_lines(bytes: &[u8], width: usize, indent: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
    let mut lines = String::with_capacity(encoded.len() + encoded.len() / width * (indent.len() + 1) + 80);
    for (index, character) in encoded.chars().enumerate() {
        if index % width == 0 {
            lines.push_str(if index == 0 { "" } else { "\n" });
            lines.push_str(indent);
        }
        lines.push(character);
    }
    lines.push('\n');
    lines
}

/// A time as people read it, in UTC to the minute.
pub fn readable(time: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    OffsetDateTime::from(time).format(format).unwrap_or_else(|_| "an unknown time".to_owned())
}

fn parse<'a>(der: &'a CertificateDer<'_>, path: &Path) -> Result<X509Certificate<'a>> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(bad(path, "bytes follow its end")),
        Err(error) => Err(bad(path, error)),
    }
}

fn bad(path: &Path, detail: impl std::fmt::Display) -> Error {
    Error::BadCertificate { path: path.to_owned(), detail: detail.to_string() }
}

/// Host names and addresses; other kinds (mail, URI) and malformed ones name no host and are left out.
fn to_name(name: &GeneralName<'_>) -> Option<Name> {
    match name {
        GeneralName::DNSName(text) => text.parse().ok(),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(*octets).ok().map(|octets| Name::from(IpAddr::V4(Ipv4Addr::from(octets)))),
            16 => <[u8; 16]>::try_from(*octets).ok().map(|octets| Name::from(IpAddr::V6(Ipv6Addr::from(octets)))),
            _ => None,
        },
        _ => None,
    }
}

fn to_system_time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    // Out of the platform's range means at its nearest sensible end: such a certificate then counts as expired.
    let shifted = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    shifted.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_has_full_lines_and_one_newline_at_the_end() {
        assert_eq!(to_pem("X", &[0; 48]), format!("-----BEGIN X-----\n{}\n-----END X-----\n", "A".repeat(64)));
        assert_eq!(to_pem("X", &[0; 49]), format!("-----BEGIN X-----\n{}\nAA==\n-----END X-----\n", "A".repeat(64)));
    }

    #[test]
    fn a_fingerprint_is_32_pairs() {
        let text = fingerprint(b"");
        assert!(text.starts_with("E3:B0:C4:42:98:FC:1C:14"), "{text}");
        assert_eq!(text.split(':').count(), 32);
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(readable(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_340_700)), "2026-11-22 09:45 UTC");
    }
}
