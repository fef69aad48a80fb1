//! What stands in the files that a configuration names, and is it of use?
//!
//! A configuration has them looked at before it counts as valid, and a plan is completed before it is served. They are read
//! again with every reload. Only what secures connections of clients and those to servers the data plane reads itself,
//! because it keeps in use what it read before when files are of no use any more. Errors name the file and never what stands
//! in it.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use isobar_config::{CertificatePaths, Needed, Unusable, check_overrides, check_weights, read_overrides, read_weights};
use isobar_engine::named_file::read;
use isobar_net::tls;
use isobar_plan::{CheckTls, HealthTls, Plan, Secret, StickyBy, Trust};

use crate::failure::io_reason;
use crate::passwords;

/// Bytes of a secret at least: as many as its signatures have.
const MIN_SECRET: usize = 16;

/// Bytes of a file with a secret at most. More is a mistake in the path.
const MAX_SECRET: u64 = 4096;

/// Bytes of a file with certificates at most; all the authorities of a usual system take some 250 KB.
const MAX_CERTIFICATES: u64 = 16 * 1024 * 1024;

/// Bytes of a file with rates by key at most.
const MAX_OVERRIDES: u64 = 64 * 1024 * 1024;

/// What follows where connections to the servers of an upstream cannot be secured as asked.
const FAILS: &str = "requests to this upstream are answered with 502 until it can be used";

/// Looks whether what a configuration needs can be used, without changing anything.
pub(crate) fn look(needed: Needed<'_>) -> Result<(), Unusable> {
    match needed {
        Needed::Secret(file) => secret(file).map(drop),
        Needed::Authorities(file) => authorities(file).map(drop),
        Needed::SystemAuthorities => system_authorities(None),
        Needed::Certificate(paths) => certificate(
            paths,
            "its names are not served over TLS until it can be used",
            "clients",
        ),
        Needed::OwnCertificate(paths) => certificate(paths, FAILS, "servers"),
        Needed::ServerAuthorities(Some(file)) => {
            authorities(file)
                .map(drop)
                .map_err(|Unusable { message, .. }| Unusable {
                    message,
                    help: Some(FAILS.to_owned()),
                })
        }
        Needed::ServerAuthorities(None) => system_authorities(Some(FAILS)),
        Needed::ClientAuthorities(file) => authorities(file).map(drop),
        Needed::Revoked { lists, authorities } => revoked(lists, authorities),
        Needed::TicketKey(file) => ticket_key(file),
        Needed::Users(file) => passwords::users(file).map(drop),
        Needed::Password(file) => passwords::password(file).map(drop),
        Needed::Overrides { file, key, algorithm } => {
            let checked = check_overrides(&overrides(file)?, key, algorithm);
            checked.map_err(|why| not_overrides(file, &why))
        }
        Needed::Weights { file, key } => {
            let checked = check_weights(&weights(file)?, key);
            checked.map_err(|why| not_weights(file, &why))
        }
        Needed::AccessLog(file) => access_log(file),
    }
}

/// Looks as [`look`] does, but for certificates and for what secures connections to servers: of those that cannot be used the data
/// plane tells, which may have earlier ones.
pub(crate) fn look_to_serve(needed: Needed<'_>) -> Result<(), Unusable> {
    match needed {
        Needed::Certificate(_) | Needed::OwnCertificate(_) | Needed::ServerAuthorities(_) => Ok(()),
        other => look(other),
    }
}

/// Looks only at what limits need: who tries a configuration elsewhere has neither its certificates nor its secrets.
pub(crate) fn look_at_rates(needed: Needed<'_>) -> Result<(), Unusable> {
    match needed {
        Needed::Overrides { .. } => look(needed),
        _ => Ok(()),
    }
}

