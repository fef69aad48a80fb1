//! Which block says that a message has these fields? Does not know which fields a message may have.
//!
//! What is written shortly is what comes again: a field goes into the table when it comes for the second time among those that are
//! remembered, so that what differs from message to message makes nothing else go. Some fields are known to differ, and some are secrets
//! that nobody on the way shall put into a table (RFC 7541 section 7.1.3). Names are taken from the static table only: a field whose
//! values differ is in no table that could have its name.
//!
//! Strings are not compressed. One that goes into the table is written twice on a connection, so that little is saved there; one that does
//! not would be compressed for each message, bit by bit where a copy moves many bytes at once.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::seen::{self, Seen};
use super::table::{Entry, Table};
use super::{Class, ENTRY_OVERHEAD, USUAL_TABLE, static_table};

/// Bytes that our table has at most. It is what every peer allows that says nothing, so that nothing has to be said; it has room for
/// fifty fields or more, and all that a connection can be made to hold is less than 8 KiB.
const MAX_TABLE: u32 = USUAL_TABLE;

/// Encodes the header blocks that a peer is sent on one connection.
#[derive(Debug)]
pub struct Encoder {
    cache: Option<Box<Cache>>,
    /// What the table may have by what the peer said last.
    limit: u32,
    /// The lowest limit of those that the peer has not been told of.
    untold: Option<u32>,
}

/// What has been written and may come again.
#[derive(Debug)]
struct Cache {
    /// With the static index of each name, or 0.
    table: Table<u8>,
    /// The numbers of its entries, in their order.
    hashes: VecDeque<u32>,
    seen: Seen,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder whose peer has not said anything.
    ///
    /// *Cost*: no allocation before a field is written that may come again.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cache: None,
            limit: MAX_TABLE,
            untold: None,
        }
    }

    /// Keeps to the peer's SETTINGS_HEADER_TABLE_SIZE; of more than 4,096 bytes no use is made. Not to be called within a block.
    ///
    /// *Source*: RFC 7541 section 4.2.
    pub fn limit_table(&mut self, bytes: u32) {
        let limit = bytes.min(MAX_TABLE);
        if limit == self.limit {
            return;
        }
        self.limit = limit;
        self.untold = Some(self.untold.map_or(limit, |lowest| lowest.min(limit)));
        if limit == 0 {
            self.cache = None;
        }
        if let Some(cache) = &mut self.cache {
            cache.table.set_limit(limit);
            cache.forget_but(cache.table.len());
        }
    }

    /// Begins a block: appends what the peer has to be told of the table.
    #[inline]
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(lowest) = self.untold.take() {
            if lowest < self.limit {
                integer(TABLE_SIZE, lowest, out);
            }
            integer(TABLE_SIZE, self.limit, out);
        }
    }

    /// Appends `:status`, which has three digits.
    ///
    /// *Cost*: nothing is looked up; what is not in the static table takes five bytes.
    #[inline]
    pub fn status(&mut self, status: u16, out: &mut Vec<u8>) {
        out.push(match status {
            200 => 0x88,
            204 => 0x89,
            206 => 0x8a,
            304 => 0x8b,
            400 => 0x8c,
            404 => 0x8d,
            500 => 0x8e,
            _ => {
                let digit = |unit: u16| b'0' + (status / unit % 10) as u8;
                return out.extend_from_slice(&[0x08, 3, digit(100), digit(10), digit(1)]);
            }
        });
    }

    /// Appends a field whose name begins with a colon. Of other classes there is none, and nothing is appended.
    pub fn pseudo(&mut self, class: Class, value: &[u8], out: &mut Vec<u8>) {
        let (first, last) = match class {
            Class::Authority => (1, 1),
            Class::Method => (2, 3),
            Class::Path => (4, 5),
            Class::Scheme => (6, 7),
            Class::Status => (8, 14),
            Class::Protocol => {
                let name = b":protocol";
                return self.recurring(Literal { index: 0, name, value }, out);
            }
            _ => return debug_assert!(false, "{class:?} is no pseudo-header field"),
        };
        let has_value = |&index: &u8| static_table::at(index.into()).is_some_and(|known| known.value == value);
        if let Some(index) = (first..=last).find(has_value) {
            return integer(INDEXED, index.into(), out);
        }
        let literal = Literal {
            index: first,
            name: static_table::at(first.into()).map_or(b"".as_slice(), |known| known.name),
            value,
        };
        match class {
            Class::Method | Class::Authority => self.recurring(literal, out),
            _ => literal.write(PASSING, out),
        }
    }

    /// Appends a field, whose name is written in lower case.
    ///
    /// *Cost*: some two hundred instructions, whether it is in the table or not (callgrind, x86-64). One field fills half of the table at most.
    pub fn field(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let Some(index) = static_table::of_name(name) else {
            return self.recurring(Literal { index: 0, name, value }, out);
        };
        let literal = Literal { index, name, value };
        match Recurrence::of(index) {
            Recurrence::Secret => literal.write(SECRET, out),
            Recurrence::Passing => literal.write(PASSING, out),
            Recurrence::Possible => {
                // But for `accept-encoding`, the empty ones.
                if static_table::at(index.into()).is_some_and(|known| known.value == value) {
                    out.push(INDEXED.0 | index);
                } else {
                    self.recurring(literal, out);
                }
            }
        }
    }

    /// Appends a field that shall go into nobody's table, whose name is written in lower case.
    ///
    /// *Source*: RFC 7541 section 6.2.3.
    pub fn never_indexed(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let index = static_table::of_name(name).unwrap_or(0);
        Literal { index, name, value }.write(SECRET, out);
    }

    /// Appends a field that may come again.
    fn recurring(&mut self, literal: Literal<'_>, out: &mut Vec<u8>) {
        let size = literal.name.len() + literal.value.len() + ENTRY_OVERHEAD as usize;
        if size > self.limit as usize / 2 {
            return literal.write(PASSING, out);
        }
        let cache = self.cache.get_or_insert_with(|| Box::new(Cache::new(self.limit)));
        let hash = seen::hash(literal.index, literal.name, literal.value);
        if let Some(before) = cache.find(hash, literal) {
            integer(INDEXED, static_table::LEN + 1 + before, out);
        } else if cache.seen.is_again(hash) {
            literal.write(KEPT, out);
            cache.keep(hash, literal);
        } else {
            literal.write(PASSING, out);
        }
    }
}

