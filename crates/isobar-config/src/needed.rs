//! What does a configuration need that stands outside of it?
//!
//! Knows which setting names what. Looking whether it is there and of use is the caller's business: this crate opens no
//! file.

use std::collections::HashMap;

use crate::document::{AccessLog, CaFile, Document, HealthCheck, HealthChecks, LogPath, OrNone, SecretFile, Verify};
use crate::problem::{Path, Problem, Problems};

/// Something outside of a configuration without which it cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Needed<'d> {
    /// A file with a secret.
    Secret(&'d str),
    /// A PEM file with certificates of authorities.
    Authorities(&'d str),
    /// The authorities that the system trusts.
    SystemAuthorities,
    /// The file to which lines of the access log are appended; it need not be there yet.
    AccessLog(&'d str),
}

/// Why something that is needed cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// What is wrong: a lower-case fragment that names the thing.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Looks whether something can be used. Asked once for each thing.
pub type Look = fn(Needed<'_>) -> Result<(), Unusable>;

/// Takes everything as usable.
pub(crate) fn taken_as_usable(_: Needed<'_>) -> Result<(), Unusable> {
    Ok(())
}

/// Reports each setting that needs what cannot be used.
pub(crate) fn check(document: &Document, look: Look, problems: &mut Problems) {
    let mut looks = Looks {
        look,
        seen: HashMap::new(),
        problems,
    };
    let root = Path::ROOT;
    if let Some(AccessLog {
        path: LogPath::File(file),
        ..
    }) = &document.access_log.0
    {
        looks.at(root.key("access_log").key("path"), Needed::AccessLog(file));
    }
    let upstreams = root.key("upstreams");
    for (name, upstream) in document.upstreams.iter() {
        let at = upstreams.key(name.as_str());
        health(&upstream.health, at.key("health"), &mut looks);
        if let Some(sticky) = &upstream.sticky.0 {
            let at = at.key("sticky");
            let list = at.key("secret");
            for (index, file) in sticky.secret.0.iter().enumerate() {
                looks.at(list.index(index), Needed::Secret(SecretFile::as_str(file)));
            }
        }
    }
}

fn health<'d>(written: &'d OrNone<HealthChecks>, at: Path<'_>, looks: &mut Looks<'d, '_>) {
    match &written.0 {
        None => {}
        Some(HealthChecks::One(check)) => authorities(check, at, looks),
        Some(HealthChecks::List(list)) => {
            for (index, check) in list.iter().enumerate() {
                authorities(check, at.index(index), looks);
            }
        }
    }
}

fn authorities<'d>(check: &'d HealthCheck, at: Path<'_>, looks: &mut Looks<'d, '_>) {
    let is_secured = crate::bridge::is_secured(check, crate::bridge::health_kind(check));
    match &check.ca {
        Some(file) => looks.at(at.key("ca"), Needed::Authorities(CaFile::as_str(file))),
        None if is_secured && check.verify != Some(Verify::None) => looks.at(at, Needed::SystemAuthorities),
        None => {}
    }
}

/// What was seen so far.
struct Looks<'d, 'p> {
    look: Look,
    seen: HashMap<Needed<'d>, Result<(), Unusable>>,
    problems: &'p mut Problems,
}

impl<'d> Looks<'d, '_> {
    fn at(&mut self, at: Path<'_>, needed: Needed<'d>) {
        let seen = self.seen.entry(needed).or_insert_with(|| (self.look)(needed));
        if let Err(Unusable { message, help }) = seen {
            let problem = Problem::error(at, message.as_str()).maybe_help(help.clone());
            // What is no file has no value of its own.
            let is_whole_check = needed == Needed::SystemAuthorities;
            self.problems
                .push(if is_whole_check { problem.on_key() } else { problem });
        }
    }
}
