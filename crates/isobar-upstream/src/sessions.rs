//! Which server does a session belong to, by what the client brought along or by what is remembered?
//!
//! Makes and proves the values of cookies, and keeps the table of sessions over reloads. It knows no header and no cookie
//! syntax, and decides nothing: that is `isobar_balance`'s, in `sticky`.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use isobar_balance::{Judgement, Keep, Kept, Moment, Seal, SessionTable, Token, Tokens, Visit};
use isobar_plan::{Learned, Name, Secret, ServerAddress, Sticky, StickyBy, StickyCookie};

use crate::Server;
use crate::slots::Slots;

/// How the sessions of an upstream are known, for one list of servers; immutable but for the table.
#[derive(Debug)]
pub struct Sessions {
    rules: Sticky,
    way: Way,
    slots: Arc<Slots>,
}

#[derive(Debug)]
enum Way {
    Tokens { seals: Box<[HmacSeal]>, tokens: Tokens },
    Table { memory: Arc<Memory>, ttl: Duration },
}

/// What is remembered.
#[derive(Debug)]
struct Memory {
    table: SessionTable,
    /// Seeded by chance, so that nobody can make up sessions that meet in one bucket.
    hasher: RandomState,
}

impl Sessions {
    /// The sessions of an upstream with these servers, by slot; `last` is what held before, and goes on where it can.
    pub(crate) fn new(
        rules: &Sticky,
        upstream: &Name,
        (servers, slots): (&[Arc<Server>], &Arc<Slots>),
        last: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        if let Some(last) = last
            && last.rules == *rules
            && last.slots == *slots
        {
            return Arc::clone(last);
        }
        let way = match &rules.by {
            StickyBy::Cookie(cookie) => {
                let seals = seals(cookie, upstream);
                let servers: Vec<String> = servers.iter().map(|server| described(server)).collect();
                let tokens = Tokens::new(&seals, &servers);
                Way::Tokens { seals, tokens }
            }
            StickyBy::Learned(learned) => Way::Table {
                memory: memory(learned, last.map(|last| &**last)),
                ttl: learned.ttl,
            },
        };
        let sessions = Self {
            rules: rules.clone(),
            way,
            slots: Arc::clone(slots),
        };
        sessions.forget_strangers();
        Arc::new(sessions)
    }

    /// What was asked for.
    #[must_use]
    pub fn rules(&self) -> &Sticky {
        &self.rules
    }

    /// The value of a cookie that names the server at a slot; none: sessions are not known by one.
    #[must_use]
    pub fn value(&self, slot: u32) -> Option<[u8; Token::TEXT_BYTES]> {
        match &self.way {
            Way::Tokens { tokens, .. } => tokens.newest(slot).map(|token| token.text()),
            Way::Table { .. } => None,
        }
    }

    /// What the value of a cookie says.
    ///
    /// *Cost*: no lock and no allocation; one signature with each secret for a value that names no server of now.
    #[must_use]
    pub fn judge(&self, value: &[u8]) -> Judgement {
        match &self.way {
            Way::Tokens { seals, tokens } => tokens.judge(value, seals),
            Way::Table { .. } => Judgement::Forged,
        }
    }

    /// What a session is known by in the table; none: there is none.
    #[must_use]
    pub fn key(&self, session: &[u8]) -> Option<u64> {
        match &self.way {
            Way::Tokens { .. } => None,
            Way::Table { memory, .. } => Some(memory.hasher.hash_one(session)),
        }
    }

    /// The slot of the server that is remembered for a session.
    #[must_use]
    pub fn find(&self, key: u64, now: Moment) -> Option<u32> {
        let (memory, visit) = self.visit(now)?;
        self.slot(memory.table.find(key, visit)?)
    }

    /// Remembers the server of a session.
    pub fn remember(&self, key: u64, server: &Server, now: Moment, keep: Keep) -> Kept {
        let Some((memory, visit)) = self.visit(now) else {
            return Kept::Lost;
        };
        // One that belongs to a server that left, written down while it did, has none to keep.
        let is_stranger = |number| self.slot(number).is_none();
        let keep = match memory.table.find(key, visit) {
            Some(number) if is_stranger(number) => Keep::Latest,
            _ => keep,
        };
        memory.table.remember(key, server.number(), visit, keep)
    }

