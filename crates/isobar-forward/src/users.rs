//! Who is a client, and how much may it have?
//!
//! Passwords are hashed so that comparing one takes long. That is done once: what was right is remembered as a tag made with a key
//! of this process, which says nothing of the password.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use isobar_limit::{Gcra, Key, Rate, Table, TableSettings, Verdict};
use isobar_plan::{ProxyUser, RequestRate, Secret};
use isobar_upstream::moment;
use tokio::sync::oneshot;

use crate::{Attempt, Background};

/// Passwords that were right and are remembered.
const MAX_REMEMBERED: usize = 4096;

/// Passwords that wait to be compared at most.
const MAX_PENDING: u32 = 256;

/// Users whose requests are counted each for themselves.
const MAX_COUNTED: u32 = 16 * 1024;

/// For how long is remembered what somebody took for whom the table has no room.
const MEMORY: Duration = Duration::from_secs(60);

/// Bytes of a user name and a password together that are looked at.
const MAX_CLAIM_BYTES: usize = 1024;

/// Those who use a listener.
#[derive(Debug)]
pub(crate) struct Users {
    /// None: without chance nothing is remembered.
    key: Option<hmac::Key>,
    remembered: Mutex<Remembered>,
    pending: AtomicU32,
    /// How many connections everybody has who has one.
    seats: Mutex<HashMap<Box<str>, u32>>,
    requests: OnceLock<Table>,
}

#[derive(Debug, Default)]
struct Remembered {
    tags: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

/// What a client says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) name: Vec<u8>,
    pub(crate) password: Secret,
}

/// What came of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Login {
    /// It is this user.
    Is(Arc<str>),
    /// It is not.
    Wrong,
    /// Too many want to know.
    Busy,
}

/// A connection of a user, as long as it is counted.
#[derive(Debug)]
pub(crate) struct Seat {
    users: Arc<Users>,
    pub(crate) name: Box<str>,
}

impl Default for Users {
    fn default() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok();
        Self {
            key,
            remembered: Mutex::default(),
            pending: AtomicU32::new(0),
            seats: Mutex::default(),
            requests: OnceLock::new(),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is complete before anything that can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Claim {
    /// What stands in a `Proxy-Authorization` field; none: nothing of use.
    ///
    /// *Source*: RFC 7617.
    pub(crate) fn of_field(value: &[u8]) -> Option<Self> {
        let (scheme, rest) = value.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") || rest.len() > MAX_CLAIM_BYTES * 2 {
            return None;
        }
        let decoded = STANDARD.decode(rest.trim_ascii()).ok()?;
        let at = decoded.iter().position(|&byte| byte == b':')?;
        let (name, password) = decoded.split_at_checked(at)?;
        Self::new(name, password.get(1..)?)
    }

    /// A name with a password; none: they are too long for anybody's.
    pub(crate) fn new(name: &[u8], password: &[u8]) -> Option<Self> {
        (name.len() + password.len() <= MAX_CLAIM_BYTES).then(|| Self {
            name: name.to_vec(),
            password: Secret(password.into()),
        })
    }
}

impl Users {
    /// Finds out whether a client is who it says. Waits without bound: the caller has a deadline.
    pub(crate) async fn login(
        self: Arc<Self>,
        list: Arc<[ProxyUser]>,
        claim: Claim,
        background: Arc<dyn Background>,
    ) -> Login {
        let user = find(&list, &claim.name);
        // A name that is unknown takes as long as a password that is wrong.
        let Some(hash) = user.or_else(|| list.first()).map(|user| &user.hash) else {
            return Login::Wrong;
        };
        let tag = self.tag([&claim.name, &hash.0, &claim.password.0]);
        let name = user.map(|user| Arc::from(&*user.name));
        let is_known = tag.is_some_and(|tag| locked(&self.remembered).tags.contains(&tag));
        if is_known {
            return name.map_or(Login::Wrong, Login::Is);
        }
        let Some(_pending) = Pending::begin(&self.pending) else {
            return Login::Busy;
        };
        let (told, tells) = oneshot::channel();
        let (password, hash) = (claim.password, hash.clone());
        background.verify(Attempt { password, hash, told });
        match (tells.await, name) {
            (Ok(true), Some(name)) => {
                if let Some(tag) = tag {
                    locked(&self.remembered).add(tag);
                }
                Login::Is(name)
            }
            (Ok(_), _) => Login::Wrong,
            (Err(_), _) => Login::Busy,
        }
    }

    /// What is remembered of a password that was right, as long as its hash stays.
    fn tag(&self, parts: [&[u8]; 3]) -> Option<[u8; 32]> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign().as_ref().try_into().ok()
    }

    /// Counts a connection; none: the user has as many as it may.
    pub(crate) fn sit(self: &Arc<Self>, name: &str, max: Option<u32>) -> Option<Seat> {
        let mut seats = locked(&self.seats);
        let open = seats.get(name).copied().unwrap_or(0);
        if max.is_some_and(|max| open >= max) {
            return None;
        }
        seats.insert(name.into(), open + 1);
        Some(Seat {
            users: Arc::clone(self),
            name: name.into(),
        })
    }