impl Cache {
    fn new(limit: u32) -> Self {
        Self {
            table: Table::new(limit),
            hashes: VecDeque::new(),
            seen: Seen::new(),
        }
    }

    /// How many entries came after this one, if it is there. Of those with the same number only the newest is looked at.
    #[inline]
    fn find(&self, hash: u32, literal: Literal<'_>) -> Option<u32> {
        let (older, newer) = self.hashes.as_slices();
        let place = match seen::last_place(newer, hash) {
            Some(place) => older.len() + place,
            None => seen::last_place(older, hash)?,
        };
        let before = self.hashes.len() - 1 - place;
        let entry = self.table.newest(before)?;
        if literal.has_name_of(&entry) && literal.value == entry.value {
            u32::try_from(before).ok()
        } else {
            None
        }
    }

    fn keep(&mut self, hash: u32, literal: Literal<'_>) {
        self.table.insert(Entry {
            name: literal.name,
            value: literal.value,
            note: literal.index,
        });
        // It is there itself: what is larger than the table is not kept.
        self.forget_but(self.table.len().saturating_sub(1));
        self.hashes.push_back(hash);
    }

    /// Takes out the numbers of all entries but the last ones.
    fn forget_but(&mut self, last: usize) {
        self.hashes.drain(..self.hashes.len().saturating_sub(last));
    }
}

/// Whether fields of a name come again with the same value.
#[derive(Clone, Copy)]
enum Recurrence {
    /// They may.
    Possible,
    /// They seldom do.
    Passing,
    /// Nobody should find out by trying.
    Secret,
}

impl Recurrence {
    /// That of the name at a static index.
    #[inline]
    fn of(index: u8) -> Self {
        static OF: [Recurrence; 64] = {
            let mut all = [Recurrence::Possible; 64];
            // :path, age, content-length, date, etag, expires, if-modified-since, if-none-match, last-modified, location.
            let mut passing: &[usize] = &[4, 21, 28, 33, 34, 36, 40, 41, 44, 46];
            while let [index, rest @ ..] = passing {
                all[*index] = Recurrence::Passing;
                passing = rest;
            }
            // authorization, cookie, proxy-authorization, set-cookie.
            let mut secret: &[usize] = &[23, 32, 49, 55];
            while let [index, rest @ ..] = secret {
                all[*index] = Recurrence::Secret;
                secret = rest;
            }
            all
        };
        OF[usize::from(index & 63)]
    }
}

/// How something begins: a pattern, and the bits behind it, which are those of a number.
#[derive(Clone, Copy)]
struct Beginning(u8, u8);

/// A field of a table. RFC 7541 section 6.1.
const INDEXED: Beginning = Beginning(0x80, 0x7f);

/// A field that goes into the table. Section 6.2.1.
const KEPT: Beginning = Beginning(0x40, 0x3f);

/// A field that does not. Section 6.2.2.
const PASSING: Beginning = Beginning(0x00, 0x0f);

/// A field that shall go into no other table either. Section 6.2.3.
const SECRET: Beginning = Beginning(0x10, 0x0f);

/// A size of the table. Section 6.3.
const TABLE_SIZE: Beginning = Beginning(0x20, 0x1f);

/// A string that is not compressed. Section 5.2.
const STRING: Beginning = Beginning(0x00, 0x7f);

/// A field, and the static index of its name or 0.
#[derive(Clone, Copy)]
struct Literal<'a> {
    index: u8,
    name: &'a [u8],
    value: &'a [u8],
}

impl Literal<'_> {
    /// Whether an entry, which was kept as it was given, has the same name.
    #[inline]
    fn has_name_of(&self, entry: &Entry<'_, u8>) -> bool {
        self.index == entry.note
            && (self.index != 0 || self.name == entry.name || self.name.eq_ignore_ascii_case(entry.name))
    }

    #[inline]
    fn write(&self, beginning: Beginning, out: &mut Vec<u8>) {
        integer(beginning, self.index.into(), out);
        if self.index == 0 {
            integer(STRING, len(self.name), out);
            out.extend(self.name.iter().map(u8::to_ascii_lowercase));
        }
        integer(STRING, len(self.value), out);
        out.extend_from_slice(self.value);
    }
}

/// Bytes of a string. A message is bounded by far less than 4 GiB.
#[inline]
fn len(text: &[u8]) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

/// Appends a number.
///
/// *Source*: RFC 7541 section 5.1.
#[inline]
fn integer(Beginning(pattern, mask): Beginning, number: u32, out: &mut Vec<u8>) {
    if number < mask.into() {
        out.push(pattern | (number & 0x7f) as u8);
        return;
    }
    out.push(pattern | mask);
    let mut rest = number - u32::from(mask);
    while rest > 0x7f {
        out.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.push((rest & 0x7f) as u8);
}