/// Reads into the plan what stands in its files.
///
/// *Errors*: a file cannot be used; in a line.
pub(crate) fn fill_in(plan: &mut Plan) -> Result<(), String> {
    fill_in_rates(plan)?;
    let mut known: HashMap<Box<str>, Arc<[u8]>> = HashMap::new();
    for upstream in &mut plan.upstreams {
        let of_upstream = |Unusable { message, help }| {
            let help = help.map(|help| format!("; {help}")).unwrap_or_default();
            format!("{message} (upstream {}){help}", upstream.name)
        };
        if let Some(StickyBy::Cookie(cookie)) = upstream.sticky.as_mut().map(|sticky| &mut sticky.by) {
            let secrets: Result<_, _> = cookie.secret_files.iter().map(|file| secret(file)).collect();
            cookie.secrets = secrets.map_err(of_upstream)?;
        }
        if let Some(fair) = &mut upstream.fair_share
            && let Some(file) = fair.weights_file.clone()
        {
            let read = read_weights(&weights(&file).map_err(of_upstream)?, &fair.key);
            let read = read.map_err(|why| of_upstream(not_weights(&file, &why)))?;
            Arc::make_mut(fair).weights_read = read.into();
        }
        for check in &mut upstream.health {
            let of_file = |tls: &CheckTls| matches!(tls, CheckTls::Own(own) if matches!(own.trust, Trust::File(_)));
            // Only those are made anew that have a file.
            if !check.tls.as_ref().is_some_and(of_file) {
                continue;
            }
            let Some(CheckTls::Own(HealthTls {
                trust: Trust::File(wanted),
                ..
            })) = &mut Arc::make_mut(check).tls
            else {
                continue;
            };
            wanted.pem = match known.get(&wanted.file) {
                Some(pem) => Arc::clone(pem),
                None => authorities(&wanted.file).map_err(of_upstream)?,
            };
            known.insert(wanted.file.clone(), Arc::clone(&wanted.pem));
        }
    }
    for store in &mut plan.stores {
        let of_store = |Unusable { message, .. }| format!("{message} (store {})", store.name);
        if let Some(login) = &mut store.login {
            login.password = passwords::password(&login.file).map_err(of_store)?;
        }
        if let Some(tls) = &mut store.tls
            && let Some(file) = &tls.ca
        {
            tls.pem = authorities(file).map_err(of_store)?;
        }
    }
    for listener in &mut plan.forward {
        let name = &listener.name;
        let of_listener = |Unusable { message, help }| {
            let help = help.map(|help| format!("; {help}")).unwrap_or_default();
            format!("{message} (listener {name}){help}")
        };
        if let Some(users) = &mut listener.users {
            users.fill_in(passwords::users(&users.file).map_err(of_listener)?);
        }
        if let Some(login) = listener.parent.as_mut().and_then(|parent| parent.login.as_mut()) {
            login.password = passwords::password(&login.file).map_err(of_listener)?;
        }
    }
    Ok(())
}

/// Reads into the plan the rates by key that stand in files of limits, and nothing else.
///
/// *Errors*: a file cannot be used; in a line.
pub(crate) fn fill_in_rates(plan: &mut Plan) -> Result<(), String> {
    for limit in &mut plan.limits {
        if let Some(file) = &limit.overrides_file {
            let of_limit = |Unusable { message, .. }| format!("{message} (limit {})", limit.name);
            let text = overrides(file).map_err(of_limit)?;
            let read = read_overrides(&text, &limit.counting);
            limit.overrides_read = read.map_err(|why| of_limit(not_overrides(file, &why)))?.into();
            limit.fit_logs();
        }
    }
    Ok(())
}

/// The text of a file with rates by key.
fn overrides(file: &str) -> Result<String, Unusable> {
    let bytes = read(file, MAX_OVERRIDES).map_err(|error| not_overrides(file, &io_reason(&error)))?;
    String::from_utf8(bytes).map_err(|_| not_overrides(file, "it is not UTF-8"))
}

fn not_overrides(file: &str, why: &str) -> Unusable {
    Unusable {
        message: format!("failed to read the rates in {file}: {why}"),
        help: None,
    }
}

/// What stands in a file with weights.
fn weights(file: &str) -> Result<String, Unusable> {
    let bytes = read(file, MAX_OVERRIDES).map_err(|error| not_weights(file, &io_reason(&error)))?;
    String::from_utf8(bytes).map_err(|_| not_weights(file, "it is not UTF-8"))
}

fn not_weights(file: &str, why: &str) -> Unusable {
    Unusable {
        message: format!("failed to read the weights in {file}: {why}"),
        help: None,
    }
}

