//! Whose requests had better not be refused?
//!
//! What comes from within, and what looks after the service: refusing a health check takes servers out of service, and refusing
//! a scrape blinds whoever looks on. Told by address, by `User-Agent` and by path, all of which are listed here and in the
//! documentation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Beginnings or parts of a `User-Agent`, in small letters, by which checks and monitors call themselves.
pub const NAMED_AGENTS: &[&str] = &[
    "kube-probe",
    "elb-healthchecker",
    "googlehc",
    "prometheus",
    "blackbox",
    "consul health check",
    "haproxy",
    "nginx-plus",
    "envoy/hc",
    "isobar",
    "azure traffic manager",
    "amazon-route53-health-check",
    "cloudflare-healthchecks",
    "cloudflare-traffic-manager",
    "pingdom",
    "uptimerobot",
    "statuscake",
    "site24x7",
    "betteruptime",
    "updown.io",
    "datadog",
    "nagios",
    "check_http",
    "zabbix",
    "newrelicpinger",
];

/// Paths that are asked for by those who want to know whether all is well. A path below one of them counts too.
pub const NAMED_PATHS: &[&str] = &[
    "/health",
    "/healthz",
    "/health_check",
    "/healthcheck",
    "/health-check",
    "/livez",
    "/readyz",
    "/live",
    "/ready",
    "/alive",
    "/ping",
    "/status",
    "/metrics",
    "/-/healthy",
    "/-/ready",
    "/actuator/health",
    "/actuator/prometheus",
    "/server-status",
    "/nginx_status",
    "/stub_status",
    "/_health",
    "/_cluster/health",
];

/// Why a request had better not be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Care {
    /// Its client has an address of a private network or of this machine.
    Private,
    /// Its `User-Agent` is that of a health check or a monitor.
    Agent,
    /// Its path is that of a health check or a scrape.
    Path,
}

impl Care {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Private, Self::Agent, Self::Path];

    /// What it is called.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Private => "private_address",
            Self::Agent => "health_agent",
            Self::Path => "health_path",
        }
    }

    /// What it is, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Private => "from private addresses",
            Self::Agent => "by health checks and monitors (User-Agent)",
            Self::Path => "for health and metrics (path)",
        }
    }
}

/// Whether a request is one of those, and why; of several reasons the one that says most.
pub(crate) fn care(address: IpAddr, agent: &[u8], path: &[u8]) -> Option<Care> {
    if is_named_agent(agent) {
        Some(Care::Agent)
    } else if NAMED_PATHS.iter().any(|named| is_within(path, named.as_bytes())) {
        Some(Care::Path)
    } else {
        is_private(address).then_some(Care::Private)
    }
}

fn is_within(path: &[u8], named: &[u8]) -> bool {
    let rest = path.strip_prefix(named);
    rest.is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
}

fn is_named_agent(agent: &[u8]) -> bool {
    // Browsers, which are most, call themselves so.
    if agent.starts_with(b"Mozilla/") && !agent.ends_with(b")") {
        return false;
    }
    let has = |name: &&str| {
        agent
            .windows(name.len())
            .any(|part| part.eq_ignore_ascii_case(name.as_bytes()))
    };
    NAMED_AGENTS.iter().any(has)
}

fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let shared = Ipv4Addr::from_bits(v4.to_bits() & 0xffc0_0000) == Ipv4Addr::new(100, 64, 0, 0);
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6 == Ipv6Addr::LOCALHOST || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Care, care};

    #[test]
    fn who_is_looked_after() {
        let check = |address: &str, agent: &str, path: &str, expected| {
            let found = care(address.parse().unwrap(), agent.as_bytes(), path.as_bytes());
            assert_eq!(found, expected, "{address} {agent} {path}");
        };
        check("192.0.2.1", "Mozilla/5.0 (X11) Firefox/1", "/", None);
        check("192.0.2.1", "kube-probe/1.29", "/", Some(Care::Agent));
        check("192.0.2.1", "ELB-HealthChecker/2.0", "/", Some(Care::Agent));
        check(
            "192.0.2.1",
            "Mozilla/5.0 (compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
            "/",
            Some(Care::Agent),
        );
        check("192.0.2.1", "x", "/healthz", Some(Care::Path));
        check("192.0.2.1", "x", "/health/live", Some(Care::Path));
        check("192.0.2.1", "x", "/healthy-food", None);
        check("10.1.2.3", "x", "/", Some(Care::Private));
        check("100.64.0.1", "", "/", Some(Care::Private));
        check("100.128.0.1", "", "/", None);
        check("::ffff:192.168.0.1", "", "/", Some(Care::Private));
        check("fd00::1", "", "/", Some(Care::Private));
        check("2001:db8::1", "", "/", None);
    }
}
