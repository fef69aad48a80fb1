//! Is a server well?
//!
//! Decides from the results of probes alone. When probes are made, what they ask and what follows from the answer
//! is the caller's business.

/// What is known about a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// It was never probed.
    Unknown,
    /// It answers.
    Healthy,
    /// It does not.
    Unhealthy,
}

impl Health {
    /// The health of a server of which several things are asked: it is well when all of them are, and unwell as soon as
    /// one of them is, whatever the others have to say yet. Unknown where nothing is asked.
    #[must_use]
    pub fn of_all(each: impl IntoIterator<Item = Self>) -> Self {
        let worse = |one, other| match (one, other) {
            (Self::Unhealthy, _) | (_, Self::Unhealthy) => Self::Unhealthy,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Healthy, Self::Healthy) => Self::Healthy,
        };
        each.into_iter().reduce(worse).unwrap_or(Self::Unknown)
    }
}

/// Follows one server's probes and decides when its health changes.
///
/// ```text
///             one good             `fall` bad in a row
///          ┌────────────▶ Healthy ─────────────────────┐
/// Unknown ─┤                 ▲                         │
///          │                 └──── `rise` good in a row ─┐
///          │                                           ▼ │
///          └──────────── one bad ────────────────▶ Unhealthy
/// ```
///
/// The first probe decides about an unknown server, in either direction: a start must not take `rise` intervals, and
/// a server that was down from the beginning has no record that speaks for it.
#[derive(Debug, Clone)]
pub struct HealthTracker {
    rise: u32,
    fall: u32,
    health: Health,
    /// Probes in a row that speak against `health`.
    against: u32,
}

impl HealthTracker {
    /// A tracker for a server that was never probed; a threshold of 0 counts as 1.
    #[must_use]
    pub fn new(rise: u32, fall: u32) -> Self {
        Self {
            rise: rise.max(1),
            fall: fall.max(1),
            health: Health::Unknown,
            against: 0,
        }
    }

    /// Takes other thresholds, 0 again counting as 1; what is known, and the probes counted against it, stay.
    pub fn reconfigure(&mut self, rise: u32, fall: u32) {
        self.rise = rise.max(1);
        self.fall = fall.max(1);
    }

    /// What is known now.
    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    /// Takes the result of a probe; returns what the server was and now is, when that changed.
    // tidy: allow(boolean-parameter): the name of the parameter says what is true, and callers pass a result they have
    pub fn probe(&mut self, ok: bool) -> Option<(Health, Health)> {
        let (opposite, needed) = match (self.health, ok) {
            (Health::Unknown, true) => (Health::Healthy, 1),
            (Health::Unknown, false) => (Health::Unhealthy, 1),
            (Health::Healthy, false) => (Health::Unhealthy, self.fall),
            (Health::Unhealthy, true) => (Health::Healthy, self.rise),
            (Health::Healthy, true) | (Health::Unhealthy, false) => {
                self.against = 0;
                return None;
            }
        };
        self.against += 1;
        if self.against < needed {
            return None;
        }
        self.against = 0;
        Some((core::mem::replace(&mut self.health, opposite), opposite))
    }
}

#[cfg(test)]
mod tests {
    use super::{Health, HealthTracker};
    use std::string::String;

    /// Runs probes (`+` good, `-` bad) and writes the health after each (`?`, `H`, `U`).
    fn run(tracker: &mut HealthTracker, probes: &str) -> String {
        let letter = |health| match health {
            Health::Unknown => '?',
            Health::Healthy => 'H',
            Health::Unhealthy => 'U',
        };
        let mut probe = |sign| {
            let before = tracker.health();
            let change = tracker.probe(sign == '+');
            let after = tracker.health();
            assert_eq!(change, (before != after).then_some((before, after)));
            letter(after)
        };
        probes.chars().map(&mut probe).collect()
    }

    #[test]
    fn sequences() {
        let check = |(rise, fall), probes, expected| {
            assert_eq!(
                run(&mut HealthTracker::new(rise, fall), probes),
                expected,
                "{rise} {fall} {probes}"
            );
        };
        check((2, 3), "", "");
        check((2, 3), "+", "H");
        check((2, 3), "-", "U");
        check((2, 3), "+---", "HHHU");
        check((2, 3), "+--+---", "HHHHHHU");
        check((2, 3), "-++", "UUH");
        check((2, 3), "-+-++", "UUUUH");
        check((2, 3), "+---++---", "HHHUUHHHU");
        check((1, 1), "+-+-", "HUHU");
        check((0, 0), "+-+-", "HUHU");
        check((3, 1), "-++-+++", "UUUUUUH");
    }

    #[test]
    fn other_thresholds_change_what_comes_and_not_what_is_known() {
        let check = |before, (rise, fall), after, expected| {
            let mut tracker = HealthTracker::new(2, 3);
            run(&mut tracker, before);
            let known = tracker.health();
            tracker.reconfigure(rise, fall);
            assert_eq!(tracker.health(), known, "{before}");
            assert_eq!(
                run(&mut tracker, after),
                expected,
                "{before} then {rise} {fall} {after}"
            );
        };
        check("", (1, 1), "+", "H");
        check("-", (5, 5), "++++-+++++", "UUUUUUUUUH");
        check("-+", (3, 3), "++", "UH");
        check("+--", (2, 5), "---", "HHU");
        check("+--", (2, 1), "-", "U");
        check("+--", (2, 1), "+-", "HU");
        check("-", (0, 0), "+-", "HU");
    }

    #[test]
    fn a_server_is_as_well_as_its_worst_check() {
        use Health::{Healthy, Unhealthy, Unknown};
        let check = |each: &[Health], expected| assert_eq!(Health::of_all(each.iter().copied()), expected, "{each:?}");
        check(&[], Unknown);
        check(&[Healthy], Healthy);
        check(&[Unknown], Unknown);
        check(&[Unhealthy], Unhealthy);
        check(&[Healthy, Healthy, Healthy], Healthy);
        check(&[Healthy, Unknown, Healthy], Unknown);
        check(&[Unknown, Healthy], Unknown);
        check(&[Unknown, Unhealthy], Unhealthy);
        check(&[Unhealthy, Unknown, Healthy], Unhealthy);
        check(&[Healthy, Unhealthy], Unhealthy);
    }

    #[test]
    fn starts_unknown() {
        assert_eq!(HealthTracker::new(2, 3).health(), Health::Unknown);
    }
}
