//! How are counts split by what an exchange came to?
//!
//! Both splits have a fixed number of parts, so neither clients nor servers can add a time series.

use core::marker::PhantomData;

use crate::{Cause, Counter, Fault};

/// The hundreds of a status code (RFC 9110 section 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatusClass {
    /// 100 to 199; in counts of final answers only 101.
    Informational,
    /// 200 to 299.
    Successful,
    /// 300 to 399.
    Redirection,
    /// 400 to 499.
    ClientError,
    /// 500 to 599.
    ServerError,
}

impl StatusClass {
    /// Every class, ascending.
    pub const ALL: [Self; 5] = [
        Self::Informational,
        Self::Successful,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
    ];

    /// The class of a status; none: it is not between 100 and 599.
    #[inline]
    #[must_use]
    pub const fn of(status: u16) -> Option<Self> {
        match status / 100 {
            1 => Some(Self::Informational),
            2 => Some(Self::Successful),
            3 => Some(Self::Redirection),
            4 => Some(Self::ClientError),
            5 => Some(Self::ServerError),
            _ => None,
        }
    }

    /// The word for it in metrics.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Successful => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}

/// Answers counted by the class of their status, written by one thread.
#[derive(Debug, Default)]
pub struct ByClass([Counter; StatusClass::ALL.len()]);

impl ByClass {
    /// Counts one answer; a status outside 100 to 599 is not counted.
    #[inline]
    pub fn count(&self, status: u16) {
        if let Some(counter) = StatusClass::of(status).and_then(|class| self.0.get(class as usize)) {
            counter.increment();
        }
    }

    /// How many answers of a class were counted.
    #[must_use]
    pub fn value(&self, class: StatusClass) -> u64 {
        self.0.get(class as usize).map_or(0, Counter::value)
    }
}

/// The sum of one or more [`ByClass`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassTotals([u64; StatusClass::ALL.len()]);

impl ClassTotals {
    /// Adds what a shard counted.
    pub fn add(&mut self, shard: &ByClass) {
        for (total, count) in self.0.iter_mut().zip(&shard.0) {
            *total = total.wrapping_add(count.value());
        }
    }

    /// The counts with their classes.
    pub fn iter(&self) -> impl Iterator<Item = (StatusClass, u64)> + '_ {
        StatusClass::ALL.into_iter().zip(self.0)
    }
}

/// Which causes a count is split by.
pub trait Scope {
    /// Whether the cause belongs to the count; others are left out of it.
    fn takes(cause: Cause) -> bool;
}

/// Every cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EveryCause {}

impl Scope for EveryCause {
    fn takes(_: Cause) -> bool {
        true
    }
}

/// Causes that [blame one server](Cause::blames_one_server).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerCauses {}

impl Scope for ServerCauses {
    fn takes(cause: Cause) -> bool {
        cause.blames_one_server()
    }
}

/// Causes that can end a request before a route has taken it, when no server is involved yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlyCauses {}

impl Scope for EarlyCauses {
    fn takes(cause: Cause) -> bool {
        matches!(cause.fault(), Fault::Client | Fault::Isobar) || cause == Cause::RedirectedToTls
    }
}

/// Causes that say that there was [too much to do](Cause::is_overload).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverloadCauses {}

impl Scope for OverloadCauses {
    fn takes(cause: Cause) -> bool {
        cause.is_overload()
    }
}

/// Exchanges counted by how they ended, written by one thread.
#[derive(Debug)]
pub struct ByCause<S = EveryCause>([Counter; Cause::COUNT], PhantomData<S>);

/// Requests a server failed, by cause. Whatever was not its fault is left out, so every failed attempt can be given.
pub type Failures = ByCause<ServerCauses>;

/// Requests refused because there was too much to do, by cause.
pub type Overloads = ByCause<OverloadCauses>;

/// Requests refused before a route took them, by cause.
pub type Refusals = ByCause<EarlyCauses>;

impl<S> Default for ByCause<S> {
    fn default() -> Self {
        Self(core::array::from_fn(|_| Counter::default()), PhantomData)
    }
}

