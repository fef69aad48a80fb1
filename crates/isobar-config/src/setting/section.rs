//! How is a mapping with known keys declared, and how is it read?

use super::shape::{KeyShape, SectionShape};
use super::{Setting, list_of_words, wrong_kind};
use crate::problem::{Path, Problem, Problems};
use crate::suggest;
use crate::tree::{Entry, Node, Value};

/// Declares a mapping with known keys: a struct whose fields are the keys.
///
/// The doc comment of the struct and of each field is its help text. A field with `= value` has that default; one
/// without has the default its type has, or must be written. `called` is what messages call the section, and
/// `short field` allows that field's value in place of the whole mapping.
macro_rules! settings {
    (
        $(#[doc = $help:literal])+
        pub struct $Name:ident called $called:literal $(short $short:ident)? {
            $( $(#[doc = $key_help:literal])+ $key:ident : $Type:ty $(= $default:expr)? ),+ $(,)?
        }
    ) => {
        $(#[doc = $help])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $Name {
            $( $(#[doc = $key_help])+ pub $key: $Type ),+
        }

        impl $crate::setting::section::Section for $Name {
            const KEYS: &'static [&'static str] = &[$( $crate::setting::section::key(stringify!($key)) ),+];
            const SHORT: Option<&'static str> =
                $crate::setting::section::first(&[$( Some($crate::setting::section::key(stringify!($short))) )?]);

            fn read(fields: &mut $crate::setting::section::Fields<'_, '_>) -> Self {
                Self {
                    $( $key: fields.take(
                        $crate::setting::section::key(stringify!($key)),
                        || $crate::setting::section::settings!(@absent $Type $(, $default)?),
                    ) ),+
                }
            }

            fn stand_in() -> Self {
                Self {
                    $( $key: $crate::setting::section::settings!(@absent $Type $(, $default)?)
                        .unwrap_or_else(<$Type as $crate::setting::Setting>::placeholder) ),+
                }
            }

            fn left_out() -> Option<Self> {
                Some(Self { $( $key: $crate::setting::section::settings!(@absent $Type $(, $default)?)? ),+ })
            }

            fn write(&self, detail: $crate::setting::Detail) -> Vec<(String, $crate::setting::Written)> {
                let mut written = Vec::new();
                $(
                    let absent: Option<$Type> = $crate::setting::section::settings!(@absent $Type $(, $default)?);
                    if detail == $crate::setting::Detail::Full || absent.as_ref() != Some(&self.$key) {
                        let value = $crate::setting::Setting::encode(&self.$key, detail);
                        written.push(($crate::setting::section::key(stringify!($key)).to_owned(), value));
                    }
                )+
                written.retain(|(_, value)| *value != $crate::setting::Written::Nothing);
                written
            }

            fn describe() -> $crate::setting::shape::SectionShape {
                $crate::setting::shape::SectionShape {
                    name: stringify!($Name),
                    called: $called,
                    help: concat!($($help, "\n"),+),
                    short: Self::SHORT,
                    keys: vec![$( $crate::setting::shape::KeyShape {
                        key: $crate::setting::section::key(stringify!($key)),
                        help: concat!($($key_help, "\n"),+),
                        shape: <$Type as $crate::setting::Setting>::shape,
                        absent: {
                            let absent: Option<$Type> = $crate::setting::section::settings!(@absent $Type $(, $default)?);
                            absent.map(|value| $crate::setting::Setting::encode(&value, $crate::setting::Detail::Full))
                        },
                    } ),+],
                }
            }
        }

        impl $crate::setting::Setting for $Name {
            fn decode(
                node: &$crate::tree::Node<'_>,
                at: $crate::problem::Path<'_>,
                problems: &mut $crate::problem::Problems,
            ) -> Self {
                $crate::setting::section::decode(node, at, problems)
            }

            fn placeholder() -> Self {
                $crate::setting::section::Section::stand_in()
            }

            fn absent() -> Option<Self> {
                $crate::setting::section::Section::left_out()
            }

            fn encode(&self, detail: $crate::setting::Detail) -> $crate::setting::Written {
                $crate::setting::section::encode(self, detail)
            }

            fn shape() -> $crate::setting::Shape {
                $crate::setting::section::shape::<Self>()
            }
        }
    };
    (@absent $Type:ty) => { <$Type as $crate::setting::Setting>::absent() };
    (@absent $Type:ty, $default:expr) => { Some::<$Type>($default) };
}
pub(crate) use settings;

use super::{Detail, Shape, Written};

/// What [`settings!`] declares.
pub(crate) trait Section: Setting {
    /// The keys in the order declared.
    const KEYS: &'static [&'static str];

    /// The key whose value may be written in place of the section.
    const SHORT: Option<&'static str>;

    /// Reads every field.
    fn read(fields: &mut Fields<'_, '_>) -> Self;

    /// What stands in for a section that could not be read.
    fn stand_in() -> Self;

    /// The section with all its defaults; none: some key must be written.
    fn left_out() -> Option<Self>;

    /// Every field as it would be written.
    fn write(&self, detail: Detail) -> Vec<(String, Written)>;

    /// The section as data.
    fn describe() -> SectionShape;
}

/// The keys of a mapping that is being read.
pub(crate) struct Fields<'f, 's> {
    content: Content<'f, 's>,
    node: &'f Node<'s>,
    at: Path<'f>,
    problems: &'f mut Problems,
    keys: &'static [&'static str],
    describe: fn() -> SectionShape,
}

/// How a section was written.
#[derive(Clone, Copy)]
enum Content<'f, 's> {
    /// Key by key.
    Keys(&'f [Entry<'s>]),
    /// As the value of this one key.
    Short(&'static str),
}

impl Fields<'_, '_> {
    /// Reads one field, or takes its default, or reports that it is missing.
    pub(crate) fn take<T: Setting>(&mut self, key: &'static str, absent: fn() -> Option<T>) -> T {
        match self.content {
            Content::Short(short) if short == key => T::decode(self.node, self.at, self.problems),
            Content::Short(_) => self.absent(key, &[], absent),
            Content::Keys(entries) => match entries.iter().find(|entry| entry.key == key) {
                Some(entry) => T::decode(&entry.value, self.at.key(key), self.problems),
                None => self.absent(key, entries, absent),
            },
        }
    }

    fn absent<T: Setting>(&mut self, key: &'static str, entries: &[Entry<'_>], absent: fn() -> Option<T>) -> T {
        let at = self.at.key(key);
        if self.is_misspelt(key, entries) {
            // The misspelt key has been reported; saying that the right one is missing adds nothing.
            self.problems.unreadable(at);
            return absent().unwrap_or_else(T::placeholder);
        }
        absent().unwrap_or_else(|| {
            let problem = Problem::error(at, format!("the key `{key}` is missing"));
            let problem = problem.at(self.node.headline());
            let called = (self.describe)().called;
            self.problems
                .push(problem.label(format!("`{key}` must be written for {called}")));
            T::placeholder()
        })
    }

    fn is_misspelt(&self, key: &str, entries: &[Entry<'_>]) -> bool {
        let near = |entry: &Entry<'_>| suggest::nearest(&entry.key, self.keys.iter().copied()) == Some(key);
        let mut unknown = entries.iter().filter(|entry| !is_known(&entry.key, self.keys));
        self.problems.deserve_help() && unknown.any(near)
    }
}

fn is_known(key: &str, keys: &[&str]) -> bool {
    keys.contains(&key)
}

/// Reads a section.
pub(crate) fn decode<T: Section>(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> T {
    let content = match (&node.value, T::SHORT) {
        (Value::Mapping(entries), _) => {
            report_unknown_keys::<T>(entries, at, problems);
            Content::Keys(entries)
        }
        // A section whose last key was commented out.
        (Value::Nothing, None) => Content::Keys(&[]),
        (Value::Scalar(_), Some(short)) => Content::Short(short),
        _ => return wrong_kind(node, at, problems),
    };
    T::read(&mut Fields {
        content,
        node,
        at,
        problems,
        keys: T::KEYS,
        describe: T::describe,
    })
}

fn report_unknown_keys<T: Section>(entries: &[Entry<'_>], at: Path<'_>, problems: &mut Problems) {
    for entry in entries.iter().filter(|entry| !is_known(&entry.key, T::KEYS)) {
        let word = entry.key.as_ref();
        let message = format!("unknown key `{}`", crate::tree::shorten(word));
        let problem = Problem::error(at.key(word), message).on_key();
        let problem = problem.at(entry.key_span.clone());
        if !problems.deserve_help() {
            problems.push(problem);
            continue;
        }
        let shape = T::describe();
        let problem = problem.label(format!("not a key of {}", shape.called));
        problems.push(problem.help(help_for_key(word, &shape)));
    }
}

fn help_for_key(word: &str, shape: &SectionShape) -> String {
    if word == "<<" {
        return "merge keys are not part of YAML 1.2; write the keys out, or use an alias for a whole value".to_owned();
    }
    if let Some(near) = suggest::nearest(word, shape.keys.iter().map(|key| key.key)) {
        return suggest::did_you_mean(near);
    }
    let holds_word = |key: &&KeyShape| {
        let shape = (key.shape)();
        shape
            .section()
            .is_some_and(|inner| inner.keys.iter().any(|key| key.key == word))
    };
    match shape.keys.iter().find(holds_word) {
        Some(outer) => format!("`{word}` belongs under `{}`", outer.key),
        None => list_of_words("valid keys", shape.keys.iter().map(|key| key.key)),
    }
}

/// Writes a section, in its short form where that says everything.
pub(crate) fn encode<T: Section>(section: &T, detail: Detail) -> Written {
    let mut written = section.write(detail);
    match (detail, T::SHORT, written.as_slice()) {
        (Detail::Brief, Some(short), [(key, _)]) if key == short => written.swap_remove(0).1,
        _ => Written::Mapping(written),
    }
}

/// What may be written for a section.
pub(crate) fn shape<T: Section>() -> Shape {
    let section = T::describe();
    let short = section
        .short
        .and_then(|short| section.keys.iter().find(|key| key.key == short))
        .map(|key| (key.shape)());
    match short {
        None => Shape::Section(section),
        Some(short) => Shape::Either(vec![short, Shape::Section(section)]),
    }
}

/// The key a field is written as: its name without the mark of a raw identifier.
pub(crate) const fn key(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// The first of at most one.
pub(crate) const fn first(of: &[Option<&'static str>]) -> Option<&'static str> {
    match of {
        [first, ..] => *first,
        [] => None,
    }
}
