//! Making keys and certificates: the profile of the root and of the server certificate.
//!
//! What enters: names, lifetimes, the time, the root with its key. What leaves: DER and PEM in memory.
//! What it never does: touch a file, or sign anything but these two kinds of certificate.

use crate::name::canonical;
use crate::{Ca, Error, Name, Result};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls_pki_types::CertificateDer;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;

/// The longest life of a server certificate in days: some clients refuse more than 398.
pub const MAX_SERVER_DAYS: u32 = 397;
/// The longest life of a root in days, twenty years.
pub const MAX_CA_DAYS: u32 = 7305;

/// So that a client whose clock is a little late accepts a fresh certificate.
const SERVER_BACKDATE: Duration = Duration::from_secs(3600);
/// More than a server certificate's, since a board without a battery for its clock can wake up hours in the past.
const CA_BACKDATE: Duration = Duration::from_secs(24 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// X.520's upper bound for a common name.
const LONGEST_COMMON_NAME: usize = 64;

/// A server certificate and its key, not yet on disk.
pub(crate) struct Pair {
    pub certificate: CertificateDer<'static>,
    pub key_pem: String,
}

/// A fresh ECDSA P-256 key.
pub(crate) fn key() -> Result<KeyPair> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Error::crypto("make a key"))
}

/// A self-signed root over `key`.
pub(crate) fn root(common_name: &str, days: u32, key: &KeyPair, now: SystemTime) -> Result<CertificateDer<'static>> {
    check_days(days, MAX_CA_DAYS, "a certificate authority")?;
    check_common_name(common_name)?;
    let mut params = params(common_name, CA_BACKDATE, days, now)?;
    // Firefox groups its list of authorities by organisation.
    params.distinguished_name.push(DnType::OrganizationName, "Duplex");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(key).map_err(Error::crypto("make the certificate authority"))?;
    Ok(certificate.into())
}

/// A server certificate for `names` with a fresh key, signed by `ca`; it ends with the root if that ends sooner.
pub(crate) fn server(names: &[Name], days: u32, ca: &Ca, ca_key: KeyPair, now: SystemTime) -> Result<Pair> {
    check_days(days, MAX_SERVER_DAYS, "a server certificate")?;
    let first = names.first().ok_or(Error::NoNamesGiven)?.to_string();
    // Clients read the alternative names alone; the common name is for people.
    let common_name = host(names).unwrap_or(&first);
    let common_name = if common_name.len() > LONGEST_COMMON_NAME { "Duplex server" } else { common_name };
    let mut params = params(common_name, SERVER_BACKDATE, days, now)?;
    params.not_after = params.not_after.min(OffsetDateTime::from(ca.not_after()));
    params.subject_alt_names = canonical(names).iter().map(to_san).collect::<Result<_>>()?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let issuer = Issuer::from_ca_cert_der(ca.der(), ca_key).map_err(Error::crypto("use the certificate authority"))?;
    let key = key()?;
    let certificate = params.signed_by(&key, &issuer).map_err(Error::crypto("sign the server certificate"))?;
    Ok(Pair { certificate: certificate.into(), key_pem: key.serialize_pem() })
}

/// A name by which people tell this root from others, also from an older one of the same host.
pub(crate) fn common_name(host: Option<&str>, key: &KeyPair) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
    let short: String = digest.as_ref().iter().take(3).map(|byte| format!("{byte:02X}")).collect();
    match host {
        Some(host) if host.len() <= 40 => format!("Duplex CA {host} {short}"),
        _ => format!("Duplex CA {short}"),
    }
}

/// The name people know the machine by: the first that is not the same on every machine.
pub(crate) fn host(names: &[Name]) -> Option<&str> {
    names.iter().filter_map(Name::dns).find(|host| *host != "localhost" && !host.starts_with('*'))
}

fn params(common_name: &str, backdate: Duration, days: u32, now: SystemTime) -> Result<CertificateParams> {
    let begin = now.checked_sub(backdate).ok_or(Error::Clock)?;
    // Both ends are inclusive, hence the second less.
    let end = begin.checked_add(DAY * days - Duration::from_secs(1)).ok_or(Error::Clock)?;
    let mut params = CertificateParams::default();
    params.not_before = whole_seconds(begin)?;
    params.not_after = whole_seconds(end)?;
    params.serial_number = Some(serial()?);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

fn whole_seconds(time: SystemTime) -> Result<OffsetDateTime> {
    let time = OffsetDateTime::from(time).truncate_to_second();
    if (1970..=9000).contains(&time.year()) { Ok(time) } else { Err(Error::Clock) }
}

fn serial() -> Result<SerialNumber> {
    let mut bytes = [0u8; 16];
    SystemRandom::new().fill(&mut bytes).map_err(Error::crypto("get random numbers"))?;
    Ok(SerialNumber::from_slice(&bytes))
}

fn to_san(name: &Name) -> Result<SanType> {
    match name {
        Name::Dns(host) => {
            Ia5String::try_from(host.as_str()).map(SanType::DnsName).map_err(Error::crypto("write a host name"))
        }
        Name::Ip(address) => Ok(SanType::IpAddress(*address)),
    }
}

fn check_days(days: u32, max: u32, what: &'static str) -> Result<()> {
    if (1..=max).contains(&days) { Ok(()) } else { Err(Error::Days { days, max, what }) }
}

fn check_common_name(value: &str) -> Result<()> {
    let length = value.chars().count();
    if (1..=LONGEST_COMMON_NAME).contains(&length) && !value.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::CommonName { value: value.to_owned() })
}
