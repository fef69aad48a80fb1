//! What is put into the configurations in `bench/configs` before a proxy reads them?

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result};

use super::workload::{Listener, Tuning};
use crate::cargo::workspace_root;

/// The servers behind a proxy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origins {
    /// HTTP/1.1.
    pub(super) http1: SocketAddr,
    /// HTTP/2 in the clear, gRPC.
    pub(super) grpc: SocketAddr,
    /// DNS over UDP.
    pub(super) dns: SocketAddr,
}

/// Where a proxy listens: for those who are measured, and for those who administer it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    listeners: [u16; Listener::ALL.len()],
    admin: u16,
}

impl Ports {
    /// Ports that are free now.
    pub(super) fn free() -> Result<Self> {
        // They are held until all are found, so that none is found twice.
        let held = (0..=Listener::ALL.len())
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut ports = held.iter().map(|socket| Ok(socket.local_addr()?.port()));
        let mut port = || ports.next().context("too few ports").flatten();
        Ok(Self {
            listeners: [port()?, port()?, port()?, port()?, port()?, port()?, port()?, port()?],
            admin: port()?,
        })
    }

    /// The address of one listener.
    pub(super) fn address(&self, listener: Listener) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.listeners[listener as usize]))
    }
}

/// What is put into a configuration.
pub(super) struct Template<'a> {
    /// The proxy's own.
    pub(super) ports: Ports,
    /// The servers'.
    pub(super) origins: Origins,
    /// The listener that is measured.
    pub(super) listener: Listener,
    /// Sizes of buffers.
    pub(super) tuning: Tuning,
    /// The certificate with its key.
    pub(super) certificate: &'a Path,
    /// Where the proxy may write.
    pub(super) directory: &'a Path,
}

impl Template<'_> {
    /// Fills the places of a file of `bench/configs`, and says where the result is.
    pub(super) fn write(&self, name: &str) -> Result<String> {
        let source = workspace_root().join("bench/configs").join(name);
        let text = fs::read_to_string(&source).with_context(|| format!("failed to read {}", source.display()))?;
        let port = |listener| self.ports.address(listener).port().to_string();
        let places = [
            ("@listen@", port(Listener::Plain)),
            ("@listen_tls@", port(Listener::Tls)),
            ("@listen_http2@", port(Listener::Http2Plain)),
            ("@listen_grpc@", port(Listener::Grpc)),
            ("@listen_tcp@", port(Listener::Tcp)),
            ("@listen_udp@", port(Listener::Udp)),
            ("@listen_udp_once@", port(Listener::UdpOnce)),
            ("@listen_limited@", port(Listener::Limited)),
            ("@admin@", self.ports.admin.to_string()),
            ("@origin@", self.origins.http1.port().to_string()),
            ("@origin_grpc@", self.origins.grpc.port().to_string()),
            ("@origin_dns@", self.origins.dns.port().to_string()),
            ("@certificate@", self.certificate.to_string_lossy().into_owned()),
            (
                "@haproxy_buffer@",
                (self.tuning.haproxy_buffer_kib() * 1024).to_string(),
            ),
            ("@nginx_buffer@", format!("{}k", self.tuning.nginx_buffer_kib())),
            ("@nginx_buffering@", self.tuning.nginx_buffering().to_owned()),
            ("@directory@", self.directory.to_string_lossy().into_owned()),
        ];
        let text = places
            .iter()
            .fold(text, |text, (place, value)| text.replace(place, value));
        let file = self.directory.join(name);
        fs::write(&file, text)?;
        Ok(file.to_string_lossy().into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(name: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let origin = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let template = Template {
            ports: Ports {
                listeners: [1001, 1002, 1003, 1004, 1011, 1008, 1009, 1012],
                admin: 1005,
            },
            origins: Origins {
                http1: origin(1006),
                grpc: origin(1007),
                dns: origin(1010),
            },
            listener: Listener::Plain,
            tuning: Tuning::LargeAnswers,
            certificate: Path::new("/somewhere/site.pem"),
            directory: directory.path(),
        };
        fs::read_to_string(template.write(name).unwrap()).unwrap()
    }

    #[test]
    fn every_place_is_filled() {
        for name in ["haproxy.cfg", "nginx.conf", "isobar.yaml", "envoy.yaml"] {
            let text = filled(name);
            for value in ["1001", "1002", "1003", "1004", "1006", "1007", "/somewhere/site.pem"] {
                assert!(text.contains(value), "{value} in {text}");
            }
            // Envoy's configuration says types so.
            assert!(!text.replace("\"@type\"", "").contains('@'), "{text}");
        }
    }

    #[test]
    fn those_that_pass_connections_on_have_a_listener_for_it() {
        for name in ["haproxy.cfg", "isobar.yaml"] {
            assert!(filled(name).contains("1011"), "{name}");
        }
    }

    #[test]
    fn those_with_limits_have_a_listener_under_one() {
        for name in ["haproxy.cfg", "nginx.conf", "isobar-limit.yaml"] {
            assert!(filled(name).contains("1012"), "{name}");
        }
    }

    #[test]
    fn every_place_is_filled_where_datagrams_are_measured() {
        for name in ["isobar-udp.yaml", "nginx-udp.conf", "dnsdist.conf"] {
            let text = filled(name);
            for value in ["1008", "1009", "1010"] {
                assert!(text.contains(value), "{value} in {text}");
            }
            assert!(!text.contains('@'), "{text}");
        }
    }

    #[test]
    fn our_configurations_are_valid() {
        for name in ["isobar.yaml", "isobar-limit.yaml", "isobar-udp.yaml"] {
            let source = isobar_config::Source {
                name: name.into(),
                text: filled(name),
            };
            assert!(isobar_config::load(&source).is_ok(), "{name}");
        }
    }

    #[test]
    fn no_port_is_free_twice() {
        let ports = Ports::free().unwrap();
        let mut all = [&ports.listeners[..], &[ports.admin]].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 9);
        for listener in Listener::ALL {
            assert_eq!(
                ports.address(listener).port(),
                ports.listeners[Listener::ALL.iter().position(|&one| one == listener).unwrap()]
            );
        }
    }
}
