//! Who does what would hold a worker up?

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use isobar_plan::Secret;
use tokio::sync::oneshot;

use crate::Question;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its addresses; at least one.
    pub addresses: Vec<IpAddr>,
    /// How long that holds, as the name service says.
    pub ttl: Duration,
}

/// Why it is not known what a name stands for; in words for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The name does not exist, or has no address: asking again soon is of no use.
    #[error("{0}")]
    NoAddress(String),
    /// The name service could not say.
    #[error("{0}")]
    Failed(String),
}

/// A password, and the hash that it is to be compared with.
#[derive(Debug)]
pub struct Attempt {
    /// What the client sent.
    pub password: Secret,
    /// What is known, made by bcrypt.
    pub hash: Secret,
    /// Where to say whether they are the same; dropped: nobody knows.
    pub told: oneshot::Sender<bool>,
}

/// Looks names up and compares passwords, on threads of its own. Both return at once.
pub trait Background: Send + Sync + fmt::Debug {
    /// Finds out what a name stands for, and [answers](Question::answer), within a time of its own.
    fn look_up(&self, question: Question);

    /// Compares a password. It takes as long as who made the hash wanted it to.
    fn verify(&self, attempt: Attempt);
}

/// Has no name service and knows no password: for instances without a forward proxy.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl Background for Nobody {
    fn look_up(&self, question: Question) {
        question.answer(Err(LookupError::Failed("there is no name service".to_owned())));
    }

    fn verify(&self, attempt: Attempt) {
        // Whoever asked may be gone.
        let _ = attempt.told.send(false);
    }
}
