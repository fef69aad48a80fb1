//! May a request pass that several limits count?
//!
//! All of them have to let it, or none has it in its books: what was taken from those that were asked first is given back when
//! one refuses. Which limits a request falls under, and in which order they are asked, is the caller's business.

use core::time::Duration;

use isobar_balance::Moment;

use crate::algorithm::Algorithm;
use crate::{
    Basis, Decision, Effect, Enforcement, Grant, Key, KeyName, Limit, Shared, SharedAsk, Sharing, Standing, Table,
    Terms, Unit, Verdict,
};

/// What one limit is asked.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Where its keys are.
    pub table: &'a Table,
    /// The limit.
    pub limit: &'a Limit,
    /// Whom it counts.
    pub key: Key,
    /// What it costs, as far as is known.
    pub cost: u64,
    /// Whether its refusal counts.
    pub enforcement: &'a Enforcement,
    /// With whom its books are kept; none: this instance keeps them alone.
    pub shared: Option<SharedClaim<'a>>,
}

/// What is asked where several instances share a limit.
#[derive(Debug, Clone, Copy)]
pub struct SharedClaim<'a> {
    /// Who knows of the others.
    pub with: &'a dyn Sharing,
    /// What all instances together let pass.
    pub terms: &'a Terms,
    /// What the store calls the key; none: it is known.
    pub name: Option<KeyName>,
}

impl Claim<'_> {
    /// The same, for a key that the store calls so.
    #[must_use]
    pub const fn called(mut self, name: Option<KeyName>) -> Self {
        if let Some(shared) = &mut self.shared {
            shared.name = name;
        }
        self
    }

    fn ask(&self, now: Moment) -> Grant {
        let Some(shared) = &self.shared else {
            return self.table.ask(self.limit, self.key, self.cost, now);
        };
        let ask = SharedAsk {
            key: self.key,
            name: shared.name.as_ref(),
            terms: shared.terms,
            cost: self.cost,
        };
        match shared.with.ask(ask, now) {
            Shared::Decided(decision, mark) => Grant::leased(self.key, decision, mark),
            Shared::OwnPart(instances) => self.table.ask(&shared.terms.part(instances), self.key, self.cost, now),
        }
    }

    /// What was left of it after a decision of its own.
    #[must_use]
    pub fn standing(&self, decision: &Decision) -> Standing {
        match self.shared {
            None => decision.standing(self.limit),
            Some(shared) => {
                let part = shared.terms.part(shared.with.instances());
                decision.standing(&part)
            }
        }
    }

    /// Corrects a grant to what was really taken; where instances share the limit, to less alone.
    fn settle(&self, grant: &Grant, actual: u64, now: Moment) {
        match (grant.basis(), self.shared) {
            (Basis::Lease(Some(mark)), Some(shared)) => {
                let back = grant.decision.receipt.cost.saturating_sub(actual);
                shared.with.put_back(grant.key(), mark, back);
            }
            (Basis::Lease(_), _) => {}
            (Basis::Entry | Basis::Sketch, Some(shared)) => {
                let part = shared.terms.part(shared.with.instances());
                self.table.settle(&part, grant, actual, now);
            }
            (Basis::Entry | Basis::Sketch, None) => self.table.settle(self.limit, grant, actual, now),
        }
    }
}

/// Why a request does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// Which of the claims was refused.
    pub claim: usize,
    /// What its limit said.
    pub decision: Decision,
}

/// How a request passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// How long it has to wait first: what the slowest of its limits says.
    pub delay: Duration,
    /// A bit for each claim that would have refused, were it not for its shadow.
    pub would_refuse: u32,
}

/// What a request took from its limits. *Shape*: one grant at most for each claim, in their order; the caller passes the same
/// claims each time.
#[derive(Debug, Clone)]
pub struct Transaction {
    grants: [Option<Grant>; Self::MOST_CLAIMS],
}

impl Default for Transaction {
    fn default() -> Self {
        Self {
            grants: [None; Self::MOST_CLAIMS],
        }
    }
}

impl Transaction {
    /// The most limits that one request may fall under; further ones are not asked.
    pub const MOST_CLAIMS: usize = 8;

    /// Asks all limits in turn, until one refuses, for a request that has taken nothing yet.
    ///
    /// *Errors*: the first refusal that counts. Everything was given back then, and exactly so: at the same moment, each
    /// limit has as much left as if it had not been asked, unless its table was too full for an entry.
    ///
    /// *Cost*: what each limit costs; no allocation.
    pub fn ask(&mut self, claims: &[Claim<'_>], now: Moment) -> Result<Outcome, Denial> {
        debug_assert!(
            claims.len() <= Self::MOST_CLAIMS,
            "claims past the maximum pass unasked"
        );
        debug_assert!(
            self.grants.iter().all(Option::is_none),
            "what was taken before would be forgotten"
        );
        let mut outcome = Outcome {
            delay: Duration::ZERO,
            would_refuse: 0,
        };
        for (index, (claim, place)) in claims.iter().zip(&mut self.grants).enumerate() {
            let effect = claim.enforcement.effect(claim.key, now);
            if effect == Effect::Ended {
                continue;
            }
            let grant = claim.ask(now);
            match (grant.decision.verdict, effect) {
                (Verdict::Refused { .. }, Effect::Binding) => {
                    self.give_back(claims, now);
                    return Err(Denial {
                        claim: index,
                        decision: grant.decision,
                    });
                }
                (Verdict::Refused { .. }, _) => outcome.would_refuse |= 1 << index,
                // A shadow delays nobody either.
                (Verdict::Delayed(delay), Effect::Binding) => outcome.delay = outcome.delay.max(delay),
                (Verdict::Delayed(_) | Verdict::Admitted, _) => {}
            }
            *place = grant.decision.verdict.passes().then_some(grant);
        }
        Ok(outcome)
    }

    /// What one limit granted; none: it was not asked, or would have refused.
    #[must_use]
    pub fn grant(&self, index: usize) -> Option<&Grant> {
        self.grants.get(index)?.as_ref()
    }

    /// Corrects what was taken from one limit to what it really was; the claim's cost from then on is that.
    pub fn settle(&mut self, claims: &[Claim<'_>], index: usize, actual: u64, now: Moment) {
        if let (Some(claim), Some(place)) = (claims.get(index), self.grants.get_mut(index))
            && let Some(grant) = place.take()
        {
            claim.settle(&grant, actual, now);
        }
    }

    /// Ends the request: what counts requests in flight has one less, and what was taken otherwise stays taken.
    pub fn end(mut self, claims: &[Claim<'_>], now: Moment) {
        for (index, claim) in claims.iter().enumerate() {
            if claim.limit.quota().unit == Unit::ConcurrentRequests {
                self.settle(claims, index, 0, now);
            }
        }
    }

    /// Takes everything back, as if the request had never come.
    pub fn give_back(&mut self, claims: &[Claim<'_>], now: Moment) {
        for index in 0..claims.len() {
            self.settle(claims, index, 0, now);
        }
    }
}

#[cfg(test)]
mod tests;
