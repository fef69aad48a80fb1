//! What does a line of an access log say?
//!
//! The way back from a line to what was known of a request: of templates with `{field}` placeholders, [`Pattern`], and of
//! objects in JSON, [`Keys`]. What other programs write is described with the same fields. Knows no file and no request that is
//! still under way, and never panics, whatever a line holds.

mod json;
mod pattern;
mod time;
mod unescape;

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use crate::access::Field;

pub use json::{Keys, KeysError};
pub use pattern::{COMBINED, COMMON, Pattern, PatternError, VHOST_COMBINED};
pub use time::{Zone, read_time};

/// Bytes of a line at most; a longer one is none that can be read.
pub const MAX_LINE_BYTES: usize = 65_536;

/// What a format says of each request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Column {
    /// A field of Isobar's own log.
    Field(Field),
    /// How long it took, in seconds.
    DurationSeconds,
    /// A header field of the request, by its name in small letters.
    Header(Box<str>),
    /// A cookie of the request.
    Cookie(Box<str>),
    /// Nothing that matters.
    Ignored,
}

impl Column {
    /// The column of a name: that of a field, `duration_s`, `header:NAME`, `cookie:NAME`, or `-` for what does not matter.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        if let Some(header) = name.strip_prefix("header:") {
            return (!header.is_empty()).then(|| Self::Header(header.to_ascii_lowercase().into()));
        }
        if let Some(cookie) = name.strip_prefix("cookie:") {
            return (!cookie.is_empty()).then(|| Self::Cookie(cookie.into()));
        }
        match name {
            "-" => Some(Self::Ignored),
            "duration_s" => Some(Self::DurationSeconds),
            _ => Field::of(name).map(Self::Field),
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(field) => f.write_str(field.name()),
            Self::DurationSeconds => f.write_str("duration_s"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Ignored => f.write_str("-"),
        }
    }
}

/// The columns of a format, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns(Vec<Column>);

impl Columns {
    /// Where a column is among the values of a line; none: the format does not say it.
    #[must_use]
    pub fn find(&self, column: &Column) -> Option<usize> {
        self.0.iter().position(|known| known == column)
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order of a line's values.
    pub fn iter(&self) -> impl Iterator<Item = &Column> {
        self.0.iter()
    }

    /// Adds a column, or finds it.
    fn place(&mut self, column: Column) -> usize {
        self.find(&column).unwrap_or_else(|| {
            self.0.push(column);
            self.0.len() - 1
        })
    }
}

/// What a line says of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told<'a> {
    /// Nothing: the line does not have it.
    Unknown,
    /// That there was none.
    Absent,
    /// This.
    Value(&'a [u8]),
}

impl<'a> Told<'a> {
    /// The value; none: there was none, or nothing is known of it.
    #[must_use]
    pub const fn value(self) -> Option<&'a [u8]> {
        match self {
            Self::Value(value) => Some(value),
            Self::Unknown | Self::Absent => None,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Unknown,
    Absent,
    /// From where to where in the text.
    At(u32, u32),
}

/// What one line says, with its escapes undone. *Shape*: a value for each of the format's columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    text: Vec<u8>,
    places: Vec<Place>,
}

impl Entry {
    /// What is told of a column, by its position in [`Columns`].
    #[must_use]
    pub fn told(&self, column: usize) -> Told<'_> {
        match self.places.get(column) {
            None | Some(Place::Unknown) => Told::Unknown,
            Some(Place::Absent) => Told::Absent,
            Some(&Place::At(from, to)) => Told::Value(self.text.get(from as usize..to as usize).unwrap_or_default()),
        }
    }

    fn begin(&mut self, columns: usize) {
        self.text.clear();
        self.places.clear();
        self.places.resize(columns, Place::Unknown);
    }

    /// Writes the value of a column with a function that appends it.
    fn write(&mut self, column: usize, append: impl FnOnce(&mut Vec<u8>)) {
        let from = self.text.len();
        append(&mut self.text);
        // A line is shorter than 4 GiB.
        let bound = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let place = Place::At(bound(from), bound(self.text.len()));
        if let Some(known) = self.places.get_mut(column) {
            *known = place;
        }
    }

    fn absent(&mut self, column: usize) {
        if let Some(known) = self.places.get_mut(column) {
            *known = Place::Absent;
        }
    }

    fn knows(&self, column: usize) -> bool {
        self.places.get(column).is_some_and(|place| *place != Place::Unknown)
    }
}

/// A format of lines.
#[derive(Debug, Clone, PartialEq)]
pub enum LineFormat {
    /// Text with something between its values.
    Pattern(Pattern),
    /// One object of JSON a line.
    Json(Keys),
}

impl LineFormat {
    /// What it says of each request.
    #[must_use]
    pub const fn columns(&self) -> &Columns {
        match self {
            Self::Pattern(pattern) => pattern.columns(),
            Self::Json(keys) => keys.columns(),
        }
    }

    /// Reads a line without its line end. False: it is not of this format, and what stands in the entry is of no use.
    ///
    /// *Cost*: goes over the line once; allocates nothing once the entry has grown.
    pub fn read(&self, line: &[u8], entry: &mut Entry) -> bool {
        entry.begin(self.columns().len());
        let fits = line.len() <= MAX_LINE_BYTES;
        fits && match self {
            Self::Pattern(pattern) => pattern.read(line, entry),
            Self::Json(keys) => keys.read(line, entry),
        }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Json(_) => "json".to_string(),
            Self::Pattern(pattern) => pattern.name().to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
