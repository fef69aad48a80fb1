//! What does a proxy need around it to be tested with real traffic?
//!
//! Scripted servers, clients that say exactly the bytes a test wants, well-known programs as peers, and the process
//! under test with its log and its files. The kit reads HTTP/1 with a small strict reader of its own and knows none of
//! Isobar's crates, so that a mistake in those cannot hide itself here. HTTP/2 is spoken by hand, frame by frame, or with the
//! library that Isobar has as well, to which curl, nghttp2 and others are the second opinion.
//!
//! Every wait is bounded by [`PATIENCE`], every child process ends by its id when its handle is dropped, and every port
//! is given by the kernel, so tests run side by side.
#![forbid(unsafe_code)]

mod authority;
mod bytes;
mod client;
mod configuration;
mod dns;
mod gate;
mod grpc;
pub mod http2;
mod isobar;
mod load;
mod message;
mod metrics;
mod origin;
mod patience;
mod peers;
mod port;
mod postgres;
mod process;
mod programs;
mod quic;
mod redis;
mod tcp_server;
mod tls_server;
mod udp_server;
pub mod websocket;

pub use authority::{Authority, Certified, Validity};
pub use bytes::{client_hello, noise, rest};
pub use client::{Answer, CLOSED_WITHOUT_ANSWER, Client, answer_to, connect_from, get};
pub use configuration::Configuration;
pub use dns::{DnsperfReport, Nsd};
pub use gate::Gate;
pub use grpc::{GrpcClient, GrpcServer};
pub use isobar::{Binary, Isobar, Outcome};
pub use load::{Load, LoadOptions, LoadReport};
pub use message::{Fields, Head, Request, Response};
pub use metrics::Metrics;
pub use origin::{After, Exchange, Origin};
pub use patience::{PATIENCE, eventually, wait_for};
pub use peers::GrpcHealth;
pub use port::{ClosedPort, FullPort};
pub use postgres::{Postgres, pgbench, psql};
pub use process::{Process, Signal};
pub use programs::{
    Curl, Nginx, Wrk, WrkReport, curl, openssl, promtool_check_metrics, sslyze, testssl, varnishtest, wrk, wrk_over_tls,
};
pub use quic::{QuicServer, quic_clients_that_move};
pub use redis::{Redis, RedisCluster, RedisSentinel};
pub use serde_json;
pub use tcp_server::{TcpServer, echo};
pub use tls_server::{TlsConduct, TlsServer};
pub use tungstenite;
pub use udp_server::{ClosedUdpPort, UdpServer};
