//! What of a limit makes sense only where it counts bytes, and what does not?

use isobar_plan::{Direction, Exhausted, LimitKey, LimitKind, least_byte_burst};

use super::super::Bridge;
use super::own_rate;
use crate::document::{Label, Limit, LimitAlgorithm, LimitCost, LimitKeyPart};
use crate::problem::{Path, Problem, Problems, Spot};
use crate::setting::{Setting, Word};
use crate::units::{Burst, Pace};

/// Rates of at least so long a time are quotas.
const QUOTA_SECONDS: u64 = 3_600;

/// How a limit counts bytes.
pub(super) fn kind(written: &Limit) -> LimitKind {
    let (direction, exhausted) = of_bytes(written);
    LimitKind::Bandwidth { direction, exhausted }
}

/// Which bytes it counts, and what becomes of what begins when there are none left.
pub(crate) fn of_bytes(written: &Limit) -> (Direction, Exhausted) {
    let is_quota = |pace: Pace| pace.period().as_secs() >= QUOTA_SECONDS;
    let usual = match written.rate {
        Some(pace) if is_quota(pace) => Exhausted::Refuse,
        _ => Exhausted::Pace,
    };
    (
        written.direction.unwrap_or(Direction::Download),
        written.exhausted.unwrap_or(usual),
    )
}

/// Reports what does not go together with bytes, or with what else is counted.
pub(super) fn check(written: &Limit, at: Path<'_>, problems: &mut Problems) {
    let counts_bytes = written.algorithm == LimitAlgorithm::Bandwidth;
    let only = [
        ("direction", !counts_bytes && written.direction.is_some(), "`bandwidth`"),
        ("exhausted", !counts_bytes && written.exhausted.is_some(), "`bandwidth`"),
        (
            "cost",
            counts_bytes && written.cost != LimitCost::placeholder(),
            "limits on requests: bytes cost what they are",
        ),
    ];
    for (key, _, of) in only.into_iter().filter(|(_, is_useless, _)| *is_useless) {
        let problem = Problem::error(at.key(key), format!("`{key}` is for {of}")).on_key();
        problems.push(problem.needs(at.key("algorithm")));
    }
    check_pace((written.rate, written.burst), counts_bytes, at, problems);
    for (key, other) in written.overrides.iter() {
        let at = at.key("overrides");
        check_pace((other.rate, other.burst), counts_bytes, at.key(key.as_str()), problems);
    }
}

// tidy: allow(boolean-parameter): a limit counts bytes or it does not, and all of its rates go by that.
fn check_pace((rate, burst): (Option<Pace>, Option<Burst>), counts_bytes: bool, at: Path<'_>, problems: &mut Problems) {
    let (of_rate, of_burst) = match counts_bytes {
        true => ("write bytes, as in `10MB/s`", "write bytes, as in `1MB`"),
        false => (
            "bytes are for `algorithm: bandwidth`",
            "bytes are for `algorithm: bandwidth`",
        ),
    };
    let mut other = |key: &str, help: &str| {
        let message = match counts_bytes {
            true => format!("the `{key}` of a limit on bytes is a number of bytes"),
            false => format!("the `{key}` of a limit on requests is a number of requests"),
        };
        problems.push(Problem::error(at.key(key), message).help(help));
    };
    if rate.is_some_and(|rate| rate.is_of_bytes() != counts_bytes) {
        other("rate", of_rate);
    }
    if burst.is_some_and(|burst| burst.is_of_bytes() != counts_bytes) {
        other("burst", of_burst);
    }
    if let (true, Some(rate), Some(burst)) = (counts_bytes, rate, burst) {
        let least = least_byte_burst(own_rate(rate));
        if burst.is_of_bytes() && rate.is_of_bytes() && burst.units() < least {
            let message =
                format!("the burst is too small for this rate: nobody wakes up often enough, {least}B is the least");
            problems.push(Problem::error(at.key("burst"), message).related(at.key("rate"), Spot::Value, "the rate"));
        }
    }
}

/// Which parts of a key there are where a limit is named.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Place {
    /// A listener or a route of HTTP.
    Http,
    /// One of TCP.
    Tcp,
    /// A forward proxy.
    Forward,
}

impl Place {
    /// Why there is no such part.
    pub(in super::super) fn lacks(self, part: &LimitKey) -> Option<&'static str> {
        use isobar_plan::HashPart::ClientIp;
        match (self, part) {
            (_, LimitKey::Part(ClientIp))
            | (Self::Forward, LimitKey::User)
            | (Self::Tcp, LimitKey::TlsName | LimitKey::Route) => None,
            (Self::Http, LimitKey::User) => Some("only forward proxies know users"),
            (Self::Http, _) => None,
            (Self::Tcp, _) => Some("connections of TCP are told apart by `client_ip`, `tls_name` and `route` alone"),
            (Self::Forward, _) => Some("clients of a forward proxy are told apart by `client_ip` and `user` alone"),
        }
    }
}

impl<'d> Bridge<'d> {
    /// From here on all routes fall under these limits.
    pub(in super::super) fn share_limits(&mut self, names: &'d [Label], place: Place, at: Path<'_>) {
        self.check_limits(names, at);
        self.check_place(names, place, at);
        self.shared_limits = names;
    }

    /// Reports limits that cannot be asked at this place: connections fall under limits on bytes alone.
    pub(in super::super) fn check_place(&mut self, names: &[Label], place: Place, at: Path<'_>) {
        let root = Path::ROOT.key("limits");
        for (index, name) in names.iter().enumerate() {
            let Some((_, limit)) = self.limits.iter().find(|(other, _)| other == name) else {
                continue;
            };
            let at_limit = root.key(name.as_str());
            if place != Place::Http && limit.algorithm != LimitAlgorithm::Bandwidth {
                let message = format!("`{name}` is a limit on requests, and here are connections");
                let problem = Problem::error(at.index(index), message);
                let problem = problem.help("limits with `algorithm: bandwidth` hold for connections");
                self.problems.push(problem.related(at_limit, Spot::Key, "the limit"));
                continue;
            }
            let lacking = |part: &LimitKeyPart| Some((part.write(), place.lacks(&part.part())?));
            if let Some((part, why)) = limit.key.0.iter().find_map(lacking) {
                let problem = Problem::error(at.index(index), format!("`{name}` goes by `{part}`: {why}"));
                self.problems
                    .push(problem.related(at_limit.key("key"), Spot::Value, "its key"));
            }
        }
    }

    /// Whether a limit is one on bytes.
    pub(in super::super) fn counts_bytes(&self, name: &str) -> bool {
        let named = self.limits.iter().find(|(other, _)| other.as_str() == name);
        named.is_some_and(|(_, limit)| limit.algorithm == LimitAlgorithm::Bandwidth)
    }

    /// Whether a limit goes by the name that clients ask for in their TLS handshake.
    pub(in super::super) fn goes_by_tls_name(&self, name: &str) -> bool {
        let named = self.limits.iter().find(|(other, _)| other.as_str() == name);
        named.is_some_and(|(_, limit)| limit.key.0.iter().any(|part| part.part() == LimitKey::TlsName))
    }
}
