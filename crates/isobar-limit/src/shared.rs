//! How is a limit asked whose books several instances keep together?
//!
//! What such a limit lets pass in all is its [`Terms`]; who has which part of it is known to whoever is [`Sharing`]. Where that
//! cannot be found out, the instance keeps to its own part, as a limit that it counts alone.

use core::fmt::Debug;
use core::time::Duration;

use isobar_balance::Moment;

use crate::{Decision, FixedWindow, Gcra, Key, LeaseMark, Limit, Rate, SlidingWindow, TokenBucket};

/// What all instances may let pass for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Terms {
    /// How it is counted.
    pub kind: SharedKind,
    /// How many in how long.
    pub rate: Rate,
    /// So many at once; of no meaning to windows.
    pub burst: u64,
}

/// How a limit counts that can be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SharedKind {
    /// As [`Gcra`] does.
    Gcra,
    /// As [`TokenBucket`] does.
    TokenBucket,
    /// As [`FixedWindow`] does, with windows of the store's clock.
    FixedWindow,
    /// As [`SlidingWindow`] does, with windows of the store's clock.
    SlidingWindow,
}

/// What a key is called in the store: the same on all instances, and different for any two keys.
pub type KeyName = [u8; 16];

/// A question about a key.
#[derive(Debug, Clone, Copy)]
pub struct SharedAsk<'a> {
    /// The key.
    pub key: Key,
    /// What the store calls it; none: it was known a moment ago.
    pub name: Option<&'a KeyName>,
    /// What holds for it.
    pub terms: &'a Terms,
    /// What is asked for.
    pub cost: u64,
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// It is decided; by this it is put back, where it was taken from somewhere.
    Decided(Decision, Option<LeaseMark>),
    /// The instance's own part decides: it is one of so many.
    OwnPart(u32),
}

/// Keeps the books of a limit together with other instances.
pub trait Sharing: Debug + Send + Sync {
    /// Asks for a request; never waits.
    fn ask(&self, ask: SharedAsk<'_>, now: Moment) -> Shared;

    /// Puts back what a request took that does not pass after all.
    fn put_back(&self, key: Key, mark: LeaseMark, cost: u64);

    /// How many instances there are, as far as is known.
    fn instances(&self) -> u32;
}

impl Terms {
    /// The most that pass at once.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        match self.kind {
            SharedKind::Gcra | SharedKind::TokenBucket => self.burst,
            SharedKind::FixedWindow | SharedKind::SlidingWindow => self.rate.units(),
        }
    }

    /// The part of one of so many instances, as a limit of its own; one unit at least, where windows are counted.
    #[must_use]
    pub fn part(&self, instances: u32) -> Limit {
        let instances = u64::from(instances.max(1));
        let burst = (self.burst / instances).max(1);
        let units = Rate::new((self.rate.units() / instances).max(1), self.rate.period());
        match self.kind {
            SharedKind::Gcra => Limit::Gcra(Gcra::new(self.slower(instances), burst)),
            SharedKind::TokenBucket => Limit::TokenBucket(TokenBucket::new(self.slower(instances), burst)),
            SharedKind::FixedWindow => Limit::FixedWindow(FixedWindow::new(units)),
            SharedKind::SlidingWindow => Limit::SlidingWindow(SlidingWindow::new(units)),
        }
    }

    fn slower(&self, times: u64) -> Rate {
        if self.rate.units() >= times << 20 {
            // So many that nothing is lost by dividing them, while the period might become too long.
            return Rate::new(self.rate.units() / times, self.rate.period());
        }
        let period = self.rate.period_nanoseconds().saturating_mul(times);
        Rate::new(self.rate.units(), Duration::from_nanos(period))
    }
}
