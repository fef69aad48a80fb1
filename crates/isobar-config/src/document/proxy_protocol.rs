//! What may be written about the PROXY protocol?

use isobar_plan::{ProxyOthers, ProxyVersion};

use crate::setting::choice::Choice;
use crate::setting::section::settings;
use crate::units::Network;

settings! {
    /// Proxies in front of a listener that begin each connection with a header of the PROXY protocol (version 1 or 2), which
    /// says who the client is.
    pub struct ProxyProtocol called "the PROXY protocol of a listener" {
        /// Where the proxies are. Each of their connections has to begin with a header; one that does not is closed.
        from: Vec<Network>,
        /// What becomes of the connections of all others. A header of theirs is never believed.
        others: ProxyOthers = ProxyOthers::Refuse,
    }
}

impl Choice for ProxyOthers {
    const EXPECTED: &'static str = "what becomes of others";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Refuse, "refuse", "they are closed"),
        (
            Self::Accept,
            "accept",
            "they are served, as clients that speak for themselves",
        ),
    ];
}

impl Choice for ProxyVersion {
    const EXPECTED: &'static str = "a version of the PROXY protocol";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::V1, "v1", "a line of text with the addresses"),
        (
            Self::V2,
            "v2",
            "binary, with the name the client asked for and what a proxy in front has said",
        ),
    ];
}
