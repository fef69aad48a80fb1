//! Can what is asked of a server's certificate be asked?

use std::net::IpAddr;

use crate::document::{CaFile, HostField, Verify};
use crate::problem::{Path, Problem, Problems};

/// Reports authorities that nobody is asked about.
pub(super) fn check_trust(verify: Option<Verify>, ca: Option<&CaFile>, at: Path<'_>, problems: &mut Problems) {
    if verify == Some(Verify::None) && ca.is_some() {
        let message = "with `verify: none` any certificate will do, and nobody is asked to vouch for it";
        let problem = Problem::error(at.key("ca"), message).on_key();
        problems.push(problem.help("remove `verify: none`, or remove the key"));
    }
}

/// Reports a name that no certificate can be for.
pub(super) fn check_name(name: Option<&HostField>, at: Path<'_>, problems: &mut Problems) {
    let Some(name) = name.filter(|name| !is_certifiable(name.as_str())) else {
        return;
    };
    let message = format!("a certificate cannot be for `{}`", name.as_str());
    let problem = Problem::error(at.key("server_name"), message);
    let bare = name.as_str().rsplit_once(':').map(|(bare, _)| bare.to_owned());
    let bare = bare.filter(|bare| !bare.contains([':', '[']));
    problems.push(problem.maybe_help(bare.map(|bare| crate::suggest::did_you_mean(&bare))));
}

/// Whether a certificate can be for it: an address, or a name without a port.
pub(super) fn is_certifiable(name: &str) -> bool {
    let label = |label: &str| !label.is_empty() && label.len() <= 63;
    name.parse::<IpAddr>().is_ok() || (!name.contains([':', '[', ']']) && name.split('.').all(label))
}
