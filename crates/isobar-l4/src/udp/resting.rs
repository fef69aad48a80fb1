//! Which sockets towards servers rest, and when may one of them be taken again? Knows their numbers, and no socket.
//!
//! The one that rested longest is taken first. While few rest each of them rests for a second; when as many do as are wanted, for as
//! long as it takes to get through them, and never less than [`SHORT_REST`]. The kernel has no such rule: it gives the port of a socket
//! that is closed to one that is opened by chance, at once or later.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Sockets that rest at most, of one listener with one worker.
pub(super) const MOST: usize = 1024;

/// How long a socket rests at least while fewer than half of those rest that may.
pub(super) const LONG_REST: Duration = Duration::from_secs(1);

/// How long a socket rests in any case. What was doubled on its way comes sooner.
const SHORT_REST: Duration = Duration::from_millis(10);

/// A socket that rested for so long is closed: there is less to do than there was.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// How long nothing rests towards an address from which something came that was nobody's.
const DISTRUST: Duration = Duration::from_secs(60);

/// How often it is looked for those that rested too long.
const SWEEP: Duration = Duration::from_secs(1);

/// The sockets that rest, by where they are connected to.
#[derive(Debug, Default)]
pub(super) struct Resting {
    groups: HashMap<SocketAddr, Group, BuildHasherDefault<Spread>>,
    count: usize,
    most: usize,
    /// When the next sweep is; none: there is nothing to look for.
    sweep: Option<Instant>,
}

#[derive(Debug, Default)]
struct Group {
    /// The one that rested longest first.
    rested: VecDeque<Rested>,
    /// Until when nothing rests there; none: it may.
    distrusted: Option<Instant>,
}

