//! What makes a later connection of the same client cheaper?
//!
//! Tickets: what a client needs to resume, encrypted for ourselves and kept by the client. They are good at every worker, and at every
//! instance that has the same keys.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;

/// How long a ticket is good, in seconds.
const LIFETIME_S: u32 = 12 * 60 * 60;

/// How far the clocks of two instances may be apart, in seconds.
const SKEW_S: u64 = 5 * 60;

/// Bytes of the time in a ticket.
const TIME_BYTES: usize = size_of::<u64>();

/// Bytes of a key that is shared at least.
pub const MIN_SECRET_BYTES: usize = 32;

const NAME_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

/// Makes and reads tickets; cheap to clone.
#[derive(Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

/// Why there are no tickets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketsError {
    /// A shared key is too short.
    #[error("a key for tickets has {MIN_SECRET_BYTES} bytes at least")]
    TooShort,
    /// There is no key.
    #[error("there is no key for tickets")]
    NoKey,
    /// The system has no random numbers.
    #[error("the system has no random numbers")]
    NoRandom,
}

impl Tickets {
    /// Tickets of this process alone. Their keys change by themselves.
    ///
    /// *Errors*: the system has no random numbers.
    pub fn of_this_process() -> Result<Self, TicketsError> {
        Ticketer::new().map(Self).map_err(|_| TicketsError::NoRandom)
    }

    /// Tickets that every instance with the same keys can read: the first makes them, all read them, so that a new key is put first
    /// and the old one stays behind it for as long as tickets are good (12 hours). `purpose` keeps tickets of one listener from
    /// being good at another one that asks more of its clients.
    ///
    /// *Errors*: a key is too short, or there is none.
    pub fn shared(secrets: &[&[u8]], purpose: &[u8]) -> Result<Self, TicketsError> {
        let keys: Result<Vec<_>, _> = secrets.iter().map(|secret| Key::derive(secret, purpose)).collect();
        let keys = keys?;
        if keys.is_empty() {
            return Err(TicketsError::NoKey);
        }
        Ok(Self(Arc::new(Shared(keys))))
    }

    pub(super) fn producer(self) -> Arc<dyn ProducesTickets> {
        self.0
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

/// The keys, the newest first.
struct Shared(Vec<Key>);

struct Key {
    /// Which key it is, in front of the ticket; says nothing of the key.
    name: [u8; NAME_BYTES],
    key: RandomizedNonceKey,
}

/// How long what is derived is.
struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

impl Key {
    fn derive(secret: &[u8], purpose: &[u8]) -> Result<Self, TicketsError> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(TicketsError::TooShort);
        }
        let derived = Salt::new(HKDF_SHA256, b"isobar tickets").extract(secret);
        let mut bytes = [0; NAME_BYTES + KEY_BYTES];
        let filled = derived
            .expand(&[purpose], Bytes(bytes.len()))
            .and_then(|output| output.fill(&mut bytes));
        filled.map_err(|_| TicketsError::NoRandom)?;
        let (name, key) = bytes.split_at(NAME_BYTES);
        Ok(Self {
            name: name.try_into().map_err(|_| TicketsError::NoRandom)?,
            key: RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| TicketsError::NoRandom)?,
        })
    }
}

impl ProducesTickets for Shared {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_S
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, seconds(SystemTime::now()))
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket, seconds(SystemTime::now()))
    }
}

impl Shared {
    /// *Shape*: name of the key, nonce, and encrypted, with a tag, the time and what was given.
    fn seal(&self, plain: &[u8], now: u64) -> Option<Vec<u8>> {
        let Key { name, key } = self.0.first()?;
        let mut sealed = [&now.to_be_bytes(), plain].concat();
        let nonce = key.seal_in_place_append_tag(Aad::from(name), &mut sealed).ok()?;
        let mut ticket = Vec::with_capacity(NAME_BYTES + NONCE_LEN + sealed.len());
        ticket.extend_from_slice(name);
        ticket.extend_from_slice(nonce.as_ref());
        ticket.extend_from_slice(&sealed);
        Some(ticket)
    }

    /// What was given, unless the ticket is too old, or of another key.
    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME_BYTES)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let Key { name, key } = self.0.iter().find(|key| key.name == name)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = sealed.to_vec();
        let opened = key.open_in_place(nonce, Aad::from(name), &mut bytes).ok()?;
        let (made, plain) = opened.split_at_checked(TIME_BYTES)?;
        let made = u64::from_be_bytes(made.try_into().ok()?);
        let is_good = made <= now + SKEW_S && now.saturating_sub(made) <= u64::from(LIFETIME_S);
        is_good.then(|| plain.to_vec())
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &[u8] = b"the old key of all the instances";
    const NEW: &[u8] = b"the new key of all the instances";

    fn shared(secrets: &[&[u8]], purpose: &[u8]) -> Arc<dyn ProducesTickets> {
        Tickets::shared(secrets, purpose).unwrap().producer()
    }

    #[test]
    fn instances_with_the_same_keys_read_each_others_tickets() {
        let ticket = shared(&[OLD], b"web").encrypt(b"session").unwrap();
        let check = |secrets: &[&[u8]], purpose: &[u8], expected: Option<&[u8]>| {
            assert_eq!(
                shared(secrets, purpose).decrypt(&ticket).as_deref(),
                expected,
                "{secrets:?}"
            );
        };
        check(&[OLD], b"web", Some(b"session"));
        check(&[NEW, OLD], b"web", Some(b"session"));
        check(&[NEW], b"web", None);
        check(&[OLD], b"inner", None);
    }

    #[test]
    fn a_ticket_that_was_changed_is_no_ticket() {
        let tickets = shared(&[OLD], b"web");
        let ticket = tickets.encrypt(b"session").unwrap();
        assert_ne!(ticket, tickets.encrypt(b"session").unwrap(), "nonces are random");
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None, "byte {at}");
            assert_eq!(tickets.decrypt(&ticket[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn tickets_end() {
        let tickets = Shared(vec![Key::derive(OLD, b"web").unwrap()]);
        let ticket = tickets.seal(b"session", 1_000_000).unwrap();
        let check = |now: u64, expected: bool| assert_eq!(tickets.open(&ticket, now).is_some(), expected, "{now}");
        let lifetime = u64::from(LIFETIME_S);
        check(1_000_000, true);
        check(1_000_000 + lifetime, true);
        check(1_000_000 + lifetime + 1, false);
        check(1_000_000 - SKEW_S, true);
        check(1_000_000 - SKEW_S - 1, false);
        check(0, false);
    }

    #[test]
    fn keys_of_no_use_are_refused() {
        assert_eq!(Tickets::shared(&[], b"").map(drop), Err(TicketsError::NoKey));
        assert_eq!(Tickets::shared(&[b"short"], b"").map(drop), Err(TicketsError::TooShort));
    }
}
