//! Are datagrams told apart by their clients, held to their limits, and do connections of QUIC stay with their servers?

use std::collections::hash_map::RandomState;
use std::net::SocketAddr;
use std::time::Duration;

use isobar_wire::udp::{
    Answer, ConnectionId, Datagram, DropReason, Flow, FlowCounts, FlowLimits, Flows, Handled, KeyedBy, QuicIds,
};
use proptest::prelude::*;

#[path = "../../../fuzz/src/flows.rs"]
mod flows;

const LIMITS: FlowLimits = FlowLimits {
    max_flows: 3,
    idle_timeout: Duration::from_secs(30),
    requests: None,
    responses: None,
};

const LOCAL: &str = "192.0.2.1:53";

fn plain(limits: FlowLimits) -> Flows<RandomState> {
    Flows::new(KeyedBy::ClientAndLocal, None, limits, RandomState::new())
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn client(number: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1], 1_000 + number))
}

fn send(flows: &mut Flows<RandomState>, from: SocketAddr, payload: &[u8], now: Duration) -> Handled {
    let to = LOCAL.parse().unwrap();
    flows.handle_datagram(Datagram { from, to, payload }, now)
}

/// The flow of a client's first datagram.
#[track_caller]
fn opened(flows: &mut Flows<RandomState>, number: u16, now: Duration) -> Flow {
    match send(flows, client(number), b"x", now) {
        Handled::New { flow, .. } => flow,
        other => panic!("{other:?}"),
    }
}

/// A flow whose client has sent again after an answer.
#[track_caller]
fn assured(flows: &mut Flows<RandomState>, number: u16, now: Duration) -> Flow {
    let flow = opened(flows, number, now);
    assert_ne!(flows.handle_response(flow, b"y", now), Answer::Stray);
    let forward = Handled::Forward { flow, ends: false };
    assert_eq!(send(flows, client(number), b"z", now), forward);
    flow
}

#[test]
fn datagrams_of_a_client_stay_together() {
    let mut flows = plain(LIMITS);
    let now = secs(1);
    let first = opened(&mut flows, 1, now);
    let second = opened(&mut flows, 2, now);
    assert_eq!((first.index(), second.index()), (0, 1));
    let forward = Handled::Forward {
        flow: first,
        ends: false,
    };
    assert_eq!(send(&mut flows, client(1), b"x", now), forward);
    let expected = Answer::PassOn {
        client: client(2),
        local: LOCAL.parse().unwrap(),
        ends: false,
    };
    assert_eq!(flows.handle_response(second, b"y", now), expected);
    assert_eq!(flows.len(), 2);
    flows.end(first);
    assert_eq!(flows.handle_response(first, b"y", now), Answer::Stray);
    assert_eq!(opened(&mut flows, 3, now), first, "its number is used again");
}

#[test]
fn another_address_of_ours_is_another_flow_where_that_is_asked_for() {
    let check = |keyed_by, expected: u32| {
        let mut flows = Flows::new(keyed_by, None, LIMITS, RandomState::new());
        for to in [LOCAL, "192.0.2.2:53", "192.0.2.1:54"] {
            let to = to.parse().unwrap();
            let from = client(1);
            flows.handle_datagram(Datagram { from, to, payload: b"" }, secs(1));
        }
        assert_eq!(flows.len(), expected);
    };
    check(KeyedBy::Client, 1);
    check(KeyedBy::ClientAndLocal, 3);
}

#[test]
fn quiet_flows_end() {
    let mut flows = plain(LIMITS);
    assert_eq!(flows.poll_timeout(), None);
    let first = opened(&mut flows, 1, secs(1));
    let second = opened(&mut flows, 2, secs(2));
    let third = assured(&mut flows, 3, secs(3));
    assert_eq!(flows.poll_timeout(), Some(secs(31)));
    assert_ne!(flows.handle_response(first, b"y", secs(20)), Answer::Stray);
    assert_eq!(flows.poll_timeout(), Some(secs(32)));
    assert_eq!(flows.handle_timeout(secs(31)), None);
    assert_eq!(flows.handle_timeout(secs(33)), Some(second));
    assert_eq!(flows.handle_timeout(secs(33)), Some(third));
    assert_eq!(flows.handle_timeout(secs(33)), None);
    // Time that goes back stands still.
    assert_ne!(flows.handle_response(first, b"y", secs(1)), Answer::Stray);
    assert_eq!(flows.poll_timeout(), Some(secs(63)));
    assert_eq!(flows.counts().expired, 2);
}

