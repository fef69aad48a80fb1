//! What do all workers share of a limit, and what of it stays when it is changed?

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use isobar_balance::Moment;
use isobar_limit::{Claim, Enforcement, Guard, GuardRules, Key, SharedClaim, Table, TableSettings, Verdict};
use isobar_observe::{LimitOutcome, LimitStats};
use isobar_plan::{
    Limit, LimitAlgorithm, LimitCounting, LimitKind, LimitMode, Name, RateLimitState, RateLimitStatus, SharedTerms,
    shared_terms,
};
use isobar_share::{Ledger, Store};
use isobar_upstream::{Sharded, moment};

use super::bandwidth::Line;
use super::key;

/// A limit in force: its rules, and what it has counted.
#[derive(Debug)]
pub struct RunningLimit {
    settings: Limit,
    algorithm: LimitAlgorithm,
    /// What all instances that share it let pass together; none: each counts alone.
    terms: Option<SharedTerms>,
    /// Other paces by key, sorted.
    overrides: Box<[(Key, Pace)]>,
    books: Arc<Books>,
    enforcement: Enforcement,
    /// The same for a limit that refused too much.
    disarmed: Enforcement,
    guard: Option<(GuardRules, Arc<Guard>)>,
    /// Where those find it whose bytes it counts; kept for as long as its key is made in the same way.
    line: Arc<Line>,
    stats: Arc<Sharded<LimitStats>>,
}

/// How a limit counts for a key.
#[derive(Debug)]
struct Pace {
    algorithm: LimitAlgorithm,
    terms: Option<SharedTerms>,
}

/// What a limit has counted; kept for as long as it counts in the same way.
#[derive(Debug)]
struct Books {
    table: Table,
    /// What this instance has of it, where several share it.
    ledger: Option<Arc<Ledger>>,
    hasher: RandomState,
    /// Mixed into every key: the limit's number and generation.
    mark: u64,
}

/// Makes limits, and keeps of them what a new plan does not change.
#[derive(Debug, Default)]
pub struct Limits {
    running: HashMap<Name, Arc<RunningLimit>>,
    stores: HashMap<Name, Arc<Store>>,
    /// How many books were begun.
    generations: u64,
}

/// When a plan is taken into service, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Today {
    /// By the clock that limits go by.
    pub now: Moment,
    /// By that of people.
    pub wall: SystemTime,
}

impl Limits {
    /// The limits of a plan, in its order, for so many workers. One that is as it was is the same object; one that counts in the same
    /// way keeps what it has counted.
    pub fn next(&mut self, (settings, stores): (&[Limit], &[Arc<Store>]), workers: usize) -> Vec<Arc<RunningLimit>> {
        let today = Today {
            now: moment(Instant::now()),
            wall: SystemTime::now(),
        };
        self.stores = stores
            .iter()
            .map(|store| (store.name().clone(), Arc::clone(store)))
            .collect();
        self.next_at(settings, workers, today)
    }

    /// The same at another time than now, and with the stores of last time: none of them were told of.
    pub fn next_at(&mut self, settings: &[Limit], workers: usize, today: Today) -> Vec<Arc<RunningLimit>> {
        let last = std::mem::take(&mut self.running);
        let limits: Vec<_> = settings
            .iter()
            .map(|settings| match last.get(&settings.name) {
                Some(same) if same.settings == *settings => Arc::clone(same),
                last => {
                    let last = last.map(|last| &**last);
                    Arc::new(self.limit(settings, last, (workers, today)))
                }
            })
            .collect();
        lead(&last, &limits);
        let named = limits.iter().map(|limit| (limit.name().clone(), Arc::clone(limit)));
        self.running = named.collect();
        limits
    }

    fn limit(
        &mut self,
        settings: &Limit,
        last: Option<&RunningLimit>,
        (workers, today): (usize, Today),
    ) -> RunningLimit {
        let same_books = last.filter(|last| last.settings.counting == settings.counting);
        let same_key = last.filter(|last| last.has_key_of(settings));
        let books = match (same_books, same_key) {
            (Some(last), _) => Arc::clone(&last.books),
            // Whose bytes it counts comes along, and is known by the same keys.
            (None, Some(last)) => Arc::new(Books::like(&last.books, &settings.counting)),
            (None, None) => {
                self.generations += 1;
                Arc::new(Books::new(&settings.counting, &self.stores, self.generations))
            }
        };
        let line = same_key.map(|last| Arc::clone(&last.line)).unwrap_or_default();
        let enforced_alike = |last: &&RunningLimit| {
            let (one, other) = (&last.settings.enforcement, &settings.enforcement);
            (one.mode, one.part, one.guard) == (other.mode, other.part, other.guard)
        };
        let guard = same_books.filter(enforced_alike).and_then(|last| last.guard.clone());
        let new_guard = || {
            let rules = settings.enforcement.guard?;
            Some((rules, Arc::new(Guard::new(today.now))))
        };
        let stats = last.map_or_else(|| Arc::new(Sharded::new(workers)), |last| Arc::clone(&last.stats));
        let ends = settings.enforcement.expires.map(|at| today.moment_of(at));
        let enforcement = Enforcement {
            mode: settings.enforcement.mode,
            part: settings.enforcement.part,
            ends,
        };
        RunningLimit {
            algorithm: settings.counting.algorithm(settings.counting.pace),
            terms: shared_terms(settings.counting.kind, settings.counting.pace),
            overrides: overrides(settings, &books),
            disarmed: Enforcement {
                mode: LimitMode::Shadow,
                ..enforcement
            },
            guard: guard.or_else(new_guard),
            line,
            settings: settings.clone(),
            books,
            enforcement,
            stats,
        }
    }
}