    /// How many sessions are remembered; none: none ever are.
    ///
    /// *Cost*: a look at all of them.
    pub(crate) fn count(&self, now: Moment) -> Option<u64> {
        let (memory, visit) = self.visit(now)?;
        u64::try_from(memory.table.count(visit)).ok()
    }

    /// The slot of the server of a number.
    pub(crate) fn slot(&self, number: u32) -> Option<u32> {
        self.slots.of_number(number)
    }

    fn visit(&self, now: Moment) -> Option<(&Memory, Visit)> {
        match &self.way {
            Way::Tokens { .. } => None,
            Way::Table { memory, ttl } => Some((memory, Visit { now, ttl: *ttl })),
        }
    }

    /// Forgets the sessions of servers that are not here.
    fn forget_strangers(&self) {
        if let Way::Table { memory, .. } = &self.way {
            memory.table.retain(|number| self.slot(number).is_some());
        }
    }
}

/// The memory for these settings, with what was remembered of the same thing before.
fn memory(learned: &Learned, last: Option<&Sessions>) -> Arc<Memory> {
    let Some(Sessions {
        rules: Sticky {
            by: StickyBy::Learned(before),
            ..
        },
        way: Way::Table { memory, .. },
        ..
    }) = last.filter(|last| matches!(&last.rules.by, StickyBy::Learned(before) if before.from == learned.from))
    else {
        return Arc::new(Memory {
            table: SessionTable::new(learned.max_entries),
            hasher: RandomState::new(),
        });
    };
    if before.max_entries == learned.max_entries {
        return Arc::clone(memory);
    }
    Arc::new(Memory {
        table: memory.table.resized(learned.max_entries),
        hasher: memory.hasher.clone(),
    })
}

/// A secret with which cookies for the servers of one upstream are signed.
#[derive(Debug)]
struct HmacSeal {
    key: hmac::Key,
    upstream: Name,
}

impl HmacSeal {
    /// The signature over something of this upstream. No name holds a zero byte, so no two things read the same.
    fn sign(&self, what: &[u8], of: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [what, b"\0", self.upstream.as_bytes(), b"\0", of] {
            context.update(part);
        }
        context.sign()
    }
}

impl Seal for HmacSeal {
    fn id(&self, server: &[u8]) -> u64 {
        let signature = self.sign(b"isobar server", server);
        signature
            .as_ref()
            .first_chunk()
            .map_or(0, |first| u64::from_be_bytes(*first))
    }

    fn tag(&self, id: u64) -> [u8; Token::TAG_BYTES] {
        let signature = self.sign(b"isobar cookie", &id.to_be_bytes());
        signature.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

/// What a server is known by to cookies: what a reload knows it by, and so does every other instance.
fn described(server: &Server) -> String {
    match server.address() {
        ServerAddress::Socket(address) => format!("{}\0{address}", server.name()),
        ServerAddress::Name(name, port) => format!("{}\0{name}:{port}", server.name()),
    }
}

fn seals(cookie: &StickyCookie, upstream: &Name) -> Box<[HmacSeal]> {
    let seal = |Secret(secret): &Secret| HmacSeal {
        key: hmac::Key::new(hmac::HMAC_SHA256, secret),
        upstream: Arc::clone(upstream),
    };
    if cookie.secrets.is_empty() {
        own_secret().iter().map(seal).collect()
    } else {
        cookie.secrets.iter().map(seal).collect()
    }
}

/// A secret that this process made up; none where chance could not be had, and then no cookies are given out.
fn own_secret() -> &'static Option<Secret> {
    static OWN: OnceLock<Option<Secret>> = OnceLock::new();
    OWN.get_or_init(|| {
        let mut secret = [0; 32];
        rand::fill(&mut secret).ok()?;
        Some(Secret(Box::new(secret)))
    })
}
