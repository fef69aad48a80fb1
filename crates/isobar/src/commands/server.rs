//! `isobar server`: which servers of a running instance are in service?
//!
//! Asks the instance over its admin listener; what an order does is the instance's business.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::print;
use isobar_config::units::Span;

use crate::arguments::{AdminAt, ListOptions, OneServer, ServerCommand};
use crate::failure::io_reason;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a server is looked at that is waited for. The first look comes as late, so that a worker which chose the server
/// just before the order has counted its request.
const PAUSE: Duration = Duration::from_millis(100);

/// Bytes of an answer: many thousand servers.
const MAX_ANSWER: usize = 64 << 20;

/// Does what is asked about servers.
///
/// *Errors*: the instance cannot be asked, it refuses, or the wait was too short.
pub(crate) fn server(command: &ServerCommand) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start")?;
    runtime.block_on(async {
        match command {
            ServerCommand::List(options) => list(options).await,
            ServerCommand::Drain(options) => change(&options.one, "drain", options.wait).await,
            ServerCommand::Disable(options) => change(&options.one, "disable", options.wait).await,
            ServerCommand::Enable(one) => change(one, "enable", None).await,
        }
    })
}

async fn list(options: &ListOptions) -> Result<()> {
    let ListOptions { upstream, json, admin } = options;
    let mut answer = ask(*admin, Method::GET, "/servers").await?;
    let servers = answer.get_mut("servers").and_then(Value::as_array_mut);
    let servers = servers.ok_or_else(|| anyhow!("{} answers, but not as Isobar does", admin.address))?;
    if let Some(upstream) = upstream {
        servers.retain(|server| server["upstream"] == upstream.as_str());
        if servers.is_empty() {
            bail!("there is no upstream `{upstream}`");
        }
    }
    if *json {
        print(&format!("{answer:#}\n"))
    } else {
        print(&table(servers))
    }
}

async fn change(one: &OneServer, order: &str, wait: Option<Span>) -> Result<()> {
    let OneServer {
        upstream,
        server,
        admin,
    } = one;
    let path = format!("/servers/{}/{}", encoded(upstream), encoded(server));
    let began = Instant::now();
    let done = ask(*admin, Method::POST, &format!("{path}/{order}")).await?;
    print(&format!(
        "server {server} of {upstream}: {} (was {}), {} in flight\n",
        word(&done["state"]),
        word(&done["was"]),
        done["in_flight"]
    ))?;
    if let Some(told) = of_sessions(one, word(&done["sessions"])) {
        print(&format!("{told}\n"))?;
    }
    let Some(wait) = wait else { return Ok(()) };
    loop {
        tokio::time::sleep(PAUSE).await;
        let status = ask(*admin, Method::GET, &path).await?;
        if status["in_flight"] == 0 {
            return print(&format!("server {server} of {upstream} has no request in flight\n"));
        }
        if began.elapsed() >= wait.duration() {
            bail!(
                "server {server} of {upstream} still has {} in flight after {wait}",
                status["in_flight"]
            );
        }
    }
}

/// What an operator is told of the sessions of a server that goes out of service, who may wait for them in vain.
fn of_sessions(one: &OneServer, sessions: &str) -> Option<String> {
    let OneServer {
        upstream,
        server,
        admin,
    } = one;
    match sessions {
        "kept" => {
            let at = match admin.address.to_string() {
                usual if usual == AdminAt::USUAL => String::new(),
                other => format!(" --admin {other}"),
            };
            Some(format!(
                "requests of its sessions still come to it; `isobar server disable {upstream} {server}{at}` ends that"
            ))
        }
        "refused" => {
            Some("requests of its sessions are answered with 503 until it is back (`on_down: fail`)".to_owned())
        }
        "reassigned" => Some("its sessions go to other servers with their next request".to_owned()),
        _ => None,
    }
}

