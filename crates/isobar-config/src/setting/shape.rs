//! What may be written for a setting, as data that messages, schema and reference page are made from?

use super::Written;

/// What may be written for a setting.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// `true` or `false`.
    Switch,
    /// A text or number of one kind.
    Word(WordShape),
    /// A whole number within a range.
    Whole {
        /// The least.
        least: u32,
        /// The greatest.
        greatest: u32,
    },
    /// One of a few words.
    Choice {
        /// What the words are, such as `a balancing algorithm`.
        expected: &'static str,
        /// The words, each with what it means.
        options: Vec<(&'static str, &'static str)>,
    },
    /// A list.
    List {
        /// Each element.
        element: Box<Shape>,
    },
    /// A mapping from names to values.
    Named {
        /// Each name.
        key: Box<Shape>,
        /// Each value.
        value: Box<Shape>,
    },
    /// A mapping with known keys.
    Section(SectionShape),
    /// Any one of these.
    Either(Vec<Shape>),
    /// The shape, or the word `none`.
    OrNone(Box<Shape>),
}

/// A text or number of one kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct WordShape {
    /// The kind in the reference, such as `duration`.
    pub(crate) name: &'static str,
    /// The kind within "expected …", such as `a duration such as "10s"`.
    pub(crate) expected: String,
    /// An ECMA-262 regular expression every valid text matches.
    pub(crate) pattern: Option<&'static str>,
    /// Some valid texts.
    pub(crate) examples: &'static [&'static str],
    /// Limits in words, such as `1 KiB to 64 KiB`.
    pub(crate) range: Option<String>,
    /// Whether a bare number is one too.
    pub(crate) number: bool,
}

/// A mapping with known keys.
#[derive(Debug, Clone)]
pub(crate) struct SectionShape {
    /// The type's name in the schema's `$defs`.
    pub(crate) name: &'static str,
    /// What messages call it, such as `a health check`.
    pub(crate) called: &'static str,
    /// What the section is about; the first line is a sentence.
    pub(crate) help: &'static str,
    /// The keys in the order declared.
    pub(crate) keys: Vec<KeyShape>,
    /// The key whose value may be written in place of the section.
    pub(crate) short: Option<&'static str>,
}

/// A key of a section.
#[derive(Debug, Clone)]
pub(crate) struct KeyShape {
    /// The key.
    pub(crate) key: &'static str,
    /// What it does.
    pub(crate) help: &'static str,
    /// What its value may be.
    pub(crate) shape: fn() -> Shape,
    /// The value where the key is left out; none: it must be written.
    pub(crate) absent: Option<Written>,
}

impl Shape {
    /// The shape within "expected …".
    pub(crate) fn expected(&self) -> String {
        match self {
            Self::Switch => "`true` or `false`".to_owned(),
            Self::Word(word) => word.expected.clone(),
            Self::Whole {
                least: 0,
                greatest: u32::MAX,
            } => "a whole number".to_owned(),
            Self::Whole { least, greatest } => format!("a whole number from {least} to {greatest}"),
            Self::Choice { expected, .. } => (*expected).to_owned(),
            Self::List { .. } => "a list".to_owned(),
            Self::Named { .. } => "a mapping from names to values".to_owned(),
            Self::Section(section) => format!("a mapping that describes {}", section.called),
            Self::Either(shapes) => shapes.iter().map(Self::expected).collect::<Vec<_>>().join(" or "),
            Self::OrNone(shape) => format!("{} or `none`", shape.expected()),
        }
    }

    /// The section, where the shape is one or allows one.
    pub(crate) fn section(&self) -> Option<&SectionShape> {
        match self {
            Self::Section(section) => Some(section),
            Self::OrNone(shape) => shape.section(),
            Self::Either(shapes) => shapes.iter().find_map(Self::section),
            _ => None,
        }
    }
}
