//! What is measured, and what has to come out?
//!
//! The table of the requirement; figures are upper bounds of ratios, except where bytes are said.

use clap::ValueEnum;
use serde::Serialize;

use super::client::Reuse;

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Row {
    /// 64 keep-alive connections, 1 KiB.
    Small,
    /// 64 keep-alive connections, 64 KiB answers.
    Medium,
    /// 16 keep-alive connections, 1 MiB answers.
    Large,
    /// 64 clients, each with a new connection for every request, 1 KiB.
    NewConnection,
    /// 1,000 busy keep-alive connections, 1 KiB.
    Busy,
    /// 7,500 idle connections, memory for each.
    Idle,
}

/// How one row is measured, and what has to come out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workload {
    /// What the report calls it.
    pub(super) title: &'static str,
    /// The path asked for.
    pub(super) path: &'static str,
    /// Connections under load, or idle.
    pub(super) connections: usize,
    /// How often each is used.
    pub(super) reuse: Reuse,
    /// What the peers are tuned for.
    pub(super) tuning: Tuning,
    /// Requests over which system calls are counted; 0: they are not.
    pub(super) traced_requests: u64,
    /// What must come out.
    pub(super) must: Bounds,
    /// What is aimed at.
    pub(super) aim: Bounds,
}

/// What the peers are tuned for: each is given what it needed least CPU with when these were tried on 1 MiB answers,
/// one after the other, as ratios to the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tuning {
    /// Their defaults.
    SmallAnswers,
    /// HAProxy 2.6: 64 KiB 0.73, the same with splice 0.73, 128 KiB 1.23, the default with splice 1.30. nginx 1.22:
    /// 128 KiB unbuffered 0.79, 64 KiB unbuffered 1.00, 64 KiB buffered 1.05 to 1.59.
    LargeAnswers,
}

impl Tuning {
    /// HAProxy's `tune.bufsize`, in KiB.
    pub(super) const fn haproxy_buffer_kib(self) -> u32 {
        match self {
            Self::SmallAnswers => 16,
            Self::LargeAnswers => 64,
        }
    }

    /// nginx's `proxy_buffer_size`, in KiB.
    pub(super) const fn nginx_buffer_kib(self) -> u32 {
        match self {
            Self::SmallAnswers => 16,
            Self::LargeAnswers => 128,
        }
    }

    /// nginx's `proxy_buffering`.
    pub(super) const fn nginx_buffering(self) -> &'static str {
        match self {
            Self::SmallAnswers => "on",
            Self::LargeAnswers => "off",
        }
    }
}

/// Upper bounds; none: not asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    /// CPU per request in ratio to the floor.
    pub(super) floor: Option<f64>,
    /// CPU per request in ratio to the better of the peers.
    pub(super) peer: Option<f64>,
    /// System calls per request.
    pub(super) system_calls: Option<f64>,
    /// Bytes of memory for an idle connection.
    pub(super) bytes: Option<f64>,
}

impl Bounds {
    const NONE: Self = Self {
        floor: None,
        peer: None,
        system_calls: None,
        bytes: None,
    };

    const fn floor(ratio: f64) -> Self {
        Self {
            floor: Some(ratio),
            ..Self::NONE
        }
    }

    const fn peer(ratio: f64) -> Self {
        Self {
            peer: Some(ratio),
            ..Self::NONE
        }
    }

    const fn both(floor: f64, peer: f64) -> Self {
        Self {
            floor: Some(floor),
            peer: Some(peer),
            ..Self::NONE
        }
    }

    const fn bytes(bytes: f64) -> Self {
        Self {
            bytes: Some(bytes),
            ..Self::NONE
        }
    }
}

impl Row {
    /// How this row is measured.
    pub(super) const fn workload(self) -> Workload {
        let small = Workload {
            title: "64 keep-alive connections, 1 KiB",
            path: "/1k",
            connections: 64,
            reuse: Reuse::KeepAlive,
            tuning: Tuning::SmallAnswers,
            traced_requests: 5_000,
            must: Bounds {
                system_calls: Some(4.3),
                ..Bounds::both(1.15, 0.85)
            },
            aim: Bounds::both(1.05, 0.75),
        };
        match self {
            Self::Small => small,
            Self::Medium => Workload {
                title: "64 KiB answers, 64 connections",
                path: "/64k",
                tuning: Tuning::LargeAnswers,
                traced_requests: 1_000,
                must: Bounds::floor(1.1),
                aim: Bounds::floor(0.95),
                ..small
            },
            Self::Large => Workload {
                title: "1 MiB answers, 16 connections",
                path: "/1m",
                connections: 16,
                tuning: Tuning::LargeAnswers,
                traced_requests: 200,
                must: Bounds::floor(0.8),
                aim: Bounds::floor(0.67),
                ..small
            },
            Self::NewConnection => Workload {
                title: "new client connection per request, 64 clients, 1 KiB",
                connections: 64,
                reuse: Reuse::Never,
                traced_requests: 2_000,
                must: Bounds::peer(0.9),
                aim: Bounds::peer(0.8),
                ..small
            },
            Self::Busy => Workload {
                title: "1,000 busy connections, 1 KiB",
                connections: 1000,
                must: Bounds::both(1.2, 0.65),
                aim: Bounds::floor(1.05),
                ..small
            },
            Self::Idle => Workload {
                title: "idle client connection, memory",
                connections: 7500,
                must: Bounds::bytes(2048.0),
                aim: Bounds::bytes(512.0),
                traced_requests: 0,
                ..small
            },
        }
    }
}
