//! What do limits make of a request of which no more is known than what was written down?
//!
//! The way of a live request through its limits, step by step: who is looked at how, what is counted under which key, who is
//! asked, and what is given back. Only what a client would be told, and when, is of no interest here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use isobar_balance::Moment;
use isobar_l4::throttle::Way;
use isobar_limit::{Algorithm as _, Claim, Denial, Grant, Key, Quota, Transaction, Unit};
use isobar_observe::LimitOutcome;
use isobar_plan::{HashPart, LimitAlgorithm, LimitCounting, LimitKind, Settlement};

use super::key::Prefixes;
use super::{Gathered, Look, RunningLimit, bandwidth, cost, key, look};
pub use crate::key::{cookie, parameter, with_host};
pub use crate::request::last_untrusted as client_address;

/// What is known of a request, as far as limits go by it.
pub trait Facts {
    /// The client's address.
    fn address(&self) -> IpAddr;

    /// Lends a part of a key but for the client's address; none: the request does not have it.
    fn part<R>(&self, part: &HashPart, f: impl FnOnce(Option<&[u8]>) -> R) -> R;

    /// The method.
    fn method(&self) -> Option<&[u8]>;

    /// The listener's name.
    fn listener(&self) -> &str;

    /// The route's name.
    fn route(&self) -> Option<&str>;

    /// The name asked for in the TLS handshake.
    fn tls_name(&self) -> Option<&[u8]>;

    /// The user, where one has to say who it is.
    fn user(&self) -> Option<&str> {
        None
    }

    /// Whether all is known of the request that a limit goes by; of a live one it is.
    fn knows(&self, _counting: &LimitCounting) -> bool {
        true
    }
}

/// What came of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// Nobody can say: what its key is made of is not known.
    Unjudged,
    /// It was not asked, because another one had refused.
    NotAsked,
    /// This.
    To(LimitOutcome),
}

/// What one limit made of the request.
#[derive(Debug, Clone, Copy)]
pub struct Decided {
    /// What it came to.
    pub came: Came,
    /// Whom it counts; none: nobody.
    pub counted: Option<Counted>,
    /// What the [end](RunningLimit::end) of the request changes.
    pub taken: Option<Taken>,
}

/// Whom a limit counts, and what holds for that key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The key.
    pub key: Key,
    /// What it may take at once, in units.
    pub capacity: u64,
    /// What it may take in which time.
    pub quota: Quota,
    /// What the request takes, as far as that is known when it begins.
    pub cost: u64,
}

/// What a request has of a limit until it ends.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    algorithm: LimitAlgorithm,
    /// None: bytes have been let through, and are counted as they go.
    grant: Option<Grant>,
    key: Key,
}

/// The bytes of a request and of its answer, as far as they are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// From the client.
    pub up: Option<u64>,
    /// To the client.
    pub down: Option<u64>,
}

/// What all limits made of the request. *Shape*: `limits` has an entry for each, in their order.
#[derive(Debug, Default)]
pub struct Judgement {
    /// What each made of it.
    pub limits: Vec<Decided>,
    /// The one that refused it.
    pub refused_by: Option<usize>,
    /// The first that would have, were it enforced.
    pub shadow: Option<usize>,
    /// How long it has to wait first.
    pub delay: Duration,
}

const NOT_ASKED: Decided = Decided {
    came: Came::NotAsked,
    counted: None,
    taken: None,
};

impl RunningLimit {
    /// The key of a request, and whether the request has all parts of it.
    #[must_use]
    pub fn key_of(&self, facts: &impl Facts) -> (Key, bool) {
        key::of(facts, self)
    }

    /// The network that an address is counted with.
    #[must_use]
    pub fn network_of(&self, address: IpAddr) -> IpAddr {
        key::network(address, Prefixes::of(&self.settings().counting))
    }

    /// What the end of a request adds to what it took when it began; less than zero: so much is given back. None: nothing changes then.
    #[must_use]
    pub fn owed(&self, cost: u64, carried: Carried) -> Option<i64> {
        let counting = &self.settings().counting;
        let difference =
            |actual: u64| i64::try_from(actual).unwrap_or(i64::MAX) - i64::try_from(cost).unwrap_or(i64::MAX);
        match (counting.kind, self.settlement()) {
            (LimitKind::Concurrency, _) => Some(difference(0)),
            (LimitKind::Bandwidth { .. }, _) => {
                let bytes = self.bytes_of(carried).map(|(_, bytes)| bytes);
                Some(bytes.fold(0, |sum: i64, bytes| sum.saturating_add_unsigned(bytes)))
            }
            (_, Some(&Settlement::Bytes(each))) => Some(difference(cost::by_bytes(carried.down?, each))),
            _ => None,
        }
    }

    /// A request has ended: what it had is given back, what it cost in the end is counted.
    pub fn end(&self, taken: &Taken, carried: Carried, now: Moment) {
        for (way, bytes) in self.bytes_of(carried) {
            self.spend((taken.key, 0), (way, bytes), now);
        }
        let Some(grant) = &taken.grant else {
            return;
        };
        let owed = self.owed(grant.decision.receipt.cost, carried).unwrap_or(0);
        let actual = grant.decision.receipt.cost.saturating_add_signed(owed);
        self.table().settle(&taken.algorithm, grant, actual, now);
    }

