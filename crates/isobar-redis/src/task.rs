//! When is Redis told something, and what if it does not answer?

use std::hash::{BuildHasher as _, RandomState};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use isobar_balance::{Chance, Moment};
use isobar_plan::{Name, Store as Settings};
use isobar_share::{Contact, Errand, Ledger, Store};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use crate::link::{Link, words};
use crate::scripts::{Answer, By, Call, Scripts, is_unknown, reply};

/// How often an instance says that it is there, and for how long that holds.
const HEARTBEAT: Duration = Duration::from_secs(1);
const STAYS: Duration = Duration::from_secs(5);

/// How long an instance that ends gives back what it has.
const GOODBYE: Duration = Duration::from_secs(2);

/// Exchanges of one batch at most.
const MOST: usize = 512;

/// Parts in which ledgers are swept, all of them once while a lease lasts.
const PARTS: u32 = 8;

/// After a failure the store is left alone for this long; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// It is never left alone for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The ledgers of a store's limits, by the names of those.
pub type Members = Arc<[(Name, Arc<Ledger>)]>;

/// Keeps ledgers and Redis of one mind until nobody sends members any more; gives back what is left then. What changes it tells:
/// why the store is lost, or that it answers, and how many instances there are.
pub async fn serve(
    (store, settings): (Arc<Store>, Settings),
    members: watch::Receiver<Members>,
    clock: fn() -> Moment,
    news: impl Fn(Option<String>, u32),
) {
    let seed = RandomState::new().hash_one(settings.prefix.as_bytes());
    let current = members.borrow().clone();
    let mut task = Task {
        current,
        id: format!("{seed:016x}"),
        scripts: Scripts::new(),
        store,
        settings,
        members,
        clock,
        news,
        last: Instant::now(),
        turn: 0,
    };
    let (mut chance, mut pause) = (Chance::new(seed), FIRST_PAUSE);
    loop {
        let (why, began) = match task.connected().await {
            Ok(ControlFlow::Break(())) => return,
            Ok(ControlFlow::Continue(began)) => began,
            Err(why) => (why, None),
        };
        task.lost(why);
        if began.is_some_and(|began: Instant| began.elapsed() > LONGEST_PAUSE) {
            pause = FIRST_PAUSE;
        }
        // Instances that lost it together come back one after the other.
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let part = Duration::from_millis(millis / 2 + chance.below(millis / 2 + 1));
        pause = (pause * 2).min(LONGEST_PAUSE);
        if task.is_over_within(part).await {
            return;
        }
    }
}

/// Why a connection ended, and since when it had answered.
type Ended = (String, Option<Instant>);

struct Task<N> {
    store: Arc<Store>,
    settings: Settings,
    members: watch::Receiver<Members>,
    current: Members,
    id: String,
    scripts: Scripts,
    clock: fn() -> Moment,
    news: N,
    /// When the last batch was sent.
    last: Instant,
    /// Which ledger comes first in the next batch.
    turn: usize,
}

impl<N: Fn(Option<String>, u32)> Task<N> {
    /// Connects and serves until the connection is lost, or nobody wants it any more.
    async fn connected(&mut self) -> Result<ControlFlow<(), Ended>, String> {
        let opening = Link::open(&self.settings);
        let mut members = self.members.clone();
        let mut link = tokio::select! {
            link = opening => link?,
            () = closed(&mut members) => return Ok(ControlFlow::Break(())),
        };
        self.beat(&mut link, STAYS).await?;
        let began = Instant::now();
        if self.store.set(Contact::Up) {
            (self.news)(None, self.store.instances());
        }
        // What was to be told while it was lost is told now.
        self.sweep(1);
        self.store.ring();
        let ended = self.converse(&mut link).await;
        Ok(match ended {
            Ok(()) => ControlFlow::Break(()),
            Err(why) => ControlFlow::Continue((why, Some(began))),
        })
    }

