//! What became of the last configurations?

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Remembers which configuration is in service and why the last one was refused. Shared with whoever reports it.
#[derive(Debug)]
pub struct History(Mutex<Past>);

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The configuration in service, counted from 1.
    pub generation: u64,
    /// When it came into service.
    pub applied_at: SystemTime,
    /// The attempt that was refused since; none: the last attempt is in service.
    pub refusal: Option<Refusal>,
}

/// A configuration that was not taken into service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// When it was tried.
    pub at: SystemTime,
    /// Why it was refused, in a line.
    pub error: String,
}

impl History {
    /// Begins with the first configuration, in service since `now`.
    #[must_use]
    pub fn new(now: SystemTime) -> Self {
        Self(Mutex::new(Past {
            generation: 1,
            applied_at: now,
            refusal: None,
        }))
    }

    /// What is remembered.
    #[must_use]
    pub fn past(&self) -> Past {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers that another configuration came into service; *returns* its generation.
    pub(super) fn applied(&self, now: SystemTime) -> u64 {
        let mut past = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = past.generation + 1;
        *past = Past {
            generation,
            applied_at: now,
            refusal: None,
        };
        generation
    }

    /// Remembers that a configuration was refused; *returns* the generation that stays.
    pub(super) fn refused(&self, now: SystemTime, error: &str) -> u64 {
        let mut past = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        past.refusal = Some(Refusal {
            at: now,
            error: error.to_owned(),
        });
        past.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_until_something_is_applied() {
        let history = History::new(SystemTime::UNIX_EPOCH);
        assert_eq!(history.refused(SystemTime::UNIX_EPOCH, "a.yaml has 1 error"), 1);
        assert_eq!(history.past().generation, 1);
        assert_eq!(history.past().refusal.unwrap().error, "a.yaml has 1 error");
        assert_eq!(history.applied(SystemTime::UNIX_EPOCH), 2);
        assert_eq!(history.past().refusal, None);
    }
}
