//! What does TLS ask of the data plane?

use isobar_plan::{CertificateFiles, ServerTrust, Sessions, TicketKeys, WithoutCertificate};

use super::certificates;
use crate::document::{CaFile, Certificate, ClientCertificates, HostField, Hsts, ListenerTls, UpstreamTls, Verify};
use crate::problem::{Path, Problem, Problems};

pub(super) fn tls(written: &ListenerTls, at: Path<'_>, problems: &mut Problems) -> isobar_plan::ListenerTls {
    let ListenerTls {
        certificates,
        self_signed,
        unknown_name,
        min_version,
        tickets,
        ticket_keys,
        client_certificates,
        hsts,
    } = written;
    if certificates.0.is_empty() && self_signed.0.is_empty() {
        let problem = Problem::error(at, "there is no certificate").on_key();
        problems.push(problem.help("certificates: { certificate: /etc/isobar/site.pem, key: /etc/isobar/site.key }"));
    }
    if !tickets && !ticket_keys.0.is_empty() {
        let problem = Problem::error(at.key("ticket_keys"), "there are keys for tickets, and no tickets").on_key();
        problems.push(problem.help("leave `tickets: false` out"));
    }
    check_names(&self_signed.0, at.key("self_signed"), problems);
    isobar_plan::ListenerTls {
        certificates: certificates.0.iter().map(certificate).collect(),
        self_signed: self_signed
            .0
            .iter()
            .map(|name| HostField::as_str(name).into())
            .collect(),
        unknown_name: *unknown_name,
        oldest: *min_version,
        tickets: match (tickets, &ticket_keys.0[..]) {
            (false, _) => TicketKeys::Off,
            (true, []) => TicketKeys::Own,
            (true, files) => TicketKeys::Files(files.iter().map(path).collect()),
        },
        clients: client_certificates.as_ref().map(clients),
        hsts: hsts.as_ref().map(|hsts| {
            let Hsts {
                max_age,
                include_subdomains,
                preload,
            } = hsts;
            isobar_plan::Hsts {
                max_age: max_age.duration(),
                include_subdomains: *include_subdomains,
                preload: *preload,
            }
        }),
    }
}

fn check_names(names: &[HostField], at: Path<'_>, problems: &mut Problems) {
    for (index, name) in names.iter().enumerate() {
        let is_address = name.as_str().parse::<std::net::IpAddr>().is_ok();
        if !is_address && name.as_str().contains([':', '[', ']']) {
            let problem = Problem::error(
                at.index(index),
                "a certificate is for a name or an address, without a port",
            );
            problems.push(problem);
        }
    }
}

fn certificate(written: &Certificate) -> CertificateFiles {
    let Certificate { certificate, key, ocsp } = written;
    CertificateFiles {
        certificate: path(certificate),
        key: path(key.as_ref().unwrap_or(certificate)),
        ocsp: ocsp.as_ref().map(path),
    }
}

fn clients(written: &ClientCertificates) -> isobar_plan::ClientCertificates {
    let ClientCertificates {
        ca,
        crl,
        required,
        forward,
    } = written;
    isobar_plan::ClientCertificates {
        authorities: path(ca),
        revoked: crl.as_ref().map(path),
        without: if *required {
            WithoutCertificate::Refused
        } else {
            WithoutCertificate::Served
        },
        forward: *forward,
    }
}

/// How connections to servers are secured.
pub(super) fn to_servers(written: &UpstreamTls, at: Path<'_>, problems: &mut Problems) -> isobar_plan::UpstreamTls {
    let UpstreamTls {
        server_name,
        ca,
        verify,
        certificate,
        key,
        min_version,
        session_reuse,
    } = written;
    certificates::check_trust(Some(*verify), ca.as_ref(), at, problems);
    certificates::check_name(server_name.as_ref(), at, problems);
    if *verify == Verify::None {
        let message =
            "any certificate will do: whoever sits between can answer in a server's place, and read what it is sent";
        let problem = Problem::warning(at.key("verify"), message);
        problems.push(
            problem.help("`ca` names authorities of your own, and `server_name` what their certificates are for"),
        );
    }
    if key.is_some() && certificate.is_none() {
        let problem = Problem::error(at.key("key"), "there is a key, and no certificate that it is for").on_key();
        problems.push(problem.help("add `certificate`, or remove the key"));
    }
    isobar_plan::UpstreamTls {
        server_name: server_name.as_ref().map(|name| HostField::as_str(name).into()),
        trust: match (verify, ca) {
            (Verify::None, _) => ServerTrust::Anyone,
            (Verify::Full, Some(file)) => ServerTrust::File(path(file)),
            (Verify::Full, None) => ServerTrust::System,
        },
        certificate: certificate.as_ref().map(|certificate| CertificateFiles {
            certificate: path(certificate),
            key: path(key.as_ref().unwrap_or(certificate)),
            ocsp: None,
        }),
        oldest: *min_version,
        sessions: if *session_reuse {
            Sessions::Reused
        } else {
            Sessions::Fresh
        },
    }
}

fn path(file: &CaFile) -> Box<str> {
    file.as_str().into()
}