/// The secret in a file, without the line end behind it.
fn secret(file: &str) -> Result<Secret, Unusable> {
    let unusable = |why: &str, help: Option<String>| Unusable {
        message: format!("failed to read the secret {file}: {why}"),
        help,
    };
    let help = || Some(format!("make one with `openssl rand -hex 32 > {file}`"));
    let bytes = read(file, MAX_SECRET).map_err(|error| {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        unusable(&io_reason(&error), help().filter(|_| is_missing))
    })?;
    let secret = bytes.trim_ascii_end();
    if secret.len() < MIN_SECRET {
        let why = format!("a secret has {MIN_SECRET} bytes at least, this one {}", secret.len());
        return Err(unusable(&why, help()));
    }
    Ok(Secret(secret.into()))
}

/// The certificates of authorities in a PEM file, all of which can be used.
fn authorities(file: &str) -> Result<Arc<[u8]>, Unusable> {
    let unusable = |why: &str| Unusable {
        message: format!("failed to read the certificate authorities in {file}: {why}"),
        help: None,
    };
    let pem = read(file, MAX_CERTIFICATES).map_err(|error| unusable(&io_reason(&error)))?;
    tls::TlsClient::new(tls::Trust::Pem(&pem), &[]).map_err(|error| unusable(&error.to_string()))?;
    Ok(pem.into())
}

/// Whether the system has authorities; `help` is what to say where it has none.
fn system_authorities(help: Option<&str>) -> Result<(), Unusable> {
    let usable = tls::TlsClient::new(tls::Trust::System, &[]).map(drop);
    usable.map_err(|error| Unusable {
        message: error.to_string(),
        help: help.map(str::to_owned),
    })
}

/// Whether a certificate can be shown to `whom`, and what follows if not. One that has expired can.
fn certificate(paths: CertificatePaths<'_>, follows: &str, whom: &str) -> Result<(), Unusable> {
    let CertificatePaths { certificate, key, ocsp } = paths;
    let unusable = |why: &str| Unusable {
        message: format!("failed to read the certificate {certificate}: {why}"),
        help: Some(follows.to_owned()),
    };
    let said = |file: &str| {
        read(file, MAX_CERTIFICATES).map_err(|error| match io_reason(&error) {
            why if file == certificate => unusable(&why),
            why => unusable(&format!("{file}: {why}")),
        })
    };
    let (chain, secret) = (said(certificate)?, said(key)?);
    ocsp.map(said).transpose()?;
    let read = tls::Certificate::from_pem(&chain, &secret).map_err(|error| unusable(&error.to_string()))?;
    if read.valid_until() < SystemTime::now() {
        return Err(Unusable {
            message: format!("the certificate {certificate} has expired"),
            help: Some(format!("{whom} will not accept it")),
        });
    }
    Ok(())
}

/// Whether lists of certificates that are good no more can be used.
fn revoked(file: &str, authorities: &str) -> Result<(), Unusable> {
    let unusable = |why: &str| Unusable {
        message: format!("failed to read the revoked certificates in {file}: {why}"),
        help: None,
    };
    let pem = read(file, MAX_CERTIFICATES).map_err(|error| unusable(&io_reason(&error)))?;
    if pem.trim_ascii().is_empty() {
        return Err(unusable("it is empty"));
    }
    // Of authorities that cannot be read is told where they are named.
    let Ok(authorities) = read(authorities, MAX_CERTIFICATES) else {
        return Ok(());
    };
    match tls::check_clients(&authorities, &pem) {
        Err(error @ tls::TlsServerError::Revoked(_)) => Err(unusable(&error.to_string())),
        _ => Ok(()),
    }
}

/// Whether tickets can be made with a key.
fn ticket_key(file: &str) -> Result<(), Unusable> {
    let unusable = |why: &str| Unusable {
        message: format!("failed to read the key for tickets in {file}: {why}"),
        help: Some(format!("make one with `openssl rand -hex 32 > {file}`")),
    };
    let key = read(file, MAX_SECRET).map_err(|error| unusable(&io_reason(&error)))?;
    let tickets = tls::Tickets::shared(&[key.trim_ascii_end()], b"");
    tickets.map(drop).map_err(|error| unusable(&error.to_string()))
}

/// Whether a log can be there. To open it would make it, so permissions show only when it is served.
fn access_log(file: &str) -> Result<(), Unusable> {
    let path = Path::new(file);
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let found = match path.metadata() {
        Ok(found) if found.is_dir() => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        Ok(_) => Ok(()),
        Err(_) => directory.unwrap_or(Path::new(".")).metadata().map(drop),
    };
    found.map_err(|error| Unusable {
        message: format!("failed to open the access log {file}: {}", io_reason(&error)),
        help: None,
    })
}
