//! The server that would be through with its requests first, by how long its answers take.
//!
//! nginx's `least_time` (open source since May 2026; `ngx_stream_upstream_least_time_module.c`): a server's average
//! latency, of which a new sample is a twentieth, is brought up to the next 20 ms so that servers that are nearly
//! alike take turns, held to 5 s, beyond which all are as bad, and multiplied by the requests in flight with this
//! one; the least for its weight is chosen. A latency is halved for each [`RETRIAL`] that the server was not chosen,
//! so that one that was slow once is tried again.
//!
//! # Where it differs
//! - Members that are equal are told apart by their recent picks and then by chance, where nginx has its round robin.
//! - A retrial comes after ten seconds, nginx's default `fail_timeout`, and is counted in nanoseconds.
//! - nginx leaves failed requests out of the average, and so does this; but a server that fails fast has little in
//!   flight as well. Failures are therefore charged as requests in flight, and a member with a charge is taken to be
//!   no faster than the best that has none.
//! - Of more than 128 members 32 are looked at, drawn by weight.

use core::time::Duration;

use crate::policy::random::Draw;
use crate::policy::ranking::{Factors, Figure, MOST_COMPARED, Ranking};
use crate::policy::{Member, Policy, View};
use crate::{Chance, Moment};

/// After what time without being chosen a latency counts half.
const RETRIAL: Duration = Duration::from_secs(10);

/// Latencies within this count as the same.
const CLUSTER_MS: u64 = 20;

/// A latency past this counts as this.
const SLOWEST_MS: u64 = 5_000;

/// Loads above this count as this, so that no figure runs over.
const MOST_LOAD: u64 = (1 << 20) - 1;

/// Members that are looked at where there are more than can be compared at once.
const SAMPLED: usize = 32;

const NANOSECONDS_PER_MS: u64 = 1_000_000;

/// Chooses the member with the least latency times load for its weight.
///
/// *Cost*: two cache lines for each member looked at, at most 128 of them, and a compare-and-swap.
#[derive(Debug)]
pub(super) struct LeastTime {
    factors: Factors,
    /// None: all members are looked at.
    draw: Option<Draw>,
}

impl LeastTime {
    pub(super) fn new(members: &[Member]) -> Self {
        Self {
            factors: Factors::new(members),
            draw: (members.len() > MOST_COMPARED).then(|| Draw::new(members)),
        }
    }

    fn least<F: Figure>(&self, view: &View<'_>, figure: F, chance: &mut Chance) -> Option<usize> {
        let ranking = Ranking {
            view,
            factors: &self.factors,
            figure,
        };
        match &self.draw {
            None => ranking.least_within(MOST_COMPARED, chance),
            Some(draw) => {
                let sample: [u32; SAMPLED] = core::array::from_fn(|_| draw.draw(chance));
                ranking.least_of(&sample)
            }
        }
    }

    /// The best when members with a charge count as no faster than the best without one.
    fn least_trusted(&self, view: &View<'_>, chance: &mut Chance) -> Option<usize> {
        let now = view.query().now;
        let uncharged = self.least(view, Uncharged(Eta(now)), chance)?;
        let floor = match view.members().get(uncharged) {
            Some(member) if member.state.charge(now) == 0 => latency_ms(member, now),
            _ => SLOWEST_MS,
        };
        self.least(view, NoFaster(Eta(now), floor), chance)
    }
}

impl Policy for LeastTime {
    fn choose(&self, view: &View<'_>, chance: &mut Chance) -> Option<usize> {
        let now = view.query().now;
        let least = self.least(view, Eta(now), chance);
        let is_charged = |&position: &usize| view.charge(position) > 0;
        // Only where the best is charged does the rule about charges change who it is.
        let least = match least.filter(is_charged) {
            Some(charged) => self.least_trusted(view, chance).or(Some(charged)),
            None => least,
        };
        let chosen = least.or_else(|| view.draw_by_weight(chance))?;
        view.count_pick(chosen);
        if let Some(member) = view.members().get(chosen) {
            member.state.mark_chosen(now, RETRIAL);
        }
        Some(chosen)
    }
}

/// The time until a member is through with what it has and this request.
struct Eta(Moment);

impl Figure for Eta {
    #[inline(always)]
    fn of(&self, member: &Member, load: u64) -> u64 {
        latency_ms(member, self.0) * (load.min(MOST_LOAD) + 1)
    }
}

/// The same of members without a charge; the others come last.
struct Uncharged(Eta);

impl Figure for Uncharged {
    fn of(&self, member: &Member, load: u64) -> u64 {
        match member.state.charge(self.0.0) {
            0 => self.0.of(member, load),
            _ => (SLOWEST_MS + CLUSTER_MS) * (MOST_LOAD + 1),
        }
    }
}

/// The same, but a member with a charge has at least this latency.
struct NoFaster(Eta, u64);

impl Figure for NoFaster {
    fn of(&self, member: &Member, load: u64) -> u64 {
        match member.state.charge(self.0.0) {
            0 => self.0.of(member, load),
            _ => latency_ms(member, self.0.0).max(self.1) * (load.min(MOST_LOAD) + 1),
        }
    }
}

