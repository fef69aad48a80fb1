//! Which servers does a balancer leave out for how they answer?
//!
//! The detector that live traffic has, over the answers of one front. It is called as there: by a failure that is one
//! too many, by changes of the servers, by probes that passed, and when its own time has come.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use isobar_balance::{Attention, Chance, Conduct, Ejection, Moment, OutlierDetector, Outliers, Standing, Verdict};

use super::front::Known;
use crate::draws;

/// The servers of one front, and what they are judged by.
#[derive(Debug)]
pub(super) struct Detection {
    settings: Outliers,
    chance: Chance,
    /// By slot.
    conducts: Vec<Arc<Conduct>>,
    /// Who is out, by slot.
    out: Vec<bool>,
    /// None: there are too few servers.
    current: Option<Current>,
    /// The next judgement that is put down.
    planned: Option<Judgement>,
}

#[derive(Debug)]
struct Current {
    detector: OutlierDetector,
    /// The slots of those that are followed, by their position.
    slots: Vec<u32>,
}

/// When servers are to be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) at: u64,
    /// Whether somebody is out, who may be back then.
    pub(super) returns: bool,
}

impl Detection {
    pub(super) fn new(settings: Outliers, servers: usize, seed: u64) -> Self {
        Self {
            settings,
            chance: draws::stream(seed, 8),
            conducts: (0..servers).map(|_| Arc::default()).collect(),
            out: vec![false; servers],
            current: None,
            planned: None,
        }
    }

    pub(super) fn is_ejected(&self, slot: u32) -> bool {
        self.out.get(slot as usize).copied().unwrap_or_default()
    }

    /// Counts how a request ended. *Cost*: some atomic additions.
    pub(super) fn count(&self, slot: u32, verdict: Verdict, latency: Duration, now: u64) -> Attention {
        let (Some(conduct), Some(_)) = (self.conducts.get(slot as usize), &self.current) else {
            return Attention::None;
        };
        let rules = &self.settings.rules;
        if rules.latency.is_some() && verdict == Verdict::Answered {
            conduct.count_latency(latency);
        }
        conduct.count(verdict, Moment::new(now), rules)
    }

    /// Takes in which servers are known; with too few of them, everybody is taken back and nobody judged.
    pub(super) fn follow(&mut self, known: impl Iterator<Item = Known>, now: u64) {
        let known: Vec<Known> = known.collect();
        if known.len() < self.settings.min_servers as usize {
            if let Some(Current { mut detector, .. }) = self.current.take() {
                detector.follow([]);
            }
            self.out.fill(false);
            return;
        }
        let rules = self.settings.rules;
        let current = self.current.get_or_insert_with(|| Current {
            detector: OutlierDetector::new(rules, Moment::new(now)),
            slots: Vec::new(),
        });
        let slots = || known.iter().map(|known| known.slot);
        if !slots().eq(current.slots.iter().copied()) {
            let conducts = slots().filter_map(|slot| self.conducts.get(slot as usize));
            current.detector.follow(conducts.map(Arc::clone));
            current.slots = slots().collect();
            // Who left and comes again begins anew.
            for (slot, out) in (0..).zip(&mut self.out) {
                let position = current.slots.iter().position(|followed| *followed == slot);
                *out = position.is_some_and(|position| current.detector.is_ejected(position));
            }
        }
        let is_missing = |known: &Known| known.weight == 0 || known.standing != Standing::Available;
        let missing = known.iter().enumerate().filter(|(_, known)| is_missing(known));
        let missing: Vec<usize> = missing.map(|(position, _)| position).collect();
        current.detector.missing(&missing);
    }

    /// The probes of a server pass: if it is out, it is back.
    pub(super) fn probes_passed(&mut self, slot: u32) {
        let Some(current) = &mut self.current else {
            return;
        };
        let position = current.slots.iter().position(|followed| *followed == slot);
        if position
            .and_then(|position| current.detector.probe_passed(position))
            .is_some()
        {
            self.set_out(slot, false);
        }
    }

    /// Looks at everything; *returns* the slots that were ejected, and whether anything changed.
    pub(super) fn judge(&mut self, now: u64) -> (Vec<u32>, bool) {
        let Some(current) = &mut self.current else {
            return (Vec::new(), false);
        };
        let changes = current.detector.evaluate(Moment::new(now), &mut self.chance);
        let slot = |position: usize| current.slots.get(position).copied();
        let told: Vec<(u32, bool)> = changes
            .iter()
            .filter_map(|change| Some((slot(change.server)?, matches!(change.what, Ejection::Ejected { .. }))))
            .collect();
        for (slot, is_out) in &told {
            self.set_out(*slot, *is_out);
        }
        let ejected = told.iter().filter(|(_, is_out)| *is_out).map(|(slot, _)| *slot);
        (ejected.collect(), !told.is_empty())
    }

    // tidy: allow(boolean-parameter): the name of the method says what is true.
    fn set_out(&mut self, slot: u32, is_out: bool) {
        if let Some(out) = self.out.get_mut(slot as usize) {
            *out = is_out;
        }
    }

    /// The judgement that is to be put down, unless it is already.
    pub(super) fn plan(&mut self, now: u64) -> Option<Judgement> {
        self.planned = self.planned.filter(|planned| planned.at > now);
        let due = self.current.as_ref()?.detector.poll_timeout()?;
        let wanted = Judgement {
            at: due.nanoseconds().max(now),
            returns: self.out.contains(&true),
        };
        let is_planned = |planned: Judgement| planned.at <= wanted.at && (planned.returns || !wanted.returns);
        if self.planned.is_some_and(is_planned) {
            return None;
        }
        self.planned = Some(wanted);
        Some(wanted)
    }
}
