//! Does a refusal count?
//!
//! A limit is tried before it is relied on: in shadow it is asked like any other and turns nobody away, then it is binding for a
//! part of the keys, then for all; and one that was made for an emergency ends by itself. Why a rule is there is not known
//! here.

use isobar_balance::Moment;

use crate::Key;
use crate::key::{below, scramble};

/// Whether a limit is meant to turn anybody away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It counts, and says what it would have refused.
    Shadow,
    /// It refuses.
    Enforce,
}

/// What a refusal comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The request is turned away.
    Binding,
    /// It passes, and is counted as one that would not have.
    Shadow,
    /// The limit is not asked at all.
    Ended,
}

/// How a limit is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enforcement {
    /// Whether it refuses.
    pub mode: Mode,
    /// For how many of 10,000 keys it does so; the others are in its shadow. Which they are follows from the key: nobody is
    /// refused now and then, and who is refused at some part is at every larger one.
    pub part: u32,
    /// When it ends; none: never.
    pub ends: Option<Moment>,
}

impl Enforcement {
    /// Binding for everybody, without an end.
    pub const FULL: Self = Self {
        mode: Mode::Enforce,
        part: 10_000,
        ends: None,
    };

    /// Binding for nobody.
    pub const SHADOW: Self = Self {
        mode: Mode::Shadow,
        ..Self::FULL
    };

    /// What a refusal of a key comes to.
    #[must_use]
    pub fn effect(&self, key: Key, now: Moment) -> Effect {
        if self.ends.is_some_and(|ends| now >= ends) {
            Effect::Ended
        } else if self.mode == Mode::Enforce && below(scramble(!key.hash()), 10_000) < u64::from(self.part) {
            Effect::Binding
        } else {
            Effect::Shadow
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Effect, Enforcement, Key, Mode, Moment};

    const KEYS: u64 = 20_000;

    fn binding(enforcement: Enforcement) -> usize {
        let effect = |key| enforcement.effect(Key::new(key), Moment::new(0));
        (0..KEYS).filter(|&key| effect(key) == Effect::Binding).count()
    }

    #[test]
    fn a_part_is_that_part_of_the_keys_and_grows() {
        let part = |part| Enforcement {
            part,
            ..Enforcement::FULL
        };
        assert_eq!((binding(part(0)), binding(part(10_000))), (0, 20_000));
        let tenth = binding(part(1_000));
        assert!(tenth.abs_diff(2_000) < 200, "{tenth}");
        for key in (0..KEYS).map(Key::new) {
            let is_bound = |of| part(of).effect(key, Moment::new(0)) == Effect::Binding;
            assert!(!is_bound(1_000) || is_bound(2_500));
        }
    }

    #[test]
    fn shadows_bind_nobody_and_an_end_is_an_end() {
        assert_eq!(binding(Enforcement::SHADOW), 0);
        for mode in [Mode::Shadow, Mode::Enforce] {
            let enforcement = Enforcement {
                mode,
                ends: Some(Moment::new(5)),
                ..Enforcement::FULL
            };
            assert_ne!(enforcement.effect(Key::new(1), Moment::new(4)), Effect::Ended);
            assert_eq!(enforcement.effect(Key::new(1), Moment::new(5)), Effect::Ended);
        }
    }
}
