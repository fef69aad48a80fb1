//! What must hold for every sequence of datagrams, answers, pauses and changes? The flows are held against a model that
//! looks everything up from front to back. Written once, for the fuzz target and for the tests.

use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;
use std::net::SocketAddr;
use std::time::Duration;

use isobar_wire::udp::{
    Answer, ConnectionId, Datagram, DropReason, Flow, FlowCounts, FlowLimits, Flows, Handled, KeyedBy, QuicHeader,
    QuicIds,
};

/// Bytes of the IDs that the servers choose.
const ID_BYTES: u8 = 2;

type Machine = Flows<BuildHasherDefault<DefaultHasher>>;

/// A flow as the model knows it.
#[derive(Debug, Clone)]
struct Modelled {
    flow: Flow,
    from: SocketAddr,
    to: SocketAddr,
    requests: u32,
    responses: u32,
    quiet_since: Duration,
    is_assured: bool,
    is_known: bool,
    /// The ID, and when it was given.
    id: Option<(Vec<u8>, usize)>,
}

/// All flows, the quietest first.
struct Model {
    flows: Vec<Modelled>,
    keyed_by: KeyedBy,
    has_ids: bool,
    limits: FlowLimits,
    now: Duration,
    counts: FlowCounts,
    ids_given: usize,
}

/// The first byte says how flows are keyed, the next three what they are held to, and each two of the others what happens.
pub(crate) fn flows(input: &[u8]) {
    quic_header(input);
    let [kind, most, time, counts] = *input.first_chunk::<4>().unwrap_or(&[0; 4]);
    let limits = limits_of([most, time, counts]);
    let keyed_by = if kind & 1 == 0 {
        KeyedBy::Client
    } else {
        KeyedBy::ClientAndLocal
    };
    let quic = (kind & 2 != 0).then_some(QuicIds {
        short_id_bytes: ID_BYTES,
    });
    let mut machine = Machine::new(keyed_by, quic, limits, BuildHasherDefault::default());
    let mut model = Model {
        flows: Vec::new(),
        keyed_by,
        has_ids: quic.is_some(),
        limits,
        now: Duration::ZERO,
        counts: FlowCounts::default(),
        ids_given: 0,
    };
    for step in input.get(4..).unwrap_or_default().chunks_exact(2).take(1_000) {
        model.step(&mut machine, step[0], step[1]);
        model.agrees(&machine);
    }
}

/// A header says what stands in the bytes, and more bytes do not change it.
fn quic_header(input: &[u8]) {
    let whole = QuicHeader::parse(input, ID_BYTES);
    for end in 0..input.len().min(600) {
        let cut = QuicHeader::parse(&input[..end], ID_BYTES);
        assert!(cut.is_none() || cut == whole, "after {end} bytes");
    }
    let text = match whole {
        None => return,
        Some(QuicHeader::Short { destination }) => [&input[..1], destination].concat(),
        Some(QuicHeader::Long {
            version,
            destination,
            source,
        }) => {
            let length = |id: &[u8]| [u8::try_from(id.len()).unwrap()];
            let (long, short) = (length(destination), length(source));
            [&input[..1], &version.to_be_bytes(), &long, destination, &short, source].concat()
        }
    };
    assert!(input.starts_with(&text));
}

fn limits_of([flows, time, counts]: [u8; 3]) -> FlowLimits {
    let number = |bits: u8| (bits & 4 != 0).then_some(u32::from(bits & 3));
    FlowLimits {
        max_flows: u32::from(flows % 12),
        idle_timeout: Duration::from_secs(u64::from(time % 16)),
        requests: number(counts),
        responses: number(counts >> 4),
    }
}

impl Model {
    fn step(&mut self, machine: &mut Machine, what: u8, detail: u8) {
        let port = 1_000 * u16::from(detail & 15);
        let from = SocketAddr::from(([127, 0, 0, 1], port));
        let to = SocketAddr::from(([127, 0, 0, 1 + (detail >> 4 & 1)], 1_000));
        let id = [0x61, detail >> 5];
        match what % 16 {
            0..=7 => {
                let payload = match what >> 4 & 3 {
                    0 => b"\x40".to_vec(),
                    1 => [&b"\x40"[..], &id, b"data"].concat(),
                    _ => [&b"\xc0\0\0\0\x01\x02"[..], &id, b"\0"].concat(),
                };
                let id = (what & 0x30 != 0 && self.has_ids).then_some(id);
                let handled = machine.handle_datagram(
                    Datagram {
                        from,
                        to,
                        payload: &payload,
                    },
                    self.now,
                );
                self.datagram((from, to), id, handled);
            }
            8..=11 => self.response(machine, what, detail),
            12 => self.now += Duration::from_millis(u64::from(detail) * 20),
            13 => self.expire(machine),
            14 => {
                if let Some(at) = usize::from(detail).checked_rem(self.flows.len()) {
                    let ended = self.flows.remove(at);
                    machine.end(ended.flow);
                    // Ending it twice changes nothing.
                    machine.end(ended.flow);
                    assert_eq!(machine.handle_response(ended.flow, b"", self.now), Answer::Stray);
                }
            }
            _ => {
                self.limits = limits_of([what >> 4, detail, detail]);
                machine.set_limits(self.limits);
            }
        }
    }