    /// *Errors*: why the connection is of no use any more.
    async fn converse(&mut self, link: &mut Link) -> Result<(), String> {
        let mut beats = ticks(HEARTBEAT);
        let mut sweeps = ticks(self.settings.leases.ttl / PARTS);
        let store = Arc::clone(&self.store);
        let mut is_wanted = false;
        loop {
            tokio::select! {
                changed = self.members.changed() => {
                    if changed.is_err() {
                        // What is not given back by then is lost.
                        let _ = timeout(GOODBYE, self.leave(link)).await;
                        return Ok(());
                    }
                    self.follow(link).await?;
                }
                () = store.rung(), if !is_wanted => is_wanted = true,
                () = sleep_until(self.last + self.settings.interval), if is_wanted => {
                    is_wanted = false;
                    self.tell(link).await?;
                }
                _ = beats.tick() => self.beat(link, STAYS).await?,
                _ = sweeps.tick() => self.sweep(PARTS),
            }
        }
    }

    /// Takes up the ledgers there are now, and gives back what those had that are gone.
    async fn follow(&mut self, link: &mut Link) -> Result<(), String> {
        let next = self.members.borrow_and_update().clone();
        let last = std::mem::replace(&mut self.current, next);
        for (name, ledger) in &*last {
            let stays = self.current.iter().any(|(_, other)| Arc::ptr_eq(ledger, other));
            if !stays {
                self.give_back(link, (name, ledger)).await?;
            }
        }
        self.store.ring();
        Ok(())
    }

    /// Gives everything back, as well as that goes.
    async fn leave(&mut self, link: &mut Link) {
        let last = std::mem::replace(&mut self.current, [].into());
        for (name, ledger) in &*last {
            if self.give_back(link, (name, ledger)).await.is_err() {
                return;
            }
        }
        // It would be forgotten a little later anyway.
        let _ = self.beat(link, Duration::ZERO).await;
    }

    async fn give_back(&mut self, link: &mut Link, (name, ledger): (&Name, &Ledger)) -> Result<(), String> {
        let mut errands = Vec::new();
        ledger.end((self.clock)(), &mut errands);
        for batch in errands.chunks(MOST) {
            self.batch(link, batch.iter().map(|errand| (name, ledger, *errand)).collect())
                .await?;
        }
        Ok(())
    }

    /// Tells what is due, as much of it as one batch holds.
    async fn tell(&mut self, link: &mut Link) -> Result<(), String> {
        let current = Arc::clone(&self.current);
        let (mut errands, now) = (Vec::new(), (self.clock)());
        let mut batch = Vec::new();
        // Where one of them fills batches alone, the others have their turn.
        self.turn = self.turn.wrapping_add(1) % current.len().max(1);
        let (later, first) = current.split_at(self.turn.min(current.len()));
        for (name, ledger) in first.iter().chain(later) {
            if !ledger.collect(MOST - batch.len().min(MOST), now, &mut errands) {
                self.store.ring();
            }
            batch.extend(errands.drain(..).map(|errand| (name, &**ledger, errand)));
        }
        self.batch(link, batch).await
    }

    /// Runs one batch, and gives the answers to those who asked.
    async fn batch(&mut self, link: &mut Link, errands: Vec<(&Name, &Ledger, Errand)>) -> Result<(), String> {
        if errands.is_empty() {
            return Ok(());
        }
        self.last = Instant::now();
        let answered = timeout(self.settings.timeout, self.ask(link, &errands)).await;
        let answers = match answered {
            Ok(Ok(answers)) => answers,
            Ok(Err(why)) => return Err(self.failed(&errands, why)),
            Err(_) => {
                let millis = self.settings.timeout.as_millis();
                return Err(self.failed(&errands, format!("no answer within {millis} ms")));
            }
        };
        let now = (self.clock)();
        let mut failed = None;
        for ((_, ledger, errand), answer) in errands.iter().zip(answers) {
            match answer {
                Ok(answer) => ledger.settle(errand, Some(reply(answer)), now),
                Err(error) => {
                    ledger.settle(errand, None, now);
                    failed.get_or_insert_with(|| words(&error));
                }
            }
        }
        self.store.answered(errands.len(), self.last.elapsed());
        failed.map_or(Ok(()), Err)
    }