/// Spreads addresses of servers, which no client chooses: a secret, as other tables have, is not needed for them.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number.cast_unsigned() as u64);
    }

    fn write_u64(&mut self, number: u64) {
        // The multiplier is 2⁶⁴ divided by the golden ratio.
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

/// A socket that rests, or did.
#[derive(Debug)]
pub(super) struct Rested {
    number: usize,
    since: Instant,
}

impl Rested {
    pub(super) fn number(&self) -> usize {
        self.number
    }
}

impl Resting {
    /// From now on so many may rest; none that does is closed by it.
    pub(super) fn hold_to(&mut self, most: usize) {
        self.most = most.min(MOST);
    }

    /// Whether none rests.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes the one towards an address that rested longest, if that is long enough.
    ///
    /// *Cost*: O(1), without an allocation.
    pub(super) fn take(&mut self, to: &SocketAddr, now: Instant) -> Option<Rested> {
        let rest = self.rest();
        let group = self.groups.get_mut(to)?;
        let first = group.rested.pop_front_if(|first| first.since + rest <= now)?;
        self.count -= 1;
        Some(first)
    }

    /// Puts back what was taken and is not fit to be used.
    pub(super) fn put_back(&mut self, to: &SocketAddr, rested: Rested) {
        if let Some(group) = self.groups.get_mut(to) {
            group.rested.push_front(rested);
            self.count += 1;
        }
    }

    /// Has one rest from now on; whether it may.
    ///
    /// *Cost*: O(1); allocates while there are more than ever.
    pub(super) fn put(&mut self, to: SocketAddr, number: usize, now: Instant) -> bool {
        if self.count >= self.most {
            return false;
        }
        let group = self.groups.entry(to).or_default();
        if group.distrusted.is_some_and(|until| until > now) {
            return false;
        }
        group.distrusted = None;
        group.rested.push_back(Rested { number, since: now });
        self.count += 1;
        self.sweep_by(now + LONGEST_REST);
        true
    }

    /// Nothing rests towards an address for a while: more came from there than was due.
    pub(super) fn distrust(&mut self, to: SocketAddr, now: Instant) {
        if self.most == 0 {
            return;
        }
        self.groups.entry(to).or_default().distrusted = Some(now + DISTRUST);
        self.sweep_by(now + DISTRUST);
    }

    /// Takes all that rest towards an address.
    pub(super) fn take_all_to(&mut self, to: &SocketAddr, close: impl FnMut(usize)) {
        let group = self.groups.get_mut(to);
        let rested = group.map(|group| std::mem::take(&mut group.rested)).unwrap_or_default();
        self.count -= rested.len();
        rested.into_iter().map(|rested| rested.number).for_each(close);
    }

    /// Takes all there are.
    pub(super) fn take_all(&mut self, mut close: impl FnMut(usize)) {
        for group in self.groups.values_mut() {
            group.rested.drain(..).for_each(|rested| close(rested.number));
        }
        self.count = 0;
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do; none: never, until something rests.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.sweep
    }

    /// Takes those that rested too long.
    ///
    /// *Cost*: O(addresses), once a [`SWEEP`] at most.
    pub(super) fn handle_timeout(&mut self, now: Instant, mut close: impl FnMut(usize)) {
        if self.sweep.is_none_or(|sweep| sweep > now) {
            return;
        }
        let (mut next, mut taken) = (None::<Instant>, 0);
        self.groups.retain(|_, group| {
            while let Some(rested) = group.rested.pop_front_if(|first| first.since + LONGEST_REST <= now) {
                taken += 1;
                close(rested.number);
            }
            let due = match (group.rested.front(), group.distrusted) {
                (Some(first), _) => Some(first.since + LONGEST_REST),
                (None, until) => until.filter(|&until| until > now),
            };
            next = next.into_iter().chain(due).min();
            due.is_some()
        });
        self.count -= taken;
        self.sweep = next.map(|next| next.max(now + SWEEP));
    }

    fn sweep_by(&mut self, at: Instant) {
        self.sweep = Some(self.sweep.map_or(at, |sweep| sweep.min(at)));
    }

    /// How long a socket rests before it is taken.
    fn rest(&self) -> Duration {
        if self.count * 2 >= self.most {
            SHORT_REST
        } else {
            LONG_REST
        }
    }
}

#[cfg(test)]
mod tests {
    use isobar_balance::Chance;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    impl Resting {
        fn take_number(&mut self, to: &SocketAddr, now: Instant) -> Option<usize> {
            self.take(to, now).map(|rested| rested.number())
        }
    }

    fn to(number: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], number))
    }

    /// So many rest from the beginning, 1 ms after each other.
    fn resting(most: usize, count: usize, start: Instant) -> Resting {
        let mut resting = Resting::default();
        resting.hold_to(most);
        for (number, at) in (0..count).zip(0..) {
            assert!(resting.put(to(1), number, start + MS * at));
        }
        resting
    }

    fn swept(resting: &mut Resting, now: Instant) -> Vec<usize> {
        let mut closed = Vec::new();
        resting.handle_timeout(now, |number| closed.push(number));
        closed.sort_unstable();
        closed
    }

    #[test]
    fn few_rest_long_and_many_in_turn() {
        let start = Instant::now();
        let mut few = resting(10, 4, start);
        assert_eq!(few.take_number(&to(1), start + 999 * MS), None);
        assert_eq!(few.take_number(&to(1), start + 1000 * MS), Some(0));
        assert_eq!(
            few.take_number(&to(1), start + 1000 * MS),
            None,
            "the next rests 1 ms less"
        );
        assert_eq!(few.take_number(&to(2), start + 9000 * MS), None, "nothing rests there");
        let mut many = resting(10, 7, start);
        assert_eq!(many.take_number(&to(1), start + 9 * MS), None);
        for number in 0..3 {
            assert_eq!(many.take_number(&to(1), start + 20 * MS), Some(number));
        }
        assert_eq!(
            many.take_number(&to(1), start + 20 * MS),
            None,
            "fewer than half are left"
        );
    }

    #[test]
    fn no_more_rest_than_may() {
        let start = Instant::now();
        let mut full = resting(3, 3, start);
        assert!(!full.put(to(2), 9, start), "whichever address it is of");
        assert!(full.take_number(&to(1), start + 1000 * MS).is_some());
        assert!(full.put(to(2), 9, start));
        full.hold_to(0);
        assert!(full.take_number(&to(1), start + 1000 * MS).is_some());
        assert!(!full.put(to(1), 9, start));
        assert!(!Resting::default().put(to(1), 1, start));
    }

    #[test]
    fn who_sent_too_much_is_left_alone_for_a_minute() {
        let start = Instant::now();
        let mut resting = resting(10, 3, start);
        assert!(resting.put(to(2), 9, start));
        resting.distrust(to(1), start);
        assert_eq!(resting.poll_timeout(), Some(start + 5000 * MS));
        let mut closed = Vec::new();
        resting.take_all_to(&to(1), |number| closed.push(number));
        assert_eq!(closed, [0, 1, 2]);
        assert!(!resting.put(to(1), 3, start + 59_999 * MS));
        assert!(resting.put(to(2), 3, start), "others are not to blame");
        assert_eq!(swept(&mut resting, start + 30_000 * MS), [3, 9]);
        assert_eq!(resting.poll_timeout(), Some(start + 60_000 * MS));
        assert!(resting.put(to(1), 4, start + 60_000 * MS));
        assert_eq!(resting.take_number(&to(1), start + 61_000 * MS), Some(4));
        assert_eq!(swept(&mut resting, start + 61_000 * MS), [0; 0]);
        assert!(resting.groups.is_empty() && resting.poll_timeout().is_none());
    }

    #[test]
    fn what_rested_too_long_is_closed() {
        let start = Instant::now();
        let mut resting = resting(10, 2, start);
        assert!(resting.put(to(2), 9, start + 500 * MS));
        assert_eq!(resting.poll_timeout(), Some(start + 5000 * MS));
        assert_eq!(swept(&mut resting, start + 4999 * MS), [0; 0]);
        assert_eq!(swept(&mut resting, start + 5001 * MS), [0, 1]);
        assert_eq!(resting.poll_timeout(), Some(start + 6001 * MS), "once a second");
        assert_eq!(swept(&mut resting, start + 6001 * MS), [9]);
        assert!(resting.is_empty() && resting.groups.is_empty());
        assert_eq!(resting.poll_timeout(), None);
    }

    #[test]
    fn a_sweep_comes_in_time_for_what_rests_later() {
        let start = Instant::now();
        let mut resting = resting(10, 0, start);
        resting.distrust(to(1), start);
        assert!(resting.put(to(2), 9, start));
        assert_eq!(resting.poll_timeout(), Some(start + 5000 * MS));
    }

    #[test]
    fn all_can_be_taken() {
        let start = Instant::now();
        let mut resting = resting(10, 2, start);
        assert!(resting.put(to(2), 9, start));
        let mut closed = Vec::new();
        resting.take_all(|number| closed.push(number));
        closed.sort_unstable();
        assert_eq!(closed, [0, 1, 9]);
        assert!(resting.is_empty());
        assert_eq!(resting.take_number(&to(1), start + 2000 * MS), None);
    }

    /// Whatever happens: none is had twice or lost, the one that rested longest is taken, and none too early, too late or from where
    /// somebody is not trusted.
    #[test]
    fn all_of_it_holds_in_any_order() {
        for seed in 0..50 {
            let (mut chance, mut now) = (Chance::new(seed), Instant::now());
            let (mut resting, mut known, mut distrusted) = (Resting::default(), Vec::new(), HashMap::new());
            let mut most = 8;
            resting.hold_to(most);
            for number in 0..500 {
                let port = to(u16::try_from(chance.below(3)).unwrap());
                let mut closed = Vec::new();
                match chance.below(16) {
                    0..=5 => {
                        let may = known.len() < most && distrusted.get(&port).is_none_or(|until| *until <= now);
                        assert_eq!(resting.put(port, number, now), may, "seed {seed}");
                        known.extend(may.then_some((port, number, now)));
                    }
                    6..=9 => {
                        let rest = if known.len() * 2 >= most { 10 * MS } else { 1000 * MS };
                        let first = known.iter().position(|(of, ..)| *of == port);
                        let first = first.filter(|&first| known[first].2 + rest <= now);
                        let taken = resting.take(&port, now);
                        let expected = first.map(|first| known[first].1);
                        assert_eq!(taken.as_ref().map(Rested::number), expected, "seed {seed}");
                        match taken {
                            Some(unfit) if chance.below(4) == 0 => resting.put_back(&port, unfit),
                            _ => drop(first.map(|first| known.remove(first))),
                        }
                    }
                    10..=12 => now += MS * u32::try_from(chance.below(2000)).unwrap(),
                    13 => {
                        resting.distrust(port, now);
                        distrusted.extend((most > 0).then_some((port, now + DISTRUST)));
                        resting.take_all_to(&port, |number| closed.push(number));
                        known.retain(|(of, number, _)| *of != port || !closed.contains(number));
                        assert!(known.iter().all(|(of, ..)| *of != port), "seed {seed}");
                    }
                    14 => {
                        most = chance.index(9);
                        resting.hold_to(most);
                        resting.take_all(|number| closed.push(number));
                        assert_eq!(closed.len(), known.len(), "seed {seed}");
                        known.clear();
                    }
                    _ => {
                        resting.handle_timeout(now, |number| closed.push(number));
                        let rested = |number| known.iter().find(|known| known.1 == number).unwrap().2;
                        assert!(closed.iter().all(|&number| rested(number) + LONGEST_REST <= now));
                        known.retain(|(_, number, _)| !closed.contains(number));
                        assert!(
                            known.iter().all(|(.., since)| *since + LONGEST_REST + SWEEP > now),
                            "seed {seed}"
                        );
                    }
                }
                assert_eq!(resting.is_empty(), known.is_empty(), "seed {seed}");
                assert!(known.is_empty() || resting.poll_timeout().is_some(), "seed {seed}");
            }
        }
    }
}