    /// Whether a user may have one more request now.
    pub(crate) fn may_ask(&self, name: &str, rate: RequestRate, now: Instant) -> bool {
        let table = self.requests.get_or_init(|| {
            Table::new(&TableSettings {
                max_keys: MAX_COUNTED,
                memory: MEMORY,
                relax: std::thread::yield_now,
                advise: isobar_net::limits::prefer_large_pages,
            })
        });
        let limit = Gcra::new(Rate::per_second(rate.per_second.into()), rate.burst.into());
        // Nobody can choose a name that is counted together with somebody else's.
        let tag = self.tag([b"requests", name.as_bytes(), b""]);
        let hash = tag.map_or(0, |[a, b, c, d, e, f, g, h, ..]| {
            u64::from_be_bytes([a, b, c, d, e, f, g, h])
        });
        let grant = table.ask(&limit, Key::new(hash), 1, moment(now));
        !matches!(grant.decision.verdict, Verdict::Refused { .. })
    }
}

impl Remembered {
    fn add(&mut self, tag: [u8; 32]) {
        if !self.tags.insert(tag) {
            return;
        }
        self.order.push_back(tag);
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.tags.remove(&oldest);
        }
    }
}

/// One of the passwords that wait.
struct Pending<'a>(&'a AtomicU32);

impl<'a> Pending<'a> {
    fn begin(count: &'a AtomicU32) -> Option<Self> {
        let begun = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (count < MAX_PENDING).then_some(count + 1)
        });
        begun.is_ok().then_some(Self(count))
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = locked(&self.users.seats);
        match seats.get_mut(&self.name) {
            Some(open) if *open > 1 => *open -= 1,
            _ => drop(seats.remove(&self.name)),
        }
    }
}

/// The user of a name; `list` is sorted by it.
fn find<'u>(list: &'u [ProxyUser], name: &[u8]) -> Option<&'u ProxyUser> {
    let found = list.binary_search_by(|user| user.name.as_bytes().cmp(name)).ok();
    found.and_then(|position| list.get(position))
}

/// What an address is counted as where nobody has to say who he is: of IPv6 the network that one customer has.
pub(crate) fn name_of(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let check = |value: &str, expected: Option<(&str, &str)>| {
            let found = Claim::of_field(value.as_bytes());
            let expected = expected.map(|(name, password)| Claim::new(name.as_bytes(), password.as_bytes()).unwrap());
            assert_eq!(found, expected, "{value}");
        };
        check("Basic YWxpY2U6c2VjcmV0", Some(("alice", "secret")));
        check("basic  YWxpY2U6c2VjcmV0", Some(("alice", "secret")));
        check("Basic YWxpY2U6", Some(("alice", "")));
        check("Basic YWxpY2U6YTpi", Some(("alice", "a:b")));
        check("Basic YWxpY2U=", None);
        check("Basic !", None);
        check("Basic", None);
        check("", None);
        check("Digest YWxpY2U6c2VjcmV0", None);
        check(
            &format!("Basic {}", STANDARD.encode(format!("a:{}", "x".repeat(1024)))),
            None,
        );
        check(&format!("Basic {}", "A".repeat(5000)), None);
    }

    #[test]
    fn seats_are_counted_and_given_back() {
        let users = Arc::new(Users::default());
        let first = users.sit("a", Some(2)).unwrap();
        let second = users.sit("a", Some(2)).unwrap();
        assert!(users.sit("a", Some(2)).is_none());
        assert!(users.sit("a", None).is_some() && users.sit("b", Some(1)).is_some());
        drop(first);
        assert!(users.sit("a", Some(2)).is_some());
        drop(second);
        assert!(locked(&users.seats).is_empty());
    }

    #[test]
    fn requests_are_counted_for_each_user() {
        let users = Users::default();
        let rate = RequestRate {
            per_second: 1,
            burst: 2,
        };
        let now = Instant::now();
        let may = |name: &str, after: u64| users.may_ask(name, rate, now + Duration::from_secs(after));
        assert!(may("a", 0) && may("a", 0) && !may("a", 0) && may("b", 0));
        assert!(may("a", 1) && !may("a", 1));
    }

    #[test]
    fn the_oldest_password_is_forgotten() {
        let mut remembered = Remembered::default();
        for number in 0..=MAX_REMEMBERED {
            let mut tag = [0; 32];
            tag[..8].copy_from_slice(&number.to_be_bytes());
            remembered.add(tag);
            remembered.add(tag);
        }
        assert_eq!(
            (remembered.tags.len(), remembered.order.len()),
            (MAX_REMEMBERED, MAX_REMEMBERED)
        );
        assert!(!remembered.tags.contains(&[0; 32]));
    }

    #[test]
    fn addresses_are_counted_by_who_has_them() {
        let check = |address: &str, expected: &str| assert_eq!(name_of(address.parse().unwrap()), expected);
        check("10.0.0.1", "10.0.0.1");
        check("::ffff:10.0.0.1", "10.0.0.1");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64");
    }
}
