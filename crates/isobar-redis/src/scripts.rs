//! What is Redis asked, and what does it answer?
//!
//! Two scripts, which Redis runs by their hash. One exchange of a key is one call with one key, so that a cluster can have keys
//! anywhere and a script never meets two servers.

use std::time::Duration;

use isobar_limit::{SharedKind, StoreReply};
use isobar_share::Errand;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, Script, ServerErrorKind};

/// Letters of a key's hash, as it is written.
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The scripts, with their hashes.
#[derive(Debug)]
pub(crate) struct Scripts {
    exchange: (Script, &'static str),
    instances: (Script, &'static str),
}

/// How a script is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// By its hash.
    Hash,
    /// With all of it, after which Redis knows the hash.
    Text,
}

/// What Redis says of one exchange.
pub(crate) type Answer = (u64, u64, u64, i64, u64);

/// An errand, and the beginning of the names of its limit's keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) errand: &'a Errand,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        let script = |text| (Script::new(text), text);
        Self {
            exchange: script(include_str!("scripts/exchange.lua")),
            instances: script(include_str!("scripts/instances.lua")),
        }
    }

    /// One exchange.
    pub(crate) fn exchange(&self, call: Call<'_>, by: By) -> Cmd {
        let Call { prefix, errand } = call;
        let (terms, exchange) = (&errand.terms, &errand.exchange);
        let letter = letter(terms.kind);
        let mut command = invoke(&self.exchange, by);
        command.arg(1).arg(key(prefix, letter, &errand.name)).arg(letter);
        let period = u64::try_from(terms.rate.period().as_micros()).unwrap_or(u64::MAX);
        command.arg(terms.rate.units()).arg(period.max(1)).arg(terms.burst());
        command.arg(exchange.want).arg(exchange.owed);
        command.arg(exchange.give_back).arg(exchange.mark);
        command
    }

    /// Says for how long the instance is there, or that it leaves.
    pub(crate) fn instances(&self, (prefix, id): (&str, &str), stays: Duration, by: By) -> Cmd {
        let mut command = invoke(&self.instances, by);
        command.arg(1).arg(format!("{prefix}instances")).arg(id);
        command.arg(u64::try_from(stays.as_millis()).unwrap_or(u64::MAX));
        command
    }
}

fn invoke((script, text): &(Script, &'static str), by: By) -> Cmd {
    match by {
        By::Hash => {
            let mut command = redis::cmd("EVALSHA");
            command.arg(script.get_hash());
            command
        }
        By::Text => {
            let mut command = redis::cmd("EVAL");
            command.arg(*text);
            command
        }
    }
}

/// Limits that are decided alike have the same books.
const fn letter(kind: SharedKind) -> &'static str {
    match kind {
        SharedKind::Gcra | SharedKind::TokenBucket => "b",
        SharedKind::FixedWindow => "f",
        SharedKind::SlidingWindow => "s",
    }
}

/// What a key of a limit is called: `PREFIX LIMIT : KIND : 32 letters`. Whatever clients send, it is a hash, always as long.
fn key(prefix: &str, letter: &str, name: &[u8; 16]) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len() + 35);
    key.extend_from_slice(prefix.as_bytes());
    key.extend_from_slice(letter.as_bytes());
    key.push(b':');
    for byte in name {
        let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or(b'0');
        key.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    key
}

/// What Redis said, in our terms.
pub(crate) fn reply((units, left, more, lasts, mark): Answer) -> StoreReply {
    StoreReply {
        units,
        left,
        more_in: (more > 0).then(|| Duration::from_micros(more)),
        lasts: u64::try_from(lasts).ok().map(Duration::from_micros),
        mark,
    }
}

/// Whether Redis does not know the script.
pub(crate) fn is_unknown<T>(answer: &RedisResult<T>) -> bool {
    let error = answer.as_ref().err().map(RedisError::kind);
    error == Some(ErrorKind::Server(ServerErrorKind::NoScript))
}

#[cfg(test)]
mod tests;