/// A member's latency as it is compared.
fn latency_ms(member: &Member, now: Moment) -> u64 {
    let average = (member.state.average_latency() + NANOSECONDS_PER_MS / 2) / NANOSECONDS_PER_MS;
    let unchosen = Duration::from_nanos(member.state.unchosen(now));
    let average = if unchosen < RETRIAL {
        average
    } else {
        halved(average, unchosen)
    };
    match average {
        ..=SLOWEST_MS => average + CLUSTER_MS - average % CLUSTER_MS,
        _ => SLOWEST_MS,
    }
}

/// Once for each retrial that is due.
fn halved(average: u64, unchosen: Duration) -> u64 {
    let retrials = unchosen.as_nanos() / RETRIAL.as_nanos();
    let halvings = u32::try_from(retrials).unwrap_or(u32::MAX);
    average.checked_shr(halvings).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{LeastTime, latency_ms};
    use crate::policy::testing::{answered, failed, members, shares};
    use crate::policy::{Policy, View};
    use crate::{Chance, Feedback, Moment, Query};
    use core::time::Duration;

    fn at(seconds: u64) -> Query<'static> {
        Query {
            now: Moment::default().after(Duration::from_secs(seconds)),
            ..Query::default()
        }
    }

    /// Checks who is chosen, by (latency in ms, in flight, weight).
    fn check(servers: &[(u64, u32, u32)], expected: usize) {
        let members = members(
            &servers
                .iter()
                .map(|&(_, _, weight)| weight)
                .collect::<std::vec::Vec<_>>(),
        );
        for (member, &(latency, in_flight, _)) in members.iter().zip(servers) {
            answered(
                member,
                Feedback::Average,
                Duration::from_millis(latency),
                Moment::default(),
            );
            assert!((0..in_flight).all(|_| member.state.try_acquire()));
        }
        for seed in 0..20 {
            let chosen = LeastTime::new(&members).choose(&View::new(&members, &at(0)), &mut Chance::new(seed));
            assert_eq!(chosen, Some(expected), "{servers:?}, seed {seed}");
        }
    }

    #[test]
    fn least_latency_times_load_for_the_weight() {
        check(&[(100, 0, 1), (30, 0, 1)], 1);
        check(&[(100, 0, 1), (30, 3, 1)], 0);
        check(&[(100, 1, 1), (30, 3, 1)], 1);
        check(&[(100, 0, 5), (30, 0, 1)], 0);
        check(&[(7_000, 1, 1), (90_000, 0, 1)], 1);
        check(&[(7_000, 1, 1), (4_970, 1, 1)], 1);
    }

    /// nginx's rounding: up to the next 20 ms, also from a multiple of it; 5 s at most, the retrial before all that.
    #[test]
    fn latencies_are_clustered_and_halved() {
        let check = |latency, seconds, expected| {
            let members = members(&[1]);
            answered(
                &members[0],
                Feedback::Average,
                Duration::from_micros(latency),
                Moment::default(),
            );
            assert_eq!(
                latency_ms(&members[0], at(seconds).now),
                expected,
                "{latency} after {seconds} s"
            );
        };
        check(1_000, 0, 20);
        check(19_400, 0, 20);
        check(19_600, 0, 40);
        check(20_000, 0, 40);
        check(4_990_000, 0, 5_000);
        check(9_000_000, 0, 5_000);
        check(9_000_000, 9, 5_000);
        check(9_000_000, 10, 4_520);
        check(900_000, 20, 240);
        check(900_000, 100_000, 20);
    }

    #[test]
    fn servers_that_are_nearly_alike_share() {
        let members = members(&[1, 1]);
        answered(
            &members[0],
            Feedback::Average,
            Duration::from_millis(2),
            Moment::default(),
        );
        answered(
            &members[1],
            Feedback::Average,
            Duration::from_millis(17),
            Moment::default(),
        );
        let mut chance = Chance::new(4);
        let counts = shares(
            &LeastTime::new(&members),
            &View::new(&members, &at(0)),
            &mut chance,
            1000,
        );
        assert_eq!(counts, [500, 500]);
    }

    /// A server that fails is taken to be no faster than the best that does not, however fast it was.
    #[test]
    fn a_charge_takes_the_credit_for_speed() {
        let members = members(&[1, 1, 1]);
        answered(
            &members[0],
            Feedback::Average,
            Duration::from_millis(1),
            Moment::default(),
        );
        for member in &members[1..] {
            answered(member, Feedback::Average, Duration::from_secs(3), Moment::default());
            assert!(member.state.try_acquire());
        }
        failed(&members[0], Feedback::Average, Moment::default());
        failed(&members[0], Feedback::Average, Moment::default());
        let policy = LeastTime::new(&members);
        let counts = shares(&policy, &View::new(&members, &at(0)), &mut Chance::new(1), 100);
        assert_eq!(counts[0], 0);
        let counts = shares(&policy, &View::new(&members, &at(2)), &mut Chance::new(1), 100);
        assert_eq!(counts, [100, 0, 0], "the charge is over");
    }
}
