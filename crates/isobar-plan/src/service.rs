//! Which servers are to be out of service, by an operator's word or by how they answer?

use alloc::string::String;
use core::net::SocketAddr;
use core::time::Duration;

pub use isobar_balance::{OutlierSettings, Outliers, Reason};

use crate::{Name, Otherwise};

/// What an operator wants of a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ServiceState {
    /// That it serves.
    #[default]
    Enabled,
    /// That it finishes what it has, and gets no new requests but those that belong to it.
    Drain,
    /// That it finishes what it has, and gets no new requests at all.
    Disabled,
}

impl ServiceState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Enabled, Self::Drain, Self::Disabled];

    /// The word for it in configuration, metrics and status.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Drain => "drain",
            Self::Disabled => "disabled",
        }
    }
}

/// An operator's wish for one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOrder {
    /// The upstream's name.
    pub upstream: Name,
    /// The server's name.
    pub server: Name,
    /// What is wanted.
    pub state: ServiceState,
    /// Who wants it.
    pub by: SocketAddr,
}

/// Why an order was not carried out. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderRefusal {
    /// There is no upstream of that name.
    NoUpstream,
    /// The upstream has no server of that name.
    NoServer,
    /// The instance is being stopped: it finishes with the servers it has.
    Draining,
}

/// What came of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderDone {
    /// What the server's state was before.
    pub from: ServiceState,
    /// Requests it is still answering.
    pub in_flight: u32,
    /// What becomes of requests whose session's server cannot be sent anything; none: no session stays with a server.
    pub on_down: Option<Otherwise>,
}

/// An ejection that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EjectionStatus {
    /// Why.
    pub reason: Reason,
    /// How long it still lasts.
    pub left: Duration,
}

/// How often a server was ejected, by [`Reason::index`].
pub type EjectionCounts = [u64; Reason::WORDS.len()];

/// Why a server that was ejected gets requests again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comeback {
    /// Its time was over.
    TimeOver,
    /// Its probes passed.
    ProbesPassed,
    /// No other server was left.
    NobodyElse,
    /// The configuration no longer has servers ejected.
    DetectionOff,
}

impl Comeback {
    /// It in words, to complete "serves again: …".
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::TimeOver => "its time was over",
            Self::ProbesPassed => "its probes passed",
            Self::NobodyElse => "no other server was left",
            Self::DetectionOff => "outlier detection was turned off",
        }
    }
}

/// What an operator is told of a server that is taken out of service, or back in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceChange {
    /// It is out for how it answered.
    Ejected {
        /// Why.
        reason: Reason,
        /// For how long.
        lasts: Duration,
    },
    /// It is back.
    Returned(Comeback),
    /// An operator wants something else of it.
    Ordered {
        /// What was wanted before.
        from: ServiceState,
        /// What is wanted.
        to: ServiceState,
        /// Who wants it.
        by: SocketAddr,
        /// Requests it is still answering.
        in_flight: u32,
    },
}

impl ServiceChange {
    /// It in words, to follow the server's name.
    #[must_use]
    pub fn sentence(&self) -> String {
        use alloc::format;
        match self {
            Self::Ejected { reason, lasts } => {
                format!("is ejected for {:.1} s: {reason}", lasts.as_secs_f64())
            }
            Self::Returned(why) => format!("serves again: {}", why.text()),
            Self::Ordered {
                from,
                to,
                by,
                in_flight,
            } => {
                let under_way = match in_flight {
                    1 => "1 request is under way".into(),
                    _ => format!("{in_flight} requests are under way"),
                };
                let (from, to) = (from.word(), to.word());
                format!("is set to {to} (was {from}) by {by}; {under_way}")
            }
        }
    }
}
