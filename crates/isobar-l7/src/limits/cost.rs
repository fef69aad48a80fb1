//! What does a request cost, and what did it cost in the end?
//!
//! Who asks says what it is likely to be, or the limit does; the answer tells what it was. What was taken too much is given back
//! exactly, and what was taken too little is taken then, whether it is there or not.

use std::sync::Arc;
use std::time::Instant;

use isobar_limit::{Grant, Limit};
use isobar_plan::{LimitCounting, Settlement};
use isobar_upstream::moment;
use isobar_wire::ResponseHead;

use super::RunningLimit;
use super::trial::Facts;
use crate::exchange::Exchange;

/// The most that an answer may say its request has cost.
const MOST: u64 = 1_000_000_000;

/// A cost that is known only when there is an answer.
#[derive(Debug)]
pub(super) struct Estimate {
    limit: Arc<RunningLimit>,
    algorithm: Limit,
    /// None: it is settled.
    grant: Option<Grant>,
}

impl Estimate {
    pub(super) fn new(limit: &Arc<RunningLimit>, algorithm: Limit, grant: Grant) -> Self {
        Self {
            limit: Arc::clone(limit),
            algorithm,
            grant: Some(grant),
        }
    }

    fn settle(&mut self, actual: u64) {
        if let Some(grant) = self.grant.take() {
            let now = moment(Instant::now());
            self.limit.table().settle(&self.algorithm, &grant, actual, now);
        }
    }
}

/// What a request takes of a limit, as far as is known.
pub(super) fn of(facts: &impl Facts, counting: &LimitCounting) -> u64 {
    let Some(costs) = counting.costs.as_deref() else {
        return counting.cost;
    };
    let Some(part) = &costs.source else {
        return counting.cost;
    };
    let said = facts.part(part, |value| number(value?));
    said.unwrap_or(counting.cost).min(costs.max)
}

impl RunningLimit {
    /// What an answer says of what its request cost; none: nothing.
    pub(super) fn settlement(&self) -> Option<&Settlement> {
        self.settings().counting.costs.as_ref()?.settle.as_ref()
    }
}

/// Corrects what the head of an answer tells the cost of.
pub(crate) fn settle_by_head(exchange: &mut Exchange, head: &[u8]) {
    let Exchange { limited, response, .. } = exchange;
    for estimate in &mut limited.estimates {
        let Some(Settlement::Header(name)) = estimate.limit.settlement() else {
            continue;
        };
        if let Some(actual) = said(response, head, name.as_bytes()) {
            estimate.settle(actual);
        }
    }
}

/// Corrects what goes by how long the answer was, once it is over; what no server has answered stays as it was.
pub(crate) fn settle_by_bytes(exchange: &mut Exchange) {
    let Exchange { limited, report, .. } = exchange;
    if !report.answer_begun {
        return;
    }
    for estimate in &mut limited.estimates {
        if let Some(Settlement::Bytes(each)) = estimate.limit.settlement() {
            estimate.settle(by_bytes(report.bytes_out, *each));
        }
    }
}

/// What an answer of so many bytes has cost, at a unit for each so many.
pub(super) fn by_bytes(bytes: u64, each: u64) -> u64 {
    bytes.div_ceil(each.max(1)).clamp(1, MOST)
}

/// Whether a field of an answer is nobody's business but the limits'.
pub(crate) fn strips(exchange: &Exchange, name: &[u8]) -> bool {
    let told = exchange
        .limited
        .estimates
        .iter()
        .filter_map(|estimate| estimate.limit.settlement());
    { told }
        .any(|settlement| matches!(settlement, Settlement::Header(own) if name.eq_ignore_ascii_case(own.as_bytes())))
}

fn said(response: &ResponseHead, head: &[u8], name: &[u8]) -> Option<u64> {
    let mut fields = response.fields.iter();
    let field = fields.find(|field| field.name.of(head).eq_ignore_ascii_case(name))?;
    number(field.value.of(head)).map(|actual| actual.min(MOST))
}

/// A whole number; one that is too large for anything is the largest.
fn number(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn costs_are_whole_numbers() {
        let check = |text: &str, expected| assert_eq!(number(text.as_bytes()), expected, "{text}");
        check("7", Some(7));
        check(" 0 ", Some(0));
        check("99999999999999999999999", Some(u64::MAX));
        for text in ["", "-1", "1.5", "+1", "many", "1 2"] {
            check(text, None);
        }
        assert_eq!(number(b"\xff"), None);
    }
}
