//! Which certificate is shown under which name?

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::pem_reason;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, SignatureScheme};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// Certificates in one chain at most.
const MAX_CHAIN: usize = 16;

/// A certificate with its chain and key, and the names it is for.
#[derive(Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    names: Arc<[Box<str>]>,
    valid_from: SystemTime,
    valid_until: SystemTime,
}

/// Why a certificate is of no use. The fault of its files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The file of the certificate is not PEM.
    #[error("the certificate is not a PEM file: {0}")]
    ChainNotPem(&'static str),
    /// No certificate is in it.
    #[error("the certificate's file has no certificate in it")]
    NoCertificate,
    /// It is far too long for what it should be.
    #[error("the certificate's file has more than {MAX_CHAIN} certificates: is it one of authorities?")]
    ChainTooLong,
    /// It cannot be read.
    #[error("the certificate cannot be read: {0}")]
    Malformed(String),
    /// The file of the key is not PEM.
    #[error("the key is not a PEM file: {0}")]
    KeyNotPem(&'static str),
    /// No key is in it that could be used.
    #[error("the key's file has no private key in it that is not encrypted")]
    NoKey,
    /// The key is of an unknown kind.
    #[error("the key cannot be used: {0}")]
    BadKey(String),
    /// It is the key of another certificate.
    #[error("the key does not belong to the certificate")]
    Mismatch,
}

impl Certificate {
    /// Reads a chain, the server's own certificate first, and its key from PEM texts. Both may be the same text.
    ///
    /// Whether it is valid now, and whether clients will trust it, is not looked at.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).take(MAX_CHAIN + 1).collect();
        let chain = chain.map_err(|error| CertificateError::ChainNotPem(pem_reason(&error)))?;
        let Some(own) = chain.first() else {
            return Err(CertificateError::NoCertificate);
        };
        if chain.len() > MAX_CHAIN {
            return Err(CertificateError::ChainTooLong);
        }
        let about = About::read(own)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            rustls::pki_types::pem::Error::NoItemsFound => CertificateError::NoKey,
            other => CertificateError::KeyNotPem(pem_reason(&other)),
        })?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CertificateError::Mismatch,
            other => CertificateError::BadKey(other.to_string()),
        })?;
        Ok(Self {
            key: Arc::new(key),
            names: about.names.into(),
            valid_from: about.valid_from,
            valid_until: about.valid_until,
        })
    }

    /// Makes a certificate for these names up that nobody vouches for, and a key with it.
    ///
    /// *Errors*: a name cannot stand in a certificate.
    pub fn self_signed(names: &[Box<str>]) -> Result<Self, CertificateError> {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names).map_err(|error| malformed(&error))?;
        Self::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes())
    }

    /// The names it is for, in lower case; `*.` begins one that stands for any single label.
    #[must_use]
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// When it begins to be valid.
    #[must_use]
    pub fn valid_from(&self) -> SystemTime {
        self.valid_from
    }

    /// When it ends to be valid.
    #[must_use]
    pub fn valid_until(&self) -> SystemTime {
        self.valid_until
    }

    /// Sends this with every handshake, as the authority's word that the certificate is still good (OCSP, DER).
    #[must_use]
    pub fn with_staple(self, staple: Vec<u8>) -> Self {
        let mut key = CertifiedKey::clone(&self.key);
        key.ocsp = Some(staple);
        Self {
            key: Arc::new(key),
            ..self
        }
    }

    /// What shows it to servers that ask for one.
    pub(super) fn for_servers(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(CertifiedKey::clone(&self.key)))
    }

    fn suits(&self, schemes: &[SignatureScheme]) -> bool {
        self.key.key.choose_scheme(schemes).is_some()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// What a certificate says of itself.
struct About {
    names: Vec<Box<str>>,
    valid_from: SystemTime,
    valid_until: SystemTime,
}

impl About {
    fn read(certificate: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let (_, parsed) = parse_x509_certificate(certificate).map_err(|error| malformed(&error))?;
        let mut names = Vec::new();
        if let Some(extension) = parsed.subject_alternative_name().map_err(|error| malformed(&error))? {
            for name in &extension.value.general_names {
                match name {
                    GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase().into()),
                    GeneralName::IPAddress(bytes) => names.extend(address(bytes)),
                    _ => {}
                }
            }
        }
        let time = |seconds: i64| {
            let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            SystemTime::UNIX_EPOCH.checked_add(since)
        };
        let validity = parsed.validity();
        Ok(Self {
            names,
            valid_from: time(validity.not_before.timestamp()).unwrap_or(SystemTime::UNIX_EPOCH),
            // A date that the clock cannot show is as good as never.
            valid_until: time(validity.not_after.timestamp()).unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }
}

/// Whether the time of a certificate is over; one that cannot be read is over.
pub(crate) fn has_expired(certificate: &CertificateDer<'_>, now: SystemTime) -> bool {
    About::read(certificate).map_or(true, |about| about.valid_until < now)
}

fn malformed(error: &impl fmt::Display) -> CertificateError {
    CertificateError::Malformed(error.to_string())
}

fn address(bytes: &[u8]) -> Option<Box<str>> {
    let address = match *bytes {
        [a, b, c, d] => std::net::IpAddr::from([a, b, c, d]),
        _ => std::net::IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some(address.to_string().into())
}

/// What is shown to a client that asks for a name no certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnknownName {
    /// The first certificate.
    Default,
    /// Nothing: the handshake fails.
    Refuse,
}

/// Certificates by the names they are for.
#[derive(Debug)]
pub(super) struct ByName {
    certificates: Vec<Certificate>,
    exact: HashMap<Box<str>, Vec<usize>>,
    /// By what follows the first label of the name.
    wildcard: HashMap<Box<str>, Vec<usize>>,
    unknown: UnknownName,
}

impl ByName {
    pub(super) fn new(certificates: Vec<Certificate>, unknown: UnknownName) -> Self {
        let (mut exact, mut wildcard) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for (at, certificate) in certificates.iter().enumerate() {
            for name in certificate.names() {
                match name.strip_prefix("*.") {
                    Some(rest) => wildcard.entry(rest.into()).or_default().push(at),
                    None => exact.entry(name.clone()).or_default().push(at),
                }
            }
        }
        Self {
            certificates,
            exact,
            wildcard,
            unknown,
        }
    }

    /// The key to answer with; none: nobody should be answered. Of several certificates for one name it is the first that
    /// the client can verify.
    ///
    /// *Cost*: one or two look-ups, and an allocation where the name has upper-case letters.
    pub(super) fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let Some(name) = name else {
            return first(&mut self.certificates.iter(), schemes);
        };
        let lower;
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = name.to_ascii_lowercase();
            &lower
        } else {
            name
        };
        let rest = name.split_once('.').map_or("", |(_, rest)| rest);
        match self.exact.get(name).or_else(|| self.wildcard.get(rest)) {
            Some(fitting) => first(&mut fitting.iter().filter_map(|&at| self.certificates.get(at)), schemes),
            None if self.unknown == UnknownName::Refuse => None,
            None => self.choose(None, schemes),
        }
    }
}

