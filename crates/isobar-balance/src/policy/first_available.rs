//! The first server that has room: requests are packed onto as few servers as will take them.
//!
//! For pools that shrink: what is idle at the end of the list can be switched off. It needs a limit on every server
//! but the last, or the first takes everything (HAProxy's `balance first` with `maxconn` is the same). The order is
//! that in which the servers are given; a weight of 0 still takes a server out, and other weights mean nothing.
//!
//! A server with failures that are still charged comes after all that have none, those with the fewest first:
//! otherwise the first one could fail everything for as long as it likes, and have room because it does.

use crate::Chance;
use crate::policy::{Policy, View};

/// Chooses the first member that has room.
///
/// *Cost*: one cache line for each member up to the one chosen.
#[derive(Debug)]
pub(super) struct FirstAvailable;

impl Policy for FirstAvailable {
    fn choose(&self, view: &View<'_>, _: &mut Chance) -> Option<usize> {
        let mut least_charged = None;
        for (position, member) in view.members().iter().enumerate() {
            if !view.eligible(position) {
                continue;
            }
            match member.state.charge(view.query().now) {
                0 => return Some(position),
                charge if least_charged.is_none_or(|(least, _)| charge < least) => {
                    least_charged = Some((charge, position));
                }
                _ => {}
            }
        }
        least_charged.map(|(_, position)| position)
    }
}

#[cfg(test)]
mod tests {
    use super::FirstAvailable;
    use crate::policy::testing::{failed, members};
    use crate::policy::{Policy, View};
    use crate::{Chance, Feedback, Moment, Query};
    use core::time::Duration;

    /// Fills three servers of two places each: in order, and from the front again when a place is given back.
    #[test]
    fn packs_from_the_front() {
        let members = members(&[1, 9, 5]);
        members.iter().for_each(|member| member.state.set_limit(Some(2)));
        let choose = |query: &Query<'_>| FirstAvailable.choose(&View::new(&members, query), &mut Chance::new(1));
        let next = || {
            let chosen = choose(&Query::default());
            assert!(chosen.is_none_or(|position| members[position].state.try_acquire()));
            chosen
        };
        let all: [Option<usize>; 7] = core::array::from_fn(|_| next());
        assert_eq!(all, [Some(0), Some(0), Some(1), Some(1), Some(2), Some(2), None]);
        members[1].state.release();
        assert_eq!(choose(&Query::avoiding(&[1])), None);
        assert_eq!(next(), Some(1));
    }

    #[test]
    fn who_failed_a_moment_ago_comes_last() {
        let members = members(&[1, 1, 1]);
        let query = |seconds| Query {
            now: Moment::default().after(Duration::from_secs(seconds)),
            ..Query::default()
        };
        let choose = |seconds| FirstAvailable.choose(&View::new(&members, &query(seconds)), &mut Chance::new(1));
        let fail = |position: usize, seconds| failed(&members[position], Feedback::Failures, query(seconds).now);
        (0..2).for_each(|_| fail(0, 0));
        assert_eq!(choose(0), Some(1));
        fail(1, 0);
        fail(2, 0);
        assert_eq!(
            choose(0),
            Some(1),
            "one failure is less than two, and comes before another"
        );
        assert_eq!(choose(2), Some(0), "after a second it is as if nothing had been");
    }
}