impl Today {
    /// The moment of a time since 1970; one that has passed is the beginning of time.
    fn moment_of(self, at: Duration) -> Moment {
        let left = (UNIX_EPOCH + at).duration_since(self.wall).unwrap_or_default();
        match left.is_zero() {
            true => Moment::new(0),
            false => self.now.after(left),
        }
    }
}

impl Books {
    fn new(counting: &LimitCounting, stores: &HashMap<Name, Arc<Store>>, generation: u64) -> Self {
        let ledger = counting.shared.as_ref().and_then(|shared| {
            let store = Arc::clone(stores.get(&shared.store)?);
            let rules = (shared.leases, shared.on_loss);
            Some(Arc::new(Ledger::new(store, counting.max_keys, rules)))
        });
        Self {
            ledger,
            table: Self::table(counting),
            hasher: RandomState::new(),
            mark: generation,
        }
    }

    /// Empty ones, in which keys are what they were.
    fn like(other: &Self, counting: &LimitCounting) -> Self {
        Self {
            ledger: None, // Bytes are counted by each instance alone.
            table: Self::table(counting),
            hasher: other.hasher.clone(),
            mark: other.mark,
        }
    }

    fn table(counting: &LimitCounting) -> Table {
        let settings = TableSettings {
            max_keys: counting.max_keys,
            memory: counting.recovery(),
            relax: std::thread::yield_now,
            advise: isobar_net::limits::prefer_large_pages,
        };
        Table::with_logs(&settings, counting.log_units())
    }
}

/// Has those whose bytes are counted find the limits as they are now. Where the key is made in another way, they keep to what they
/// began with.
fn lead(last: &HashMap<Name, Arc<RunningLimit>>, limits: &[Arc<RunningLimit>]) {
    for limit in limits {
        limit.line.lead_to(Arc::downgrade(limit));
    }
    let is_gone = |name: &Name| !limits.iter().any(|limit| limit.name() == name);
    for (_, limit) in last.iter().filter(|(name, _)| is_gone(name)) {
        limit.line.lead_to(Weak::new());
    }
}

/// The paces of keys that have one of their own, by key; of several for one the last.
fn overrides(settings: &Limit, books: &Books) -> Box<[(Key, Pace)]> {
    let counting = &settings.counting;
    let prefixes = key::Prefixes::of(counting);
    let mut by_key = HashMap::new();
    for other in settings.overrides.iter().chain(&*settings.overrides_read) {
        let mut hasher = books.hasher.build_hasher();
        let parts = counting.key.iter().zip(&other.key);
        let mut written = parts.map(|(part, value)| key::add_written(part, value, prefixes, &mut hasher));
        if written.all(|is_possible| is_possible) {
            let pace = Pace {
                algorithm: counting.algorithm(other.pace),
                terms: shared_terms(counting.kind, other.pace),
            };
            by_key.insert(books.key(hasher.finish()), pace);
        }
    }
    let mut sorted: Vec<_> = by_key.into_iter().collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    sorted.into()
}