#[test]
fn a_full_table_gives_up_what_nobody_stands_behind() {
    let mut flows = plain(LIMITS);
    let kept = assured(&mut flows, 1, secs(1));
    let older = opened(&mut flows, 2, secs(2));
    let newer = opened(&mut flows, 3, secs(3));
    // An answer alone proves nothing of the client's address, but it counts as something that was sent.
    assert_ne!(flows.handle_response(older, b"y", secs(4)), Answer::Stray);
    let expected = Handled::New {
        flow: newer,
        beside: None,
        id: None,
        evicts: true,
        ends: false,
    };
    assert_eq!(send(&mut flows, client(4), b"x", secs(5)), expected);
    for number in 5..100 {
        assert!(matches!(
            send(&mut flows, client(number), b"x", secs(6)),
            Handled::New { evicts: true, .. }
        ));
    }
    assert_ne!(flows.handle_response(kept, b"y", secs(6)), Answer::Stray);
    assert_eq!(
        (flows.len(), flows.counts().evicted, flows.counts().refused),
        (3, 96, 0)
    );
}

#[test]
fn a_table_full_of_clients_that_are_served_takes_nobody_in() {
    let mut flows = plain(LIMITS);
    for number in 1..=3 {
        assured(&mut flows, number, secs(1));
    }
    assert_eq!(
        send(&mut flows, client(4), b"x", secs(2)),
        Handled::Dropped(DropReason::Full)
    );
    assert_eq!(flows.counts().refused, 1);
    assert_eq!(flows.handle_timeout(secs(31)).map(Flow::index), Some(0));
    assert_eq!(opened(&mut flows, 4, secs(31)).index(), 0);
    let mut none = plain(FlowLimits { max_flows: 0, ..LIMITS });
    assert_eq!(
        send(&mut none, client(1), b"x", secs(1)),
        Handled::Dropped(DropReason::Full)
    );
}

/// What nginx does with `proxy_requests` and `proxy_responses`, by `ngx_stream_proxy_test_finalize`.
#[test]
fn flows_end_with_the_last_datagram_that_is_expected() {
    #[track_caller]
    fn check(requests: Option<u32>, responses: Option<u32>, sent: &str, expected: &str) {
        let mut flows = plain(FlowLimits {
            requests,
            responses,
            ..LIMITS
        });
        let mut latest = None;
        let told: String = sent
            .chars()
            .map(|what| match what {
                'q' => match send(&mut flows, client(1), b"q", secs(1)) {
                    Handled::New { flow, ends, .. } => {
                        latest = Some(flow);
                        if ends { 'N' } else { 'n' }
                    }
                    Handled::Forward { ends, .. } => {
                        if ends {
                            'F'
                        } else {
                            'f'
                        }
                    }
                    Handled::Dropped(_) => 'd',
                },
                _ => match flows.handle_response(latest.unwrap(), b"a", secs(1)) {
                    Answer::PassOn { ends: true, .. } => 'P',
                    Answer::PassOn { ends: false, .. } => 'p',
                    Answer::Stray => 's',
                },
            })
            .collect();
        assert_eq!(told, expected, "{requests:?} {responses:?} {sent}");
        let finished = told.chars().filter(char::is_ascii_uppercase).count();
        assert_eq!(flows.counts().finished, finished as u64);
    }
    check(None, None, "qaqaa", "npfpp");
    check(None, Some(1), "qaqaa", "nPnPs");
    check(None, Some(1), "qqaa", "nfpP");
    check(None, Some(2), "qaaq", "npPn");
    check(None, Some(0), "qqa", "NNs");
    check(Some(1), Some(1), "qqa", "nnP");
    check(Some(2), None, "qqqa", "nfnp");
    check(Some(2), Some(1), "qaqaq", "npfPn");
    check(Some(2), Some(0), "qaqq", "npFn");
    check(Some(1), Some(0), "qq", "NN");
}

#[test]
fn limits_change_without_a_loss() {
    let mut flows = plain(LIMITS);
    let kept: Vec<_> = (1..=3).map(|number| opened(&mut flows, number, secs(1))).collect();
    flows.set_limits(FlowLimits { max_flows: 2, ..LIMITS });
    assert_eq!(
        send(&mut flows, client(4), b"x", secs(1)),
        Handled::Dropped(DropReason::Full)
    );
    flows.set_limits(FlowLimits {
        max_flows: 1_000,
        idle_timeout: secs(5),
        ..LIMITS
    });
    for (number, flow) in (1..).zip(&kept) {
        let forward = Handled::Forward {
            flow: *flow,
            ends: false,
        };
        assert_eq!(send(&mut flows, client(number), b"x", secs(2)), forward);
    }
    for number in 4..=1_000 {
        opened(&mut flows, number, secs(2));
    }
    assert_eq!((flows.len(), flows.counts().evicted), (1_000, 0));
    assert_eq!(flows.poll_timeout(), Some(secs(7)));
    assert_eq!(flows.iter().count(), 1_000);
}

