//! What does a proxy show of itself under TLS, and what does the client offer and believe?
//!
//! The certificate is made anew for each run (ECDSA on P-256, signed by itself). The client offers one version, one suite
//! and one key exchange, so that every proxy does the same work.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// The name that clients ask for.
pub(super) const NAME: &str = "bench.test";

/// What is offered for the exchange of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyExchange {
    /// X25519, which all peers know.
    X25519,
    /// X25519MLKEM768, which OpenSSL knows from 3.5 on.
    Hybrid,
}

/// A certificate with its key, in a file, and what clients compare with it.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    file: PathBuf,
    certificate: CertificateDer<'static>,
}

impl Identity {
    /// Makes a certificate, and writes it with its key into a file of `directory`.
    pub(super) fn create(directory: &Path) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).context("failed to make a certificate")?;
        let file = directory.join("site.pem");
        let text = made.cert.pem() + &made.signing_key.serialize_pem();
        fs::write(&file, text).with_context(|| format!("failed to write {}", file.display()))?;
        Ok(Self {
            file,
            certificate: made.cert.der().clone(),
        })
    }

    /// The file, in PEM: the certificate, then the key.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// What a client offers: TLS 1.3, AES-128 with GCM, one key exchange, one protocol (ALPN), and no ticket of before.
    pub(super) fn client(&self, exchange: KeyExchange, protocol: &str) -> Result<Arc<ClientConfig>> {
        let group = match exchange {
            KeyExchange::X25519 => aws_lc_rs::kx_group::X25519,
            KeyExchange::Hybrid => aws_lc_rs::kx_group::X25519MLKEM768,
        };
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![group],
            ..aws_lc_rs::default_provider()
        });
        let believed = Arc::new(Pinned {
            certificate: self.certificate.clone(),
            provider: Arc::clone(&provider),
            is_proven: AtomicBool::new(false),
        });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(believed)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// Believes one certificate, compared byte by byte, and the signature of the first handshake that its key made.
///
/// To verify every signature would make the client the slowest of all, and nothing of a proxy is judged by it: later
/// handshakes still have to end with what both sides have agreed on.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
    /// A signature was verified.
    is_proven: AtomicBool,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *certificate == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.is_proven.load(Ordering::Relaxed) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        let valid = crypto::verify_tls13_signature(message, certificate, signed, algorithms)?;
        self.is_proven.store(true, Ordering::Relaxed);
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
