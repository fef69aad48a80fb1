//! What does a test write where a person would write a configuration file?

use std::fmt::{Display, Write as _};
use std::net::SocketAddr;

/// A configuration file with one listener `web` on a free port, one upstream `web` and an admin listener.
///
/// Lines are YAML, added at the depth the method names; several lines may be added at once.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    top: String,
    /// Where the listener listens; empty: on a free port of 127.0.0.1.
    address: String,
    listener: String,
    upstream: String,
    upstreams: String,
    servers: Vec<String>,
    routed: Routed,
}

#[derive(Debug, Clone, Copy, Default)]
enum Routed {
    #[default]
    All,
    ByRoutes,
}

impl Configuration {
    /// Sends everything to these servers.
    #[must_use]
    pub fn to(servers: &[SocketAddr]) -> Self {
        Self {
            servers: servers.iter().map(|server| format!("\"{server}\"")).collect(),
            ..Self::default()
        }
    }

    /// Adds a server to the upstream `web`, as a YAML value.
    #[must_use]
    pub fn server(mut self, value: impl Display) -> Self {
        self.servers.push(value.to_string());
        self
    }

    /// Adds lines to the listener.
    #[must_use]
    pub fn listener(mut self, lines: impl AsRef<str>) -> Self {
        indent(&mut self.listener, 4, lines.as_ref());
        self
    }

    /// Has it listen at this address, whose port the tests' other sockets do not have: 0 is a free one.
    #[must_use]
    pub fn address(mut self, address: &str) -> Self {
        address.clone_into(&mut self.address);
        self
    }

    /// Adds a `routes` list to the listener in place of "everything goes to `web`".
    #[must_use]
    pub fn routes(mut self, lines: impl AsRef<str>) -> Self {
        self.routed = Routed::ByRoutes;
        indent(&mut self.listener, 4, "routes:");
        indent(&mut self.listener, 6, lines.as_ref());
        self
    }

    /// Adds lines to the upstream `web`.
    #[must_use]
    pub fn upstream(mut self, lines: impl AsRef<str>) -> Self {
        indent(&mut self.upstream, 4, lines.as_ref());
        self
    }

    /// Adds another upstream with one server.
    #[must_use]
    pub fn another_upstream(mut self, name: &str, server: SocketAddr) -> Self {
        indent(&mut self.upstreams, 2, &format!("{name}:\n  servers: [ \"{server}\" ]"));
        self
    }

    /// Adds lines at the top.
    #[must_use]
    pub fn top(mut self, lines: impl AsRef<str>) -> Self {
        indent(&mut self.top, 0, lines.as_ref());
        self
    }

    /// The file's text.
    #[must_use]
    pub fn yaml(&self) -> String {
        let route = match self.routed {
            Routed::All => "    upstream: web\n",
            Routed::ByRoutes => "",
        };
        let address = match self.address.as_str() {
            "" => "127.0.0.1:0",
            address => address,
        };
        format!(
            "listeners:\n  - name: web\n    address: \"{}\"\n{}{route}upstreams:\n  web:\n    servers: [ {} ]\n{}{}\
             admin: {{ address: 127.0.0.1:0 }}\n{}",
            address,
            self.listener,
            self.servers.join(", "),
            self.upstream,
            self.upstreams,
            self.top
        )
    }
}

fn indent(to: &mut String, depth: usize, lines: &str) {
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let _ = writeln!(to, "{:depth$}{line}", "");
    }
}
