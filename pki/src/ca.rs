//! The root certificate, in the forms clients install.
//!
//! What enters: a store's directory with `ca.pem`. What leaves: PEM, DER, an iOS profile, a fingerprint.
//! What it never does: read the root's private key, or pass on anything of the file but the certificate.

use crate::certificate::{Facts, base64_lines, fingerprint, readable, to_pem};
use crate::identity::certificates;
use crate::{Error, Result, files};
use rustls_pki_types::CertificateDer;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The file name of the root's certificate in a store.
pub(crate) const CERTIFICATE: &str = "ca.pem";

/// The root certificate of a store; public, so it may be shown and handed to anyone.
#[derive(Debug, Clone)]
pub struct Ca {
    der: CertificateDer<'static>,
    path: PathBuf,
    subject: String,
    common_name: String,
    not_before: SystemTime,
    not_after: SystemTime,
    public_key: Vec<u8>,
}

impl Ca {
    /// Reads `ca.pem` in `dir`; its validity is not checked here, see [`Ca::check`].
    ///
    /// # Errors
    /// [`Error::NoCa`] if there is none; otherwise what is wrong with the file.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(CERTIFICATE);
        let bytes = files::read(&path)
            .map_err(|error| if error.is_not_found() { Error::NoCa { dir: dir.to_owned() } } else { error })?;
        let der = certificates(&bytes, &path)?.swap_remove(0);
        let facts = Facts::of(&der, &path)?;
        if !facts.is_ca {
            return Err(Error::NotCa { path });
        }
        Ok(Self {
            common_name: facts.common_name.unwrap_or_else(|| facts.subject.clone()),
            subject: facts.subject,
            not_before: facts.not_before,
            not_after: facts.not_after,
            public_key: facts.public_key,
            der,
            path,
        })
    }

    /// Whether the root is valid at `now`.
    ///
    /// # Errors
    /// [`Error::CaExpired`] or [`Error::NotYetValid`].
    pub fn check(&self, now: SystemTime) -> Result<()> {
        if now > self.not_after {
            return Err(Error::CaExpired {
                path: self.path.clone(),
                not_after: readable(self.not_after),
                now: readable(now),
            });
        }
        if now < self.not_before {
            return Err(Error::NotYetValid {
                path: self.path.clone(),
                not_before: readable(self.not_before),
                now: readable(now),
            });
        }
        Ok(())
    }

    /// The certificate in DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The certificate in DER, as bytes to send (`application/x-x509-ca-cert`).
    pub fn ca_der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate as one PEM block (`application/x-pem-file`), made from the DER.
    pub fn ca_pem(&self) -> String {
        to_pem("CERTIFICATE", &self.der)
    }

    /// SHA-256 of the certificate as clients show it: `AA:BB:…`.
    pub fn fingerprint_sha256(&self) -> String {
        fingerprint(&self.der)
    }

    /// The subject's common name, by which clients list the root.
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// The whole subject, as text.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The first moment at which the root is valid.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// The last moment at which the root is valid.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// An iOS and macOS configuration profile that installs the root (`application/x-apple-aspen-config`).
    /// Its identifiers follow from the certificate, so installing it again replaces it.
    pub fn mobileconfig(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, &self.der);
        let (payload, profile) = digest.as_ref().split_at(16);
        let name = escape(&self.common_name);
        let identifier = format!("duplex.ca.{}", hex(payload.get(..4).unwrap_or_default()));
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>PayloadContent</key>
	<array>
		<dict>
			<key>PayloadCertificateFileName</key>
			<string>duplex-ca.cer</string>
			<key>PayloadContent</key>
			<data>
{data}			</data>
			<key>PayloadDescription</key>
			<string>The root certificate of a Duplex device</string>
			<key>PayloadDisplayName</key>
			<string>{name}</string>
			<key>PayloadIdentifier</key>
			<string>{identifier}.root</string>
			<key>PayloadType</key>
			<string>com.apple.security.root</string>
			<key>PayloadUUID</key>
			<string>{payload}</string>
			<key>PayloadVersion</key>
			<integer>1</integer>
		</dict>
	</array>
	<key>PayloadDescription</key>
	<string>After installing, switch full trust on in Settings, General, About, Certificate Trust Settings. SHA-256: {fingerprint}</string>
	<key>PayloadDisplayName</key>
	<string>{name}</string>
	<key>PayloadIdentifier</key>
	<string>{identifier}</string>
	<key>PayloadRemovalDisallowed</key>
	<false/>
	<key>PayloadType</key>
	<string>Configuration</string>
	<key>PayloadUUID</key>
	<string>{profile}</string>
	<key>PayloadVersion</key>
	<integer>1</integer>
</dict>
</plist>
"#,
            data = base64_lines(&self.der, 52, "\t\t\t"),
            payload = uuid(payload),
            profile = uuid(profile),
            fingerprint = self.fingerprint_sha256(),
        )
    }

    /// The public key as SubjectPublicKeyInfo, to match it with the private one.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// The file it was read from, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sixteen bytes as a UUID of version 8 (RFC 9562: contents are the application's own).
fn uuid(bytes: &[u8]) -> String {
    let mut hex: Vec<char> = hex(bytes).to_uppercase().chars().collect();
    for (index, digit) in [(12, '8'), (16, 'A')] {
        if let Some(place) = hex.get_mut(index) {
            *place = digit;
        }
    }
    for place in [20, 16, 12, 8] {
        hex.insert(place.min(hex.len()), '-');
    }
    hex.into_iter().collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_have_their_form() {
        assert_eq!(uuid(&[0xff; 16]), "FFFFFFFF-FFFF-8FFF-AFFF-FFFFFFFFFFFF");
    }

    #[test]
    fn markup_in_a_name_stays_text() {
        assert_eq!(escape("<A&B>"), "&lt;A&amp;B&gt;");
    }
}