impl Books {
    fn key(&self, hash: u64) -> Key {
        Key::new(hash ^ self.mark.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

impl RunningLimit {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.settings.name
    }

    /// What is counted, by worker.
    #[must_use]
    pub fn stats(&self) -> &Sharded<LimitStats> {
        &self.stats
    }

    /// What was asked of it.
    #[must_use]
    pub fn settings(&self) -> &Limit {
        &self.settings
    }

    /// How it stands.
    ///
    /// *Cost*: looks at every entry of its table, a shard at a time.
    #[must_use]
    pub fn status(&self, now: Instant) -> RateLimitStatus {
        let table = &self.books.table;
        let crowding = table.crowding();
        let live = |shard| table.live_in(shard, moment(now)) as u64;
        let ledger = self.books.ledger.as_ref();
        let leased = ledger.map_or(0, |ledger| ledger.standing(moment(now)).0);
        RateLimitStatus {
            name: self.name().clone(),
            state: self.state(now),
            keys: leased + (0..table.shards()).map(live).sum::<u64>(),
            max_keys: self.settings.counting.max_keys,
            bytes: table.bytes() as u64,
            estimated: crowding.estimated,
            evicted: crowding.displaced,
        }
    }

    /// Whether it refuses.
    #[must_use]
    pub fn state(&self, now: Instant) -> RateLimitState {
        match self.settings.enforcement.mode {
            _ if self.has_ended(moment(now)) => RateLimitState::Expired,
            LimitMode::Enforce if self.is_disarmed() => RateLimitState::Disarmed,
            LimitMode::Enforce => RateLimitState::Enforced,
            LimitMode::Shadow => RateLimitState::Shadow,
        }
    }

    /// Has it refuse again, where it was disarmed: *returns* the state before.
    pub fn rearm(&self, now: Instant) -> RateLimitState {
        let state = self.state(now);
        if let Some((_, guard)) = &self.guard {
            guard.rearm(moment(now));
        }
        state
    }

    fn is_disarmed(&self) -> bool {
        let guard = self.guard.as_ref();
        guard.is_some_and(|(_, guard)| guard.disarmed().is_some())
    }

    pub(super) fn has_ended(&self, now: Moment) -> bool {
        self.enforcement.ends.is_some_and(|ends| now >= ends)
    }

    /// Whether it refuses those who are refused whatever they have taken.
    pub(super) fn is_binding(&self, now: Moment) -> bool {
        self.enforcement.mode == LimitMode::Enforce && !self.has_ended(now) && !self.is_disarmed()
    }

    /// Whether it was disarmed for refusing too much.
    #[must_use]
    pub fn was_disarmed(&self) -> bool {
        self.is_disarmed()
    }

    pub(super) const fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// Whether both count bytes, of whom they know by the same keys.
    fn has_key_of(&self, other: &Limit) -> bool {
        let (one, other) = (&self.settings.counting, &other.counting);
        let count_bytes = [one.kind, other.kind]
            .iter()
            .all(|kind| matches!(kind, LimitKind::Bandwidth { .. }));
        count_bytes && (&one.key, one.prefix_v4, one.prefix_v6) == (&other.key, other.prefix_v4, other.prefix_v6)
    }

    pub(super) fn table(&self) -> &Table {
        &self.books.table
    }

    /// What this instance has of it; none: it is not shared.
    #[must_use]
    pub fn ledger(&self) -> Option<&Arc<Ledger>> {
        self.books.ledger.as_ref()
    }

    /// Whether others have to be told what they call a key.
    pub(super) fn wants_name(&self, key: Key) -> bool {
        self.books.ledger.as_ref().is_some_and(|ledger| ledger.wants_name(key))
    }

    pub(super) fn hasher(&self) -> &RandomState {
        &self.books.hasher
    }

    /// The key with this hash.
    pub(super) fn key(&self, hash: u64) -> Key {
        self.books.key(hash)
    }

    /// What is asked for a request with this key.
    pub(super) fn claim(&self, key: Key) -> Claim<'_> {
        let own = self.overrides.binary_search_by_key(&key, |(key, _)| *key).ok();
        let own = own.and_then(|index| self.overrides.get(index)).map(|(_, pace)| pace);
        let terms = own.map_or(&self.terms, |pace| &pace.terms).as_ref();
        let ledger = self.books.ledger.as_ref();
        Claim {
            table: &self.books.table,
            limit: own.map_or(&self.algorithm, |pace| &pace.algorithm),
            key,
            cost: self.settings.counting.cost,
            enforcement: match self.is_disarmed() {
                true => &self.disarmed,
                false => &self.enforcement,
            },
            shared: ledger.zip(terms).map(|(ledger, terms)| SharedClaim {
                with: &**ledger,
                terms,
                name: None,
            }),
        }
    }

    pub(super) fn count(&self, worker: usize, outcome: LimitOutcome) {
        self.stats.of(worker).decisions.count(outcome);
    }

    /// Counts a decision, and shows it to the guard, which disarms the limit where it refused too much.
    pub(super) fn decided(&self, worker: usize, (outcome, verdict): (LimitOutcome, Verdict), now: Moment) {
        self.count(worker, outcome);
        if let Some((rules, guard)) = &self.guard
            && self.enforcement.mode == LimitMode::Enforce
        {
            // Whoever looks at the limits tells of it.
            guard.count(rules, verdict, now);
        }
    }
}
