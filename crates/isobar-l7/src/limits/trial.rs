//! What do limits make of a request of which no more is known than what was written down?
//!
//! The way of a live request through its limits, step by step: who is looked at how, what is counted under which key, who is
//! asked, and what is given back. Only what a client would be told, and when, is of no interest here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use isobar_balance::Moment;
use isobar_limit::{Algorithm as _, Denial, Effect, Grant, Key, Quota, Transaction, Unit, Verdict};
use isobar_observe::LimitOutcome;
use isobar_plan::{HashPart, LimitAlgorithm, LimitKey};

use super::{Gathered, Look, RunningLimit, key, look};
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

    /// Whether it is known if the request has a part; of a live one it is.
    fn knows(&self, _part: &LimitKey) -> bool {
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
    /// What is to be [given back](RunningLimit::give_back) when the request ends.
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
}

/// A place in flight.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    algorithm: LimitAlgorithm,
    grant: Grant,
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
        key::network(address, &self.settings().counting)
    }

    /// Gives back a place in flight.
    pub fn give_back(&self, taken: &Taken, now: Moment) {
        self.table().settle(&taken.algorithm, &taken.grant, 0, now);
    }
}

/// Asks limits as a live request asks those of its route.
///
/// *Cost*: as for a live request; allocates nothing once the judgement has room.
pub fn judge(limits: &[Arc<RunningLimit>], facts: &impl Facts, now: Moment, judgement: &mut Judgement) {
    judgement.limits.clear();
    judgement.limits.resize(limits.len(), NOT_ASKED);
    (judgement.refused_by, judgement.shadow, judgement.delay) = (None, None, Duration::ZERO);
    let Some(first) = limits.first() else {
        return;
    };
    let mut gathered = Gathered::nothing(first);
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
    match Transaction::ask(gathered.claims(), now) {
        Ok((transaction, outcome)) => {
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
        let key = &limit.settings().counting.key;
        if !key.iter().all(|part| facts.knows(part)) {
            self.put(index, |decided| decided.came = Came::Unjudged);
            return true;
        }
        match look(facts, limit, self.now) {
            Look::Passes(outcome) => {
                limit.count(0, outcome);
                self.came(index, outcome);
            }
            Look::Turned(..) if !limit.is_binding(self.now) => {
                limit.count(0, LimitOutcome::ShadowRefused);
                self.came(index, LimitOutcome::ShadowRefused);
                self.judgement.shadow.get_or_insert(index);
            }
            Look::Turned(outcome, _) => {
                limit.count(0, outcome);
                self.came(index, outcome);
                self.judgement.refused_by = Some(index);
                return false;
            }
            Look::Counted(key) => {
                if let Some(place) = self.places.get_mut(gathered.claims().len()) {
                    *place = index;
                }
                gathered.add(limit, key, self.now);
                let algorithm = limit.claim(key).limit;
                let capacity = algorithm.standing(&[0; 2], self.now).remaining;
                let quota = algorithm.quota();
                self.put(index, |decided| {
                    decided.counted = Some(Counted { key, capacity, quota });
                });
            }
        }
        true
    }

    fn refused(&mut self, gathered: &Gathered<'_>, denial: Denial) {
        for (counted, place) in gathered.counted().iter().zip(self.places).take(denial.claim) {
            let passed = (LimitOutcome::Returned, Verdict::Admitted);
            counted.limit.decided(0, passed, self.now);
            self.came(place, LimitOutcome::Returned);
        }
        let refusing = gathered.counted().get(denial.claim).zip(self.places.get(denial.claim));
        if let Some((counted, &place)) = refusing {
            let refused = (LimitOutcome::Refused, denial.decision.verdict);
            counted.limit.decided(0, refused, self.now);
            self.came(place, LimitOutcome::Refused);
            self.judgement.refused_by = Some(place);
        }
    }

    fn admitted(&mut self, gathered: &Gathered<'_>, transaction: &Transaction) {
        let asked = gathered.claims().iter().zip(gathered.counted()).zip(self.places);
        for (claim, ((asked, counted), place)) in asked.enumerate() {
            let Some(grant) = transaction.grant(claim) else {
                let passed = (LimitOutcome::ShadowRefused, Verdict::Admitted);
                counted.limit.decided(0, passed, self.now);
                self.came(place, LimitOutcome::ShadowRefused);
                self.judgement.shadow.get_or_insert(place);
                continue;
            };
            let outcome = match grant.decision.verdict {
                Verdict::Delayed(_) if counted.effect == Effect::Binding => LimitOutcome::Delayed,
                _ => LimitOutcome::Admitted,
            };
            counted.limit.decided(0, (outcome, Verdict::Admitted), self.now);
            self.came(place, outcome);
            if asked.limit.quota().unit == Unit::ConcurrentRequests {
                let (algorithm, grant) = (*asked.limit, *grant);
                self.put(place, |decided| decided.taken = Some(Taken { algorithm, grant }));
            }
        }
    }

    fn came(&mut self, index: usize, outcome: LimitOutcome) {
        self.put(index, |decided| decided.came = Came::To(outcome));
    }

    fn put(&mut self, index: usize, put: impl FnOnce(&mut Decided)) {
        if let Some(decided) = self.judgement.limits.get_mut(index) {
            put(decided);
        }
    }
}