    fn datagram(&mut self, (from, to): (SocketAddr, SocketAddr), id: Option<[u8; 2]>, handled: Handled) {
        if from.port() == 0 || from == to {
            self.counts.unanswerable += 1;
            assert_eq!(handled, Handled::Dropped(DropReason::Unanswerable));
            return;
        }
        let is_it =
            |flow: &Modelled| flow.is_known && flow.from == from && (self.keyed_by == KeyedBy::Client || flow.to == to);
        if let Some(at) = self.flows.iter().position(is_it) {
            let flow = self.flows[at].flow;
            let ends = self.request(at);
            assert_eq!(handled, Handled::Forward { flow, ends });
            return;
        }
        let beside = self
            .flows
            .iter()
            .filter_map(|flow| flow.id.as_ref().map(|(known, given)| (flow.flow, known, given)))
            .filter(|(_, known, _)| id.is_some_and(|id| id[..] == known[..]))
            .max_by_key(|(_, _, given)| **given)
            .map(|(flow, _, _)| flow);
        let evicted = match self.flows.len().cmp(&(self.limits.max_flows as usize)) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => {
                let makes_room = |flow: &Modelled| !flow.is_assured && Some(flow.flow) != beside;
                self.flows.iter().position(makes_room)
            }
            std::cmp::Ordering::Greater => None,
        };
        if evicted.is_none() && self.flows.len() >= self.limits.max_flows as usize {
            self.counts.refused += 1;
            assert_eq!(handled, Handled::Dropped(DropReason::Full));
            return;
        }
        let Handled::New { flow, .. } = handled else {
            panic!("{handled:?} instead of a new flow");
        };
        if let Some(at) = evicted {
            self.counts.evicted += 1;
            assert_eq!(self.flows.remove(at).flow, flow);
        }
        assert!(
            self.flows.iter().all(|other| other.flow != flow),
            "a number is used twice"
        );
        self.counts.opened += 1;
        self.counts.moved += u64::from(beside.is_some());
        self.ids_given += 1;
        self.flows.push(Modelled {
            flow,
            from,
            to,
            requests: 0,
            responses: 0,
            quiet_since: self.now,
            is_assured: false,
            is_known: true,
            id: beside.and(id).map(|id| (id.to_vec(), self.ids_given)),
        });
        let ends = self.request(self.flows.len() - 1);
        let expected = Handled::New {
            flow,
            beside,
            id: id.and_then(|id| ConnectionId::new(&id)),
            evicts: evicted.is_some(),
            ends,
        };
        assert_eq!(handled, expected);
    }

    /// Counts a datagram of the client; says whether the flow ends with it.
    fn request(&mut self, at: usize) -> bool {
        let mut flow = self.flows.remove(at);
        flow.requests += 1;
        flow.is_assured |= flow.responses > 0;
        flow.quiet_since = self.now;
        flow.is_known &= self.limits.requests.is_none_or(|limit| flow.requests < limit);
        self.keep_or_finish(flow)
    }

    fn keep_or_finish(&mut self, flow: Modelled) -> bool {
        let is_last = self.limits.requests.is_none_or(|limit| flow.requests >= limit)
            && self
                .limits
                .responses
                .is_some_and(|each| flow.responses >= each * flow.requests);
        if is_last {
            self.counts.finished += 1;
        } else {
            self.flows.push(flow);
        }
        is_last
    }

    fn response(&mut self, machine: &mut Machine, what: u8, detail: u8) {
        let Some(at) = usize::from(detail & 15).checked_rem(self.flows.len()) else {
            return;
        };
        let mut flow = self.flows.remove(at);
        let id = [0x61, detail >> 5];
        let tells_id = what & 0x10 != 0;
        let payload = if tells_id {
            [&b"\xc0\0\0\0\x01\0\x02"[..], &id].concat()
        } else {
            [&b"\x40"[..], &id].concat()
        };
        let answer = machine.handle_response(flow.flow, &payload, self.now);
        flow.responses += 1;
        flow.quiet_since = self.now;
        if tells_id && self.has_ids && flow.id.as_ref().is_none_or(|(known, _)| known[..] != id) {
            self.ids_given += 1;
            flow.id = Some((id.to_vec(), self.ids_given));
        }
        let (client, local) = (flow.from, flow.to);
        let ends = self.keep_or_finish(flow);
        assert_eq!(answer, Answer::PassOn { client, local, ends });
    }

    /// Ends what has been quiet for too long, the quietest first.
    fn expire(&mut self, machine: &mut Machine) {
        loop {
            let due = self
                .flows
                .iter()
                .enumerate()
                .filter(|(_, flow)| flow.quiet_since + self.limits.idle_timeout <= self.now)
                .min_by_key(|(_, flow)| flow.quiet_since);
            let Some((_, quietest)) = due else {
                assert_eq!(machine.handle_timeout(self.now), None);
                return;
            };
            let quiet_since = quietest.quiet_since;
            let ended = machine.handle_timeout(self.now).unwrap();
            let at = self.flows.iter().position(|flow| flow.flow == ended).unwrap();
            assert_eq!(self.flows.remove(at).quiet_since, quiet_since);
            self.counts.expired += 1;
        }
    }

    fn agrees(&self, machine: &Machine) {
        assert_eq!(machine.counts(), self.counts);
        assert_eq!(machine.len() as usize, self.flows.len());
        assert_eq!(machine.is_empty(), self.flows.is_empty());
        let next = self
            .flows
            .iter()
            .map(|flow| flow.quiet_since + self.limits.idle_timeout)
            .min();
        assert_eq!(machine.poll_timeout(), next);
        let mut known: Vec<_> = self.flows.iter().map(|flow| (flow.flow, flow.from, flow.to)).collect();
        known.sort();
        assert!(machine.iter().eq(known));
    }
}
