//! Who vouches for the servers of a test?

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, date_time_ymd,
};
use tempfile::TempDir;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

/// The number of the next certificate.
static SERIAL: AtomicU64 = AtomicU64::new(1);

/// An authority of a test's own, with a directory for what it makes.
pub struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM files that live as long as their authority.
#[derive(Debug, Clone)]
pub struct Certified {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Its number with its authority.
    pub serial: u64,
}

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Now.
    Now,
    /// No longer.
    Past,
    /// Now, and no longer than authorities vouch for.
    Month,
    /// For a few seconds more.
    Brief,
    /// Not yet.
    Future,
}

impl Authority {
    /// An authority nobody has heard of.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(directory.path().join("ca.pem"), certificate.pem()).expect("ca.pem is written");
        Self {
            directory,
            issuer: Issuer::new(params, key),
        }
    }

    /// The PEM file with its own certificate.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Vouches for a name or address.
    #[must_use]
    pub fn certify(&self, name: &str, validity: Validity) -> Certified {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        match validity {
            Validity::Now => {}
            Validity::Brief => params.not_after = (SystemTime::now() + 4 * SECOND).into(),
            Validity::Month => {
                let now = SystemTime::now();
                params.not_before = (now - DAY).into();
                params.not_after = (now + 30 * DAY).into();
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }
            Validity::Past => {
                params.not_before = date_time_ymd(2001, 1, 1);
                params.not_after = date_time_ymd(2002, 1, 1);
            }
            Validity::Future => params.not_before = date_time_ymd(4000, 1, 1),
        }
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(serial.into());
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let file = |end: &str| self.directory.path().join(format!("{name}-{validity:?}.{end}"));
        let certified = Certified {
            certificate: file("pem"),
            key: file("key"),
            serial,
        };
        fs::write(&certified.certificate, certificate.pem()).expect("the certificate is written");
        fs::write(&certified.key, key.serialize_pem()).expect("the key is written");
        certified
    }

    /// Takes its word for these back: the PEM file with the list.
    #[must_use]
    pub fn revoke(&self, certificates: &[&Certified]) -> PathBuf {
        let revoked = |certified: &&Certified| RevokedCertParams {
            serial_number: certified.serial.into(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: certificates.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let file = self.directory.path().join("revoked.crl");
        let list = list
            .signed_by(&self.issuer)
            .expect("a list")
            .pem()
            .expect("a list in PEM");
        fs::write(&file, list).expect("the list is written");
        file
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("directory", &self.directory).finish()
    }
}
