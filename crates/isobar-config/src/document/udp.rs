//! What may be written about the flows of UDP?

use isobar_plan::FlowKey;

use super::{OrNone, Whole};
use crate::setting::choice::Choice;
use crate::setting::section::settings;
use crate::units::Span;

settings! {
    /// Which datagrams belong together, and for how long. All of a flow go to the same server.
    pub struct UdpFlows called "the settings of UDP" {
        /// What makes datagrams one flow.
        flow: FlowKey = FlowKey::ClientAndDestination,
        /// How long a flow lasts in which nothing is sent, in either direction.
        idle_timeout: Span = Span::seconds(60),
        /// Flows at once over all workers, of which each has an equal share. When there are so many, one that the client has not
        /// sent anything in since it was answered makes room, the quietest first; where there is none, the new one is dropped.
        max_flows: Whole<1, 1_048_576> = Whole::of(65_536),
        /// After so many datagrams of a client its next one begins another flow, which may go to another server; with 1 each
        /// datagram is balanced by itself. `none`: a flow takes them all.
        requests: OrNone<Whole<1, 1_000_000>>,
        /// Datagrams that a server answers each one with; the flow ends with the last. 0: servers do not answer. `none`: it is not
        /// known, and flows end when they are idle.
        responses: OrNone<Whole<0, 1_000_000>>,
        /// Whether the socket towards a server, and with it its port, carries further flows once all `responses` to what was sent from it
        /// came, and it rested for a while: for DNS. `false`: each flow has a port of its own.
        reuse_sockets: bool = false,
        /// Has clients of QUIC known by their connection IDs, so that one stays with its server when its address changes.
        quic: Option<QuicIds>,
    }
}

settings! {
    /// How the connection IDs of QUIC are read.
    pub struct QuicIds called "the settings of QUIC" {
        /// Bytes of the IDs that the servers choose, which most packets do not tell.
        id_bytes: Whole<1, 20> = Whole::of(8),
    }
}

impl Choice for FlowKey {
    const EXPECTED: &'static str = "what makes a flow";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::ClientAndDestination,
            "client_and_destination",
            "the address and port of the client, and the address that it sends to",
        ),
        (
            Self::Client,
            "client",
            "the address and port of the client, whichever of our addresses it sends to",
        ),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word {
            "2-tuple" | "source" => Some("did you mean `client`?"),
            "4-tuple" | "connection" => Some("did you mean `client_and_destination`?"),
            _ => None,
        }
    }
}
