//! What is the demonstration's configuration?

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result};
use isobar_balance::Balance;
use isobar_config::Color;
use isobar_control::{Reading, load};
use isobar_plan::Plan;

use super::visitors::VISITOR_FIELD;
use crate::failure::io_reason;
use crate::files;

/// Ports tried after the first.
const FURTHER_PORTS: u16 = 100;

/// The first address from `wanted` on, by port, on which nobody listens.
///
/// The engine's own sockets share their ports, so they would not notice a second demonstration.
pub(super) fn free_address(wanted: SocketAddr) -> Result<SocketAddr> {
    let mut last = None;
    for port in wanted.port()..=wanted.port().saturating_add(FURTHER_PORTS) {
        let address = SocketAddr::new(wanted.ip(), port);
        match TcpListener::bind(address).and_then(|listener| listener.local_addr()) {
            Ok(free) => return Ok(free),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => last = Some(error),
            Err(error) => anyhow::bail!("failed to listen on {address}: {}", io_reason(&error)),
        }
    }
    let error = last.map(|error| io_reason(&error)).unwrap_or_default();
    anyhow::bail!("failed to listen on {wanted} or any of the {FURTHER_PORTS} ports after it: {error}")
}

/// The plan of the demonstration: everything a file would need to say.
pub(super) fn plan(listen: SocketAddr, servers: &[SocketAddr], balance: Balance) -> Result<Plan> {
    let servers = servers
        .iter()
        .map(|server| format!("      - {server}\n"))
        .collect::<String>();
    // Visitors come from one address, and are told apart by what they say they are.
    let hash = if balance.is_keyed() {
        format!("    hash: [\"header:{VISITOR_FIELD}\"]\n")
    } else {
        String::new()
    };
    let text = format!(
        "listeners:\n  - {{ name: demonstration, address: \"{listen}\", upstream: servers }}\n\
         upstreams:\n  servers:\n    balance: {balance}\n{hash}    servers:\n{servers}    \
         health: {{ path: /health, interval: 500ms, timeout: 400ms, rise: 2, fall: 2 }}\n"
    );
    read(text)
}

/// The plan that a configuration says.
pub(super) fn read(text: String) -> Result<Plan> {
    let reading = Reading {
        look: files::look_to_serve,
        color: Color::Never,
    };
    Ok(load("demonstration", text, reading)
        .context("failed to set up the demonstration")?
        .plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_passed_over() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let free = free_address(address).unwrap();
        assert_ne!(free.port(), address.port());
    }

    #[test]
    fn every_algorithm_makes_a_valid_plan() {
        for &balance in Balance::ALL {
            let servers = ["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()];
            let plan = plan("127.0.0.1:8080".parse().unwrap(), &servers, balance).unwrap();
            assert_eq!(plan.upstreams[0].balance, balance);
            assert_eq!(plan.upstreams[0].servers.len(), 2);
        }
    }
}