/// Asks the instance.
///
/// *Errors*: why not, in words; the instance's own where it refuses.
async fn ask(AdminAt { address }: AdminAt, method: Method, path: &str) -> Result<Value> {
    let answer = tokio::time::timeout(PATIENCE, exchange(reachable(address.0), method, path)).await;
    let (status, body) = answer.map_err(|_| anyhow!("failed to ask {address}: no answer in time"))??;
    let answer: Value = serde_json::from_slice(&body)
        .map_err(|_| anyhow!("{address} answers, but not as the admin listener of Isobar does"))?;
    match answer.get("error") {
        Some(error) if status == hyper::StatusCode::NOT_FOUND => {
            Err(anyhow!("{}; `isobar server list` shows what there is", word(error)))
        }
        Some(error) => Err(anyhow!("{}", word(error))),
        None if status.is_success() => Ok(answer),
        None => Err(anyhow!("{address} answers with status {}", status.as_u16())),
    }
}

async fn exchange(address: SocketAddr, method: Method, path: &str) -> Result<(hyper::StatusCode, Bytes)> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| {
        anyhow!(
            "failed to connect to {address} (admin): {}; `--admin` says where an instance has its admin listener",
            io_reason(&error)
        )
    })?;
    let failed = |error: hyper::Error| anyhow!("failed to ask {address}: {error}");
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .context("failed to write the request")?;
    let answer = sender.send_request(request).await.map_err(failed)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| anyhow!("failed to read the answer of {address}: {error}"))?;
    Ok((status, body.to_bytes()))
}

/// Where an address to listen on is reached.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other.ip(),
    };
    SocketAddr::new(ip, address.port())
}

/// A name as one segment of a path (RFC 3986 section 3.3).
fn encoded(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~:".contains(&byte) || (byte == b'.' && name.len() > 2) {
            segment.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(segment, "%{byte:02X}");
        }
    }
    segment
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A line for each server, in columns.
fn table(servers: &[Value]) -> String {
    let heading = ["upstream", "server", "state", "health", "in flight", "note"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(heading).chain(servers.iter().map(row)).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count());
            let width = width.max().unwrap_or_default() + 2;
            let _ = write!(line, "{cell:<width$}");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(server: &Value) -> [String; 6] {
    let ejected = &server["ejected"];
    let note = match (ejected.as_object(), server["set_by"].as_str()) {
        (Some(_), _) => format!(
            "ejected for {} s more: {}",
            ejected["seconds_left"],
            word(&ejected["detail"])
        ),
        (None, Some(by)) => format!("set by {by}"),
        (None, None) => word(&server["reason"]).to_owned(),
    };
    [
        word(&server["upstream"]).to_owned(),
        word(&server["server"]).to_owned(),
        word(&server["state"]).to_owned(),
        word(&server["health"]).to_owned(),
        server["in_flight"].to_string(),
        note,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment() {
        let check = |name: &str, expected: &str| assert_eq!(encoded(name), expected);
        check("10.0.0.1:8080", "10.0.0.1:8080");
        check("[::1]:80", "%5B::1%5D:80");
        check("a/b?c#d%e", "a%2Fb%3Fc%23d%25e");
        check("grün", "gr%C3%BCn");
        // Segments that stand for others.
        check("..", "%2E%2E");
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let server = serde_json::json!({
            "upstream": "api", "server": "10.0.0.1:8080", "state": "drain", "health": "healthy", "in_flight": 3,
            "set_by": "127.0.0.1:5", "ejected": null, "reason": "",
        });
        assert_eq!(
            table(&[server]),
            "upstream  server         state  health   in flight  note\n\
             api       10.0.0.1:8080  drain  healthy  3          set by 127.0.0.1:5\n"
        );
    }

    #[test]
    fn an_address_of_every_interface_is_reached_on_this_machine() {
        let check = |address: &str, expected: &str| {
            assert_eq!(reachable(address.parse().unwrap()).to_string(), expected);
        };
        check("0.0.0.0:9900", "127.0.0.1:9900");
        check("[::]:9900", "[::1]:9900");
        check("10.0.0.1:9900", "10.0.0.1:9900");
    }
}
