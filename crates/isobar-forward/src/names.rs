//! For which addresses do the names of destinations stand, as far as that is remembered?
//!
//! One cache for all workers. Who asks for a name that somebody asked for a moment ago waits for the same answer.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use isobar_plan::NameRules;
use tokio::sync::oneshot;

use crate::{Background, Found, LookupError};

/// Names that are looked up at the same time at most.
const MAX_QUESTIONS: usize = 1024;

/// Addresses of one name that are remembered.
const MAX_ADDRESSES: usize = 16;

/// What became of a question.
pub(crate) type Outcome = Result<Arc<[IpAddr]>, LookupError>;

/// What is remembered of names.
#[derive(Debug)]
pub struct Names {
    rules: NameRules,
    cache: Mutex<Cache>,
}

/// A name that somebody has to look up.
///
/// Dropped without an answer, it tells those who wait that nobody knows.
#[derive(Debug)]
pub struct Question {
    names: Arc<Names>,
    name: Arc<str>,
    is_answered: bool,
}

impl Names {
    /// Remembers nothing yet.
    #[must_use]
    pub fn new(rules: NameRules) -> Self {
        Self {
            rules,
            cache: Mutex::default(),
        }
    }

    /// How it remembers.
    #[must_use]
    pub fn rules(&self) -> &NameRules {
        &self.rules
    }

    /// What a name stands for, perhaps as remembered; calls `asks` where the name service is asked. Waits without bound: the
    /// caller has a deadline.
    pub(crate) async fn look_up(
        self: Arc<Self>,
        name: Arc<str>,
        background: Arc<dyn Background>,
        asks: impl FnOnce(),
    ) -> Outcome {
        let asked = self.cache().ask(&name, Instant::now());
        let answer = match asked {
            Asked::Known(outcome) => return outcome,
            Asked::Full => return Err(LookupError::Failed("too many names are being looked up".to_owned())),
            Asked::Again(answer) => answer,
            Asked::First(answer) => {
                asks();
                background.look_up(Question {
                    names: Arc::clone(&self),
                    name,
                    is_answered: false,
                });
                answer
            }
        };
        answer.await.unwrap_or_else(|_| Err(unknown()))
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // Every change is complete before anything that can panic.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown() -> LookupError {
    LookupError::Failed("the name service gave no answer".to_owned())
}

impl Question {
    /// The name, in lower case and without a dot at the end.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who is to be asked; nobody: whom the system asks.
    #[must_use]
    pub fn servers(&self) -> &[SocketAddr] {
        &self.names.rules.servers
    }

    /// Tells everybody who asked.
    pub fn answer(mut self, found: Result<Found, LookupError>) {
        self.is_answered = true;
        self.tell(found);
    }

    fn tell(&self, found: Result<Found, LookupError>) {
        let found = found.and_then(|found| match found.addresses.is_empty() {
            true => Err(LookupError::NoAddress("the name has no addresses".to_owned())),
            false => Ok(found),
        });
        let waiting = self
            .names
            .cache()
            .answer(&self.name, &found, &self.names.rules, Instant::now());
        let outcome = found.map(|found| addresses(&found));
        for waiting in waiting {
            // Who waited may be gone.
            let _ = waiting.send(outcome.clone());
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if !self.is_answered {
            self.tell(Err(unknown()));
        }
    }
}

fn addresses(found: &Found) -> Arc<[IpAddr]> {
    let addresses = found.addresses.iter().take(MAX_ADDRESSES);
    addresses.map(IpAddr::to_canonical).collect()
}

/// What is known, and who waits.
#[derive(Debug, Default)]
struct Cache {
    known: HashMap<Arc<str>, Known>,
    /// Those that are known, by when that ends.
    ends: BTreeSet<(Instant, Arc<str>)>,
    asked: HashMap<Arc<str>, Vec<oneshot::Sender<Outcome>>>,
}

#[derive(Debug)]
struct Known {
    outcome: Outcome,
    until: Instant,
}

/// What becomes of who asks.
#[derive(Debug)]
enum Asked {
    /// It is known.
    Known(Outcome),
    /// It has to be looked up, and then comes here.
    First(oneshot::Receiver<Outcome>),
    /// It is being looked up.
    Again(oneshot::Receiver<Outcome>),
    /// Too much is being looked up.
    Full,
}

impl Cache {
    fn ask(&mut self, name: &Arc<str>, now: Instant) -> Asked {
        if let Some(known) = self.known.get(name) {
            if known.until > now {
                return Asked::Known(known.outcome.clone());
            }
            self.forget(name);
        }
        let has_room = self.asked.len() < MAX_QUESTIONS;
        let (tell, told) = oneshot::channel();
        match self.asked.get_mut(name) {
            Some(waiting) => {
                waiting.push(tell);
                Asked::Again(told)
            }
            None if has_room => {
                self.asked.insert(Arc::clone(name), vec![tell]);
                Asked::First(told)
            }
            None => Asked::Full,
        }
    }

