//! What does an object in JSON say?
//!
//! A scanner that goes over an object once and keeps the values of the keys that matter, those of objects within it too: the key
//! `host` of the object `request` is `request.host`. Of an array the first value counts. It is no validator: it reads every
//! object that is one, and some texts that nearly are.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hashbrown::HashMap;

use super::{Column, Columns, Entry, unescape};
use crate::access::{Field, nearest_field};

/// Objects and arrays within each other at most.
const MAX_DEPTH: usize = 32;

/// Bytes of a key with all that it is within at most; a longer one is none that matters.
const MAX_KEY: usize = 256;

/// Which keys matter, and what they say.
#[derive(Debug, Clone, PartialEq)]
pub struct Keys {
    by_key: HashMap<Box<[u8]>, usize>,
    columns: Columns,
    spelling: Spelling,
}

/// How bytes that are no UTF-8 are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// As Isobar does: `\xHH` within the string.
    Isobar,
    /// They are not, or as nobody knows.
    Other,
}

/// Why keys cannot be named like this. The fault is that of whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// No `=`.
    #[error("`{0}` is no `FIELD=KEY`, such as `client=remote_ip`")]
    NoEquals(Box<str>),
    /// It names no field.
    #[error("unknown field `{name}`{}", suggested(.suggestion))]
    UnknownField {
        /// The name.
        name: Box<str>,
        /// The field that was probably meant.
        suggestion: Option<&'static str>,
    },
}

fn suggested(suggestion: &Option<&'static str>) -> alloc::string::String {
    suggestion.map_or_else(Default::default, |name| alloc::format!("; did you mean `{name}`?"))
}

impl Keys {
    /// Those of Isobar's own format.
    #[must_use]
    pub fn isobar() -> Self {
        let mut keys = Self {
            by_key: HashMap::new(),
            columns: Columns::default(),
            spelling: Spelling::Isobar,
        };
        for field in Field::ALL {
            keys.add(Column::Field(field), field.name());
        }
        keys
    }

    /// Isobar's own, with other keys for some fields: `FIELD=KEY` each, where a field is one of Isobar's, `duration_s`, `header:NAME` or
    /// `cookie:NAME`, and a key of an object within another is `outer.inner`.
    ///
    /// *Errors*: the first that is none.
    pub fn mapped<'a>(mapping: impl IntoIterator<Item = &'a str>) -> Result<Self, KeysError> {
        let mut keys = Self {
            spelling: Spelling::Other,
            ..Self::isobar()
        };
        for pair in mapping {
            let (name, key) = pair.split_once('=').ok_or_else(|| KeysError::NoEquals(pair.into()))?;
            let column = Column::of(name.trim()).filter(|column| *column != Column::Ignored);
            let column = column.ok_or_else(|| KeysError::UnknownField {
                name: name.trim().into(),
                suggestion: nearest_field(name.trim()),
            })?;
            // The key of Isobar's own name may mean something else in a log of somebody else.
            let place = keys.columns.place(column);
            keys.by_key.retain(|_, known| *known != place);
            keys.by_key.insert(key.trim().as_bytes().into(), place);
        }
        Ok(keys)
    }

    pub(super) const fn columns(&self) -> &Columns {
        &self.columns
    }

    fn add(&mut self, column: Column, key: &str) {
        let place = self.columns.place(column);
        self.by_key.insert(key.as_bytes().into(), place);
    }

    pub(super) fn read(&self, line: &[u8], entry: &mut Entry) -> bool {
        let mut scan = Scan {
            rest: line,
            keys: self,
            entry,
            key: Vec::new(),
        };
        scan.skip_space();
        scan.rest.first() == Some(&b'{') && scan.value(0).is_some() && scan.is_over()
    }
}

/// A line as far as it is not read yet.
struct Scan<'a> {
    rest: &'a [u8],
    keys: &'a Keys,
    entry: &'a mut Entry,
    /// The key under way with all that it is within.
    key: Vec<u8>,
}