    fn failed(&self, errands: &[(&Name, &Ledger, Errand)], why: String) -> String {
        let now = (self.clock)();
        for (_, ledger, errand) in errands {
            ledger.settle(errand, None, now);
        }
        why
    }

    async fn ask(
        &self,
        link: &mut Link,
        errands: &[(&Name, &Ledger, Errand)],
    ) -> Result<Vec<redis::RedisResult<Answer>>, String> {
        let prefixes = |name: &Name| format!("{}{name}:", self.settings.prefix);
        let command = |(name, _, errand): &(&Name, &Ledger, Errand), by| {
            let prefix = prefixes(name);
            self.scripts.exchange(
                Call {
                    prefix: &prefix,
                    errand,
                },
                by,
            )
        };
        let commands = errands.iter().map(|errand| command(errand, By::Hash)).collect();
        let mut answers = link.run::<Answer>(commands).await.map_err(|error| words(&error))?;
        // Those did nothing.
        let unknown = |answers: &[redis::RedisResult<Answer>]| -> Vec<usize> {
            let numbered = answers.iter().enumerate();
            numbered
                .filter(|(_, answer)| is_unknown(answer))
                .map(|(index, _)| index)
                .collect()
        };
        let again = unknown(&answers);
        if !again.is_empty() {
            let texts = again.iter().filter_map(|index| errands.get(*index));
            let commands = texts.map(|errand| command(errand, By::Text)).collect();
            let said = link.run::<Answer>(commands).await.map_err(|error| words(&error))?;
            for (index, answer) in again.into_iter().zip(said) {
                if let Some(place) = answers.get_mut(index) {
                    *place = answer;
                }
            }
        }
        Ok(answers)
    }

    /// Says that this instance is there, for so long, and learns how many there are.
    async fn beat(&mut self, link: &mut Link, stays: Duration) -> Result<(), String> {
        let whose = (&*self.settings.prefix, &*self.id);
        let (begun, scripts) = (Instant::now(), &self.scripts);
        let asking = async {
            let mut answers = link.run::<u32>(vec![scripts.instances(whose, stays, By::Hash)]).await?;
            if answers.first().is_some_and(is_unknown) {
                answers = link.run(vec![scripts.instances(whose, stays, By::Text)]).await?;
            }
            answers.pop().unwrap_or(Ok(1))
        };
        let answered = timeout(self.settings.timeout, asking).await;
        let millis = self.settings.timeout.as_millis();
        let counted = answered.map_err(|_| format!("no answer within {millis} ms"))?;
        let instances = counted.map_err(|error| words(&error))?;
        self.store.counted(instances);
        self.store.answered(0, begun.elapsed());
        Ok(())
    }

    fn sweep(&self, parts: u32) {
        let now = (self.clock)();
        for (_, ledger) in &*self.current {
            ledger.sweep(parts as usize, now);
        }
    }

    fn lost(&self, why: String) {
        self.store.failed();
        if self.store.set(Contact::Lost(why.clone())) {
            (self.news)(Some(why), self.store.instances());
        }
    }

    /// Waits; *returns* whether it is over before that. Ledgers that are gone have nothing more to give back.
    async fn is_over_within(&mut self, time: Duration) -> bool {
        let mut members = self.members.clone();
        let is_over = tokio::select! {
            () = sleep(time) => false,
            () = closed(&mut members) => true,
        };
        self.current = self.members.borrow_and_update().clone();
        is_over
    }
}

async fn closed(members: &mut watch::Receiver<Members>) {
    while members.changed().await.is_ok() {}
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