    /// The bytes that it counts as they go.
    fn bytes_of(&self, carried: Carried) -> impl Iterator<Item = (Way, u64)> {
        let kind = self.settings().counting.kind;
        let ways = [(Way::Up, carried.up), (Way::Down, carried.down)];
        let counted = ways.into_iter().filter(move |(way, _)| bandwidth::counts(kind, *way));
        counted.filter_map(|(way, bytes)| Some((way, bytes?)))
    }
}

/// Asks limits as a live request asks those of its route.
///
/// *Cost*: as for a live request; allocates nothing once the judgement has room.
pub fn judge(limits: &[Arc<RunningLimit>], facts: &impl Facts, now: Moment, judgement: &mut Judgement) {
    judgement.limits.clear();
    judgement.limits.resize(limits.len(), NOT_ASKED);
    (judgement.refused_by, judgement.shadow, judgement.delay) = (None, None, Duration::ZERO);
    let mut gathered = Gathered::default();
    let mut trial = Trial {
        now,
        places: [0; Transaction::MOST_CLAIMS],
        judgement,
    };
    for asked in limits.iter().enumerate() {
        if !trial.look_at(asked, facts, &mut gathered) {
            return;
        }
    }
    let mut transaction = Transaction::default();
    match transaction.ask(&gathered.claims, now) {
        Ok(outcome) => {
            trial.judgement.delay = outcome.delay;
            trial.admitted(&gathered, &transaction);
        }
        Err(denial) => trial.refused(&gathered, denial),
    }
}

/// A request on its way through its limits.
struct Trial<'j> {
    now: Moment,
    /// Which of the limits each claim is of.
    places: [usize; Transaction::MOST_CLAIMS],
    judgement: &'j mut Judgement,
}

impl Trial<'_> {
    /// Looks at the request for one limit; *returns* whether the next ones are to be looked at.
    fn look_at<'a>(
        &mut self,
        (index, limit): (usize, &'a Arc<RunningLimit>),
        facts: &impl Facts,
        gathered: &mut Gathered<'a>,
    ) -> bool {
        if !facts.knows(&limit.settings().counting) {
            self.put(index, |decided| decided.came = Came::Unjudged);
            return true;
        }
        match look(facts, limit, self.now) {
            Look::Passes(outcome) => {
                limit.count(0, outcome);
                self.came(index, outcome);
            }
            Look::Turned(outcome, _) => {
                limit.count(0, outcome);
                self.came(index, outcome);
                self.judgement.refused_by = Some(index);
                return false;
            }
            Look::Counted { key, cost, .. } => {
                if let Some(place) = self.places.get_mut(gathered.claims.len()) {
                    *place = index;
                }
                let claim = limit.claim(key);
                gathered.add(limit, Claim { cost, ..claim }, self.now);
                let algorithm = claim.limit;
                let capacity = algorithm.standing(&[0; 2], self.now).remaining;
                let quota = algorithm.quota();
                self.put(index, |decided| {
                    decided.counted = Some(Counted {
                        key,
                        capacity,
                        quota,
                        cost,
                    });
                });
            }
        }
        true
    }

    fn refused(&mut self, gathered: &Gathered<'_>, denial: Denial) {
        for (counted, place) in gathered.counted.iter().zip(self.places).take(denial.claim) {
            counted.passed(LimitOutcome::Returned, 0, self.now);
            self.came(place, LimitOutcome::Returned);
        }
        let refusing = gathered.counted.get(denial.claim).zip(self.places.get(denial.claim));
        if let Some((counted, &place)) = refusing {
            let refused = (LimitOutcome::Refused, denial.decision.verdict);
            counted.limit.decided(0, refused, self.now);
            self.came(place, LimitOutcome::Refused);
            self.judgement.refused_by = Some(place);
        }
    }

    fn admitted(&mut self, gathered: &Gathered<'_>, transaction: &Transaction) {
        let asked = gathered.claims.iter().zip(&gathered.counted).zip(self.places);
        for (claim, ((asked, counted), place)) in asked.enumerate() {
            let (algorithm, key) = (*asked.limit, asked.key);
            if asked.limit.quota().unit == Unit::ContentBytes {
                let grant = None;
                self.put(place, |decided| decided.taken = Some(Taken { algorithm, grant, key }));
            }
            let grant = transaction.grant(claim);
            let outcome = counted.outcome(grant);
            counted.passed(outcome, 0, self.now);
            self.came(place, outcome);
            let Some(grant) = grant else {
                continue;
            };
            if asked.limit.quota().unit == Unit::ConcurrentRequests || counted.limit.settlement().is_some() {
                let grant = Some(*grant);
                self.put(place, |decided| decided.taken = Some(Taken { algorithm, grant, key }));
            }
        }
    }

    fn came(&mut self, index: usize, outcome: LimitOutcome) {
        if outcome == LimitOutcome::ShadowRefused {
            self.judgement.shadow.get_or_insert(index);
        }
        self.put(index, |decided| decided.came = Came::To(outcome));
    }

    fn put(&mut self, index: usize, put: impl FnOnce(&mut Decided)) {
        if let Some(decided) = self.judgement.limits.get_mut(index) {
            put(decided);
        }
    }
}