    /// Takes note of what was found, and gives those who wait for it.
    fn answer(
        &mut self,
        name: &Arc<str>,
        found: &Result<Found, LookupError>,
        rules: &NameRules,
        now: Instant,
    ) -> Vec<oneshot::Sender<Outcome>> {
        let waiting = self.asked.remove(name).unwrap_or_default();
        let ttl = match found {
            Ok(found) => found.ttl.clamp(rules.min_ttl, rules.max_ttl),
            Err(LookupError::NoAddress(_)) => rules.negative_ttl,
            Err(LookupError::Failed(_)) => Duration::ZERO,
        };
        self.forget(name);
        if !ttl.is_zero() {
            self.make_room(rules.max_names as usize);
            let until = now + ttl;
            let outcome = found.as_ref().map(addresses).map_err(Clone::clone);
            self.known.insert(Arc::clone(name), Known { outcome, until });
            self.ends.insert((until, Arc::clone(name)));
        }
        waiting
    }

    fn forget(&mut self, name: &Arc<str>) {
        if let Some(known) = self.known.remove(name) {
            self.ends.remove(&(known.until, Arc::clone(name)));
        }
    }

    /// What ends first makes room.
    fn make_room(&mut self, max: usize) {
        while self.known.len() >= max
            && let Some((_, name)) = self.ends.pop_first()
        {
            self.known.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> NameRules {
        NameRules {
            servers: Arc::default(),
            min_ttl: Duration::from_secs(5),
            max_ttl: Duration::from_secs(60),
            negative_ttl: Duration::from_secs(10),
            max_names: 2,
        }
    }

    fn found(seconds: u64) -> Result<Found, LookupError> {
        Ok(Found {
            addresses: vec!["::ffff:10.0.0.1".parse().unwrap()],
            ttl: Duration::from_secs(seconds),
        })
    }

    fn none() -> Result<Found, LookupError> {
        Err(LookupError::NoAddress("no such name".to_owned()))
    }

    /// Whether asking so many seconds after an answer asks the name service.
    #[test]
    fn answers_are_believed_for_their_time() {
        let check = |answer: Result<Found, LookupError>, after: u64, expected: bool| {
            let (mut cache, name, now) = (Cache::default(), Arc::from("a"), Instant::now());
            assert!(matches!(cache.ask(&name, now), Asked::First(_)));
            assert_eq!(cache.answer(&name, &answer, &rules(), now).len(), 1);
            let asks = matches!(cache.ask(&name, now + Duration::from_secs(after)), Asked::First(_));
            assert_eq!(asks, expected, "{answer:?} after {after}");
            assert_eq!(cache.known.len(), cache.ends.len());
        };
        check(found(20), 19, false);
        check(found(20), 20, true);
        check(found(0), 4, false);
        check(found(0), 5, true);
        check(found(3600), 59, false);
        check(found(3600), 60, true);
        check(none(), 9, false);
        check(none(), 10, true);
        check(Err(LookupError::Failed("refused".to_owned())), 0, true);
    }

    #[test]
    fn who_asks_later_waits_for_the_same_answer() {
        let (mut cache, name, now) = (Cache::default(), Arc::from("a"), Instant::now());
        let Asked::First(mut first) = cache.ask(&name, now) else {
            panic!()
        };
        let Asked::Again(mut again) = cache.ask(&name, now) else {
            panic!()
        };
        assert!(first.try_recv().is_err() && again.try_recv().is_err());
        assert_eq!(cache.answer(&name, &found(1), &rules(), now).len(), 2);
        let Asked::Known(known) = cache.ask(&name, now) else {
            panic!()
        };
        // Rules see an IPv4 address as one, however it is written.
        assert_eq!(known, Ok(Arc::from(["10.0.0.1".parse().unwrap()])));
    }

    #[test]
    fn there_is_a_bound_to_everything() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        for (index, seconds) in [30, 20, 40].into_iter().enumerate() {
            let name = Arc::from(index.to_string());
            drop(cache.ask(&name, now));
            cache.answer(&name, &found(seconds), &rules(), now);
            assert!(cache.known.len() <= 2);
        }
        let knows = |cache: &mut Cache, name: &str| matches!(cache.ask(&name.into(), now), Asked::Known(_));
        assert!(
            knows(&mut cache, "0") && knows(&mut cache, "2"),
            "what ends first made room"
        );
        for index in 0..MAX_QUESTIONS {
            assert!(matches!(cache.ask(&format!("x{index}").into(), now), Asked::First(_)));
        }
        assert!(matches!(cache.ask(&"y".into(), now), Asked::Full));
        assert!(matches!(cache.ask(&"x0".into(), now), Asked::Again(_)));
    }

    #[test]
    fn a_question_that_is_dropped_is_answered() {
        let names = Arc::new(Names::new(rules()));
        let Asked::First(mut told) = names.cache().ask(&"a".into(), Instant::now()) else {
            panic!()
        };
        drop(Question {
            names: Arc::clone(&names),
            name: "a".into(),
            is_answered: false,
        });
        assert_eq!(told.try_recv(), Ok(Err(unknown())));
        assert!(names.cache().asked.is_empty());
    }
}