#[test]
fn what_cannot_be_answered_is_dropped() {
    let mut flows = plain(LIMITS);
    let dropped = Handled::Dropped(DropReason::Unanswerable);
    for from in [LOCAL, "198.51.100.1:0"] {
        assert_eq!(send(&mut flows, from.parse().unwrap(), b"x", secs(1)), dropped);
    }
    let expected = FlowCounts {
        unanswerable: 2,
        ..FlowCounts::default()
    };
    assert_eq!(flows.counts(), expected);
}

/// A long header with an ID for the receiver and one of the sender.
fn long(destination: &[u8], source: &[u8]) -> Vec<u8> {
    let length = |id: &[u8]| [u8::try_from(id.len()).unwrap()];
    [
        &b"\xc0\0\0\0\x01"[..],
        &length(destination),
        destination,
        &length(source),
        source,
    ]
    .concat()
}

#[test]
fn a_client_of_quic_that_changes_its_address_stays_with_its_server() {
    let quic = Some(QuicIds { short_id_bytes: 8 });
    let mut flows = Flows::new(KeyedBy::ClientAndLocal, quic, LIMITS, RandomState::new());
    let check = |flows: &mut Flows<_>, number, payload: &[u8], id: &[u8], expected: Option<Flow>| {
        let handled = send(flows, client(number), payload, secs(1));
        let Handled::New {
            flow, beside, id: told, ..
        } = handled
        else {
            panic!("{handled:?}")
        };
        assert_eq!((beside, told), (expected, ConnectionId::new(id)));
        flow
    };
    let first = check(&mut flows, 1, &long(b"12345678", b""), b"12345678", None);
    assert_ne!(
        flows.handle_response(first, &long(b"", b"retrying"), secs(1)),
        Answer::Stray
    );
    assert_ne!(
        flows.handle_response(first, &long(b"", b"serverid"), secs(1)),
        Answer::Stray
    );
    let second = check(&mut flows, 2, b"\x40serverid+data", b"serverid", Some(first));
    // The newest flow is the one that lasts.
    flows.end(first);
    let third = check(&mut flows, 3, &long(b"serverid", b"c"), b"serverid", Some(second));
    flows.end(third);
    // The ID before that is not kept; other datagrams, and ones that are too short, are not for a connection.
    let other = check(&mut flows, 4, b"\x40retrying", b"retrying", None);
    flows.end(other);
    let other = check(&mut flows, 5, b"\x40server", b"", None);
    flows.end(other);
    assert_eq!(flows.counts().moved, 2);
    // Without IDs nothing of the kind is looked at.
    let mut flows = plain(LIMITS);
    let first = check(&mut flows, 1, &long(b"12345678", b""), b"", None);
    assert_ne!(
        flows.handle_response(first, &long(b"", b"serverid"), secs(1)),
        Answer::Stray
    );
    check(&mut flows, 2, b"\x40serverid", b"", None);
}

#[test]
fn a_flow_does_not_make_room_for_the_one_beside_it() {
    let quic = Some(QuicIds { short_id_bytes: 4 });
    let limits = FlowLimits { max_flows: 2, ..LIMITS };
    let mut flows = Flows::new(KeyedBy::ClientAndLocal, quic, limits, RandomState::new());
    let first = opened(&mut flows, 1, secs(1));
    assert_ne!(
        flows.handle_response(first, &long(b"", b"here"), secs(1)),
        Answer::Stray
    );
    let second = opened(&mut flows, 2, secs(2));
    let expected = Handled::New {
        flow: second,
        beside: Some(first),
        id: ConnectionId::new(b"here"),
        evicts: true,
        ends: false,
    };
    assert_eq!(send(&mut flows, client(3), b"\x40here", secs(3)), expected);
    let mut alone = Flows::new(
        KeyedBy::Client,
        quic,
        FlowLimits { max_flows: 1, ..LIMITS },
        RandomState::new(),
    );
    let first = opened(&mut alone, 1, secs(1));
    assert_ne!(
        alone.handle_response(first, &long(b"", b"here"), secs(1)),
        Answer::Stray
    );
    let full = Handled::Dropped(DropReason::Full);
    assert_eq!(send(&mut alone, client(3), b"\x40here", secs(3)), full);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_sequence_goes_as_in_the_model(input in proptest::collection::vec(any::<u8>(), 0..600)) {
        flows::flows(&input);
    }

    /// The same with a few clients, room for most of them, and hardly any pauses.
    #[test]
    fn busy_sequences_go_as_in_the_model(
        settings in any::<[u8; 4]>(),
        steps in proptest::collection::vec((prop_oneof![6 => 0_u8..12, 1 => 12_u8..15], 0_u8..4, any::<u8>()), 0..400),
    ) {
        let steps = steps.iter().flat_map(|(what, more, detail)| [what | more << 4, detail & 0b0110_0111]);
        let settings = [settings[0], settings[1] % 4 + 4, settings[2], settings[3] & 0x77];
        flows::flows(&settings.into_iter().chain(steps).collect::<Vec<_>>());
    }
}