impl<S: Scope> ByCause<S> {
    /// Counts one exchange, if its cause belongs here.
    #[inline]
    pub fn count(&self, cause: Cause) {
        if S::takes(cause)
            && let Some(counter) = self.0.get(cause.index())
        {
            counter.increment();
        }
    }

    /// How many exchanges ended this way.
    #[must_use]
    pub fn value(&self, cause: Cause) -> u64 {
        self.0.get(cause.index()).map_or(0, Counter::value)
    }
}

/// The sum of one or more [`ByCause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CauseTotals<S = EveryCause>([u64; Cause::COUNT], PhantomData<S>);

impl<S> Default for CauseTotals<S> {
    fn default() -> Self {
        Self([0; Cause::COUNT], PhantomData)
    }
}

impl<S: Scope> CauseTotals<S> {
    /// Adds what a shard counted.
    pub fn add(&mut self, shard: &ByCause<S>) {
        for (total, count) in self.0.iter_mut().zip(&shard.0) {
            *total = total.wrapping_add(count.value());
        }
    }

    /// The counts with those causes that belong here.
    pub fn iter(&self) -> impl Iterator<Item = (Cause, u64)> + '_ {
        Cause::ALL.into_iter().zip(self.0).filter(|&(cause, _)| S::takes(cause))
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::{ByCause, ByClass, CauseTotals, ClassTotals, Failures, Refusals, StatusClass};
    use crate::Cause;

    #[test]
    fn classes_of_statuses() {
        let check = |status: u16, expected: Option<&str>| {
            assert_eq!(StatusClass::of(status).map(StatusClass::text), expected, "{status}");
        };
        check(0, None);
        check(99, None);
        check(101, Some("1xx"));
        check(200, Some("2xx"));
        check(304, Some("3xx"));
        check(499, Some("4xx"));
        check(599, Some("5xx"));
        check(600, None);
        check(u16::MAX, None);
    }

    #[test]
    fn every_class_and_cause_has_a_place_of_its_own() {
        let (classes, causes) = (ByClass::default(), <ByCause>::default());
        (0..=999).for_each(|status| classes.count(status));
        for (i, cause) in Cause::ALL.into_iter().enumerate() {
            (0..=i).for_each(|_| causes.count(cause));
        }
        let (mut by_class, mut by_cause) = (ClassTotals::default(), <CauseTotals>::default());
        by_class.add(&classes);
        by_cause.add(&causes);
        assert!(
            by_class
                .iter()
                .all(|(class, count)| count == 100 && classes.value(class) == 100)
        );
        let counts: Vec<u64> = by_cause.iter().map(|(_, count)| count).collect();
        assert_eq!(counts, (1..=Cause::COUNT as u64).collect::<Vec<_>>());
        assert_eq!(causes.value(Cause::Complete), 1);
    }

    #[test]
    fn what_belongs_elsewhere_is_left_out() {
        let check = |cause: Cause, of_the_server: u64, early: u64| {
            let (failures, refusals) = (Failures::default(), Refusals::default());
            failures.count(cause);
            refusals.count(cause);
            assert_eq!(
                (failures.value(cause), refusals.value(cause)),
                (of_the_server, early),
                "{cause}"
            );
            let (mut failed, mut refused) = (CauseTotals::default(), CauseTotals::default());
            failed.add(&failures);
            refused.add(&refusals);
            assert_eq!(
                failed.iter().any(|(shown, _)| shown == cause),
                of_the_server == 1,
                "{cause}"
            );
            assert_eq!(refused.iter().any(|(shown, _)| shown == cause), early == 1, "{cause}");
        };
        check(Cause::Complete, 0, 0);
        check(Cause::ClientMalformed, 0, 1);
        check(Cause::NoRoute, 0, 1);
        check(Cause::Shutdown, 0, 1);
        check(Cause::NoServer, 0, 0);
        check(Cause::ConnectFailed, 1, 0);
        check(Cause::ServerAborted, 1, 0);
    }
}