/// The first that a client with these schemes can verify; where there is none, the first at all: the library says then what
/// does not fit.
fn first(among: &mut dyn Iterator<Item = &Certificate>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
    let mut fallback = None;
    for certificate in among {
        if certificate.suits(schemes) {
            return Some(Arc::clone(&certificate.key));
        }
        fallback = fallback.or(Some(certificate));
    }
    fallback.map(|certificate| Arc::clone(&certificate.key))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm};

    use super::*;

    fn pem(names: &[&str], algorithm: &'static SignatureAlgorithm) -> (String, String) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn certificate(names: &[&str]) -> Certificate {
        let (chain, key) = pem(names, &PKCS_ECDSA_P256_SHA256);
        Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
    }

    #[test]
    fn a_certificate_knows_its_names_and_its_time() {
        let certificate = certificate(&["Example.com", "*.example.com", "127.0.0.1", "::1"]);
        let names: Vec<_> = certificate.names().iter().map(|name| &**name).collect();
        assert_eq!(names, ["example.com", "*.example.com", "127.0.0.1", "::1"]);
        let now = SystemTime::now();
        assert!(certificate.valid_from() < now && now < certificate.valid_until());
    }

    #[test]
    fn files_of_no_use_are_told_apart() {
        let (chain, key) = pem(&["a"], &PKCS_ECDSA_P256_SHA256);
        let (_, other_key) = pem(&["a"], &PKCS_ECDSA_P256_SHA256);
        let check = |chain: &str, key: &str, expected: &str| {
            let error = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
        };
        check("", &key, "the certificate's file has no certificate in it");
        check(&key, &key, "the certificate's file has no certificate in it");
        check(
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
            &key,
            "the certificate is not a PEM file",
        );
        check(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &key,
            "the certificate cannot be read",
        );
        check(
            &chain.repeat(17),
            &key,
            "the certificate's file has more than 16 certificates",
        );
        check(&chain, "", "the key's file has no private key in it");
        check(&chain, &chain, "the key's file has no private key in it");
        check(&chain, &other_key, "the key does not belong to the certificate");
        let both = format!("{key}{chain}");
        assert!(Certificate::from_pem(both.as_bytes(), both.as_bytes()).is_ok());
    }

    /// A key that lost its line ends is one long line, which the library would show as what is wrong.
    #[test]
    fn errors_show_nothing_of_keys() {
        let (chain, key) = pem(&["a"], &PKCS_ECDSA_P256_SHA256);
        let secret = key.lines().nth(1).unwrap();
        for broken in [
            key.replace('\n', ""),
            key.replace('\n', " "),
            key.replace("-----END", "----END"),
        ] {
            assert!(broken.contains(secret));
            for (chain, key) in [(&chain, &broken), (&broken, &broken)] {
                let error = Certificate::from_pem(chain.as_bytes(), key.as_bytes())
                    .unwrap_err()
                    .to_string();
                let bytes = format!("{:?}", secret.as_bytes());
                let shown = bytes.trim_matches(['[', ']']).get(..30).unwrap();
                assert!(!error.contains(shown) && !error.contains(&secret[..10]), "{error}");
            }
        }
    }

    #[test]
    fn the_certificate_for_a_name_is_shown() {
        let list = || ["default.test", "exact.test", "*.wild.test", "a.wild.test"].map(|name| certificate(&[name]));
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
        let check = |unknown, name: Option<&str>, expected: Option<usize>| {
            let certificates = list();
            let keys: Vec<_> = certificates
                .iter()
                .map(|certificate| Arc::clone(&certificate.key))
                .collect();
            let found = ByName::new(certificates.into(), unknown).choose(name, &schemes);
            let found = found.map(|found| keys.iter().position(|key| Arc::ptr_eq(key, &found)).unwrap());
            assert_eq!(found, expected, "{name:?}");
        };
        for unknown in [UnknownName::Default, UnknownName::Refuse] {
            check(unknown, None, Some(0));
            check(unknown, Some("exact.test"), Some(1));
            check(unknown, Some("EXACT.test"), Some(1));
            check(unknown, Some("b.wild.test"), Some(2));
            check(unknown, Some("a.wild.test"), Some(3));
        }
        for other in ["other.test", "wild.test", "c.b.wild.test", "test", ""] {
            check(UnknownName::Default, Some(other), Some(0));
            check(UnknownName::Refuse, Some(other), None);
        }
    }

    #[test]
    fn of_two_keys_for_one_name_the_one_is_used_that_the_client_can_verify() {
        let ecdsa = certificate(&["a.test"]);
        let (chain, key) = pem(&["a.test"], &PKCS_RSA_SHA256);
        let rsa = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        let keys = [Arc::clone(&ecdsa.key), Arc::clone(&rsa.key)];
        let both = ByName::new(vec![ecdsa, rsa], UnknownName::Refuse);
        let check = |schemes: &[SignatureScheme], expected: usize| {
            let found = both.choose(Some("a.test"), schemes).unwrap();
            assert!(Arc::ptr_eq(&found, &keys[expected]), "{schemes:?}");
        };
        check(
            &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256],
            0,
        );
        check(&[SignatureScheme::RSA_PSS_SHA256], 1);
        check(&[SignatureScheme::ED25519], 0);
    }
}