impl Scan<'_> {
    fn is_over(&mut self) -> bool {
        self.skip_space();
        self.rest.is_empty()
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    /// Takes this byte, after white space.
    fn take(&mut self, byte: u8) -> Option<()> {
        self.skip_space();
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(())
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.rest.first().copied()
    }

    /// Reads a value of the key under way; none: it is not one.
    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.peek()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => {
                let column = self.column();
                self.string(column)
            }
            _ => self.word(),
        }
    }

    /// Where the value of the key under way goes; none: it does not matter, or is known already.
    fn column(&self) -> Option<usize> {
        let column = self.keys.by_key.get(self.key.as_slice()).copied()?;
        (!self.entry.knows(column)).then_some(column)
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.take(b'{')?;
        if self.peek()? == b'}' {
            return self.take(b'}');
        }
        let outer = self.key.len();
        loop {
            if depth > 0 && outer < MAX_KEY {
                self.key.push(b'.');
            }
            self.skip_space();
            let mut name = core::mem::take(&mut self.key);
            let read = string(&mut self.rest, Some(&mut name));
            self.key = name;
            read?;
            // A key that is too long has no meaning, and neither has what is within it.
            if self.key.len() > MAX_KEY {
                self.key.truncate(MAX_KEY);
            }
            self.take(b':')?;
            self.value(depth + 1)?;
            self.key.truncate(outer);
            match self.peek()? {
                b',' => self.take(b',')?,
                _ => return self.take(b'}'),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.take(b'[')?;
        if self.peek()? == b']' {
            return self.take(b']');
        }
        loop {
            self.value(depth + 1)?;
            match self.peek()? {
                b',' => self.take(b',')?,
                _ => return self.take(b']'),
            }
        }
    }

    fn string(&mut self, column: Option<usize>) -> Option<()> {
        let Some(column) = column else {
            return string(&mut self.rest, None);
        };
        let (rest, spelling) = (&mut self.rest, self.keys.spelling);
        let mut is_read = None;
        let mut is_empty = false;
        self.entry.write(column, |out| {
            let from = out.len();
            is_read = string(rest, Some(out));
            if spelling == Spelling::Isobar {
                unescape::bytes_in_json(out, from);
            }
            is_empty = out.len() == from;
        });
        if is_empty {
            self.entry.absent(column);
        }
        is_read
    }

    /// A number, or one of the three words.
    fn word(&mut self) -> Option<()> {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let end = self.rest.iter().position(|byte| !is_part(byte));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        let is_number = word.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-');
        if !is_number && !matches!(word, b"null" | b"true" | b"false") {
            return None;
        }
        if let Some(column) = self.column() {
            match word {
                b"null" => self.entry.absent(column),
                word => self.entry.write(column, |out| out.extend_from_slice(word)),
            }
        }
        Some(())
    }
}

/// Reads a string, and appends it without its escapes.
fn string(rest: &mut &[u8], mut out: Option<&mut Vec<u8>>) -> Option<()> {
    let mut text = rest.strip_prefix(b"\"")?;
    loop {
        let at = memchr::memchr2(b'"', b'\\', text)?;
        let (before, after) = text.split_at(at);
        if let Some(out) = out.as_deref_mut() {
            out.extend_from_slice(before);
        }
        text = match after {
            [b'"', after @ ..] => {
                *rest = after;
                return Some(());
            }
            [_, b'u', after @ ..] => unicode(after, out.as_deref_mut())?,
            [_, letter, after @ ..] => {
                let byte = escape(*letter)?;
                if let Some(out) = out.as_deref_mut() {
                    out.push(byte);
                }
                after
            }
            _ => return None,
        };
    }
}

const fn escape(letter: u8) -> Option<u8> {
    match letter {
        b'"' | b'\\' | b'/' => Some(letter),
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        b'b' => Some(8),
        b'f' => Some(12),
        _ => None,
    }
}

/// Appends what four digits, or a pair of them, stand for; *returns* what follows. Half a pair becomes U+FFFD.
fn unicode<'t>(text: &'t [u8], out: Option<&mut Vec<u8>>) -> Option<&'t [u8]> {
    let (first, mut rest) = four(text)?;
    let mut scalar = first;
    if (0xd800..0xdc00).contains(&first)
        && let Some(second) = rest.strip_prefix(b"\\u")
        && let Some((low, after)) = four(second)
        && (0xdc00..0xe000).contains(&low)
    {
        scalar = 0x1_0000 + ((first - 0xd800) << 10 | (low - 0xdc00));
        rest = after;
    }
    if let Some(out) = out {
        let character = char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some(rest)
}

fn four(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let value = digits.iter().try_fold(0, |sum, &digit| {
        let digit = unescape::digit(digit)?;
        Some(sum << 4 | u32::from(digit))
    })?;
    Some((value, rest))
}
