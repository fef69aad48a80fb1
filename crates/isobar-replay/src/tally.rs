//! What came of one limit so far?

use std::time::Duration;

use isobar_l7::RunningLimit;
use isobar_l7::trial::{Came, Decided, Facts};
use isobar_observe::LimitOutcome;
use isobar_plan::{HashPart, LimitKey};

use crate::keys::{Keys, MOST_TEXT, Use};
use crate::origin::Care;
use crate::recorded::Subject;
use crate::timeline::{Bucket, Timeline};

/// Requests that had better not be refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hits {
    /// How many there were.
    pub asked: u64,
    /// How many were refused, or would have been.
    pub refused: u64,
}

/// What came of a limit.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By outcome.
    pub(crate) outcomes: [u64; LimitOutcome::ALL.len()],
    pub(crate) not_asked: u64,
    pub(crate) unjudged: u64,
    pub(crate) timeline: Timeline,
    pub(crate) keys: Keys,
    /// By what they are to be looked after for.
    pub(crate) hits: [Hits; Care::ALL.len()],
    /// When the first and the last was refused, in nanoseconds since 1970.
    pub(crate) refused_between: Option<(u64, u64)>,
    pub(crate) longest_delay: Duration,
    /// When it was disarmed for refusing too much.
    pub(crate) disarmed: Option<u64>,
}

/// What a limit made of one request.
pub(crate) struct Decision<'a> {
    pub(crate) decided: &'a Decided,
    pub(crate) care: Option<Care>,
    pub(crate) delay: Duration,
    pub(crate) at: u64,
}

/// Whether a request is refused, or would be if that counted.
pub(crate) const fn is_refusal(came: Came) -> bool {
    matches!(
        came,
        Came::To(LimitOutcome::Refused | LimitOutcome::Denied | LimitOutcome::ShadowRefused)
    )
}

impl Tally {
    pub(crate) fn add(&mut self, limit: &RunningLimit, subject: &Subject<'_>, came: &Decision<'_>) {
        match came.decided.came {
            Came::Unjudged => {
                self.unjudged += 1;
                return;
            }
            Came::NotAsked => self.not_asked += 1,
            Came::To(outcome) => {
                if let Some(count) = self.outcomes.get_mut(outcome as usize) {
                    *count += 1;
                }
            }
        }
        let refused = is_refusal(came.decided.came);
        let delayed = came.decided.came == Came::To(LimitOutcome::Delayed);
        if delayed {
            self.longest_delay = self.longest_delay.max(came.delay);
        }
        let one = Bucket {
            asked: 1,
            refused: u64::from(refused),
            delayed: u64::from(delayed),
        };
        self.timeline.add(came.at, one);
        if let Some(care) = came.care
            && let Some(hits) = self.hits.get_mut(care as usize)
        {
            hits.asked += 1;
            hits.refused += u64::from(refused);
        }
        if refused {
            let (first, last) = self.refused_between.unwrap_or((came.at, came.at));
            self.refused_between = Some((first.min(came.at), last.max(came.at)));
        }
        self.take_down(limit, subject, came);
        if self.disarmed.is_none() && limit.was_disarmed() {
            self.disarmed = Some(came.at);
        }
    }

    fn take_down(&mut self, limit: &RunningLimit, subject: &Subject<'_>, came: &Decision<'_>) {
        let Some(counted) = &came.decided.counted else {
            return;
        };
        let of = Use {
            counted,
            kind: limit.settings().counting.kind,
            at: came.at,
        };
        self.keys.ask(&of, || text_of(limit, subject));
        if is_refusal(came.decided.came) {
            self.keys.refuse(counted.key);
        }
    }
}

/// A key as people write it for an override: its values with `|` between them, `-` for what is missing.
pub(crate) fn text_of(limit: &RunningLimit, subject: &Subject<'_>) -> Box<str> {
    let mut text = String::new();
    for (index, part) in limit.settings().counting.key.iter().enumerate() {
        if index > 0 {
            text.push('|');
        }
        let mut bytes = |bytes: Option<&[u8]>| match bytes {
            None => text.push('-'),
            Some(bytes) => push_printable(&mut text, bytes),
        };
        match part {
            LimitKey::Part(HashPart::ClientIp) => {
                bytes(Some(limit.network_of(subject.address).to_string().as_bytes()));
            }
            LimitKey::Part(part) => subject.part(part, bytes),
            LimitKey::Method => bytes(subject.method()),
            LimitKey::Route => {
                let route = format!("{}/{}", subject.listener, subject.route.unwrap_or("-"));
                bytes(Some(route.as_bytes()));
            }
            LimitKey::TlsName => bytes(subject.tls_name()),
            // Only forward proxies have them.
            LimitKey::User => bytes(None),
        }
    }
    if text.len() > MOST_TEXT {
        let mut end = MOST_TEXT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text.into()
}

/// Appends bytes that somebody else chose so that neither a terminal nor a reader is misled by them.
fn push_printable(text: &mut String, bytes: &[u8]) {
    for chunk in bytes
        .get(..bytes.len().min(MOST_TEXT * 4))
        .unwrap_or_default()
        .utf8_chunks()
    {
        for character in chunk.valid().chars() {
            // Beside control characters, those that change the direction of what follows.
            let is_hidden = character.is_control()
                || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
            if is_hidden {
                text.extend(character.escape_unicode());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::push_printable;

    #[test]
    fn keys_mislead_nobody() {
        let check = |bytes: &[u8], expected: &str| {
            let mut text = String::new();
            push_printable(&mut text, bytes);
            assert_eq!(text, expected);
        };
        check(b"plain /path", "plain /path");
        check("é".as_bytes(), "é");
        check(b"\x1b[31m\xff\n", "\\u{1b}[31m\\xFF\\u{a}");
        check("a\u{202e}b".as_bytes(), "a\\u{202e}b");
    }
}
