//! What does the reference page say?

use std::fmt::Write;

use crate::document::Document;
use crate::scenario::ScenarioDocument;
use crate::schema::flow;
use crate::setting::shape::{KeyShape, SectionShape};
use crate::setting::{Setting, Shape, Written};

/// The page `docs/reference/configuration.md`: every key with its type, default, range and meaning.
#[must_use]
pub fn reference_markdown() -> String {
    page(INTRODUCTION, &Document::shape())
}

/// The page `docs/reference/scenario.md`: the same for scenarios of the simulator.
#[must_use]
pub fn scenario_markdown() -> String {
    page(SCENARIO_INTRODUCTION, &ScenarioDocument::shape())
}

/// The page `docs/reference/limits.md`: every setting that bounds what one client, server or upstream may have.
#[must_use]
pub fn limits_markdown() -> String {
    page_of(LIMITS_INTRODUCTION, &Document::shape(), |path| {
        let section = path.rsplit('.').next().unwrap_or(path);
        LIMITING.contains(&section) || path.starts_with("limits.")
    })
}

/// Sections with nothing but bounds.
const LIMITING: &[&str] = &["limits", "timeouts", "http2", "budgets", "queue", "keep_alive"];

fn page(introduction: &str, shape: &Shape) -> String {
    page_of(introduction, shape, |_| true)
}

fn page_of(introduction: &str, shape: &Shape, has: impl Fn(&str) -> bool) -> String {
    let mut page = String::from(introduction);
    let mut sections = Sections::default();
    sections.collect(shape, "");
    for (path, section) in sections.0.iter().filter(|(path, _)| has(path)) {
        sections.write(path, section, &mut page);
    }
    page
}

/// Every section once, in the order in which a reader meets them, each with the path of its first use.
#[derive(Default)]
struct Sections(Vec<(String, SectionShape)>);

const INTRODUCTION: &str = "\
# Configuration reference

<!-- Generated from the code; see `cargo xtask gen`. -->

A configuration is one YAML document. Unknown keys are errors. `isobar check FILE` reports everything that is wrong
with one, `isobar check --effective FILE` writes it out with every default, and the JSON Schema
`docs/reference/isobar.schema.json` lets editors complete and check it.

| type | how it is written |
|---|---|
| duration | `500ms`, `10s`, `1m30s`, `2h`, `7d`: whole numbers with units, the longest first; from 1ms to 365d |
| size | `65536`, `64KiB`, `1MiB` (units of 1024), `10MB` (units of 1000) |
| percentage | `50%`, in whole numbers |
| decimal number | `0.5`, `2`: at most six digits after the point |
| number of servers | `all`, or a number without quotes |
| switch | `true` or `false`; `yes` and `on` are texts in YAML 1.2 |
| whole number | `100`, without quotes |
| name | letters, digits and signs without spaces, at most 256 bytes |
| listen address | `127.0.0.1:8080`, `[::1]:8080`, `:8080` for every IPv4 address of the machine |
| server address | `10.0.0.1:8080`, `[::1]:80`, `backend.internal:8080`, `:9001` for 127.0.0.1 |
| network | `10.0.0.0/8`, `2001:db8::/32`, or one address |
| number in a time | `100/min`, `3/s`, `1000/h`, `5/day`, `20/10s`: a whole number and a time |
| point in time | `2026-12-31T18:00:00Z`, or `2026-12-31` for its beginning, in UTC |
| part of a limit's key | `client_ip`, `header:x-user`, `cookie:session`, `query:user`, `host`, `path`, `method`, `route`, `tls_name` |
| status | `200`, `200-399` |
| `none` | there is none; the same as leaving the key out where `none` is the default |

A text that holds `: ` or ` #`, or begins with a sign such as `*`, `&`, `{`, `[`, `!`, `%` or `@`, needs quotes:
`host: \"*.example.com\"`.
";

const LIMITS_INTRODUCTION: &str = "\
# Limits

<!-- Generated from the code; see `cargo xtask gen`. -->

What bounds the clients of a listener and the servers of an upstream: how much of everything there may be, and for how long it may take.
Limits on requests by key, which routes name, are described in [limits on requests](../limits.md).
Past a bound the stated answer is given, never none: [errors](errors.md) has them all. How values are written is in the
[configuration reference](configuration.md), which has these settings among all others.
";

const SCENARIO_INTRODUCTION: &str = "\
# Scenario reference

<!-- Generated from the code; see `cargo xtask gen`. -->

A scenario is one YAML document that `isobar simulate FILE` runs; [the simulator](../simulator.md) shows how. Unknown
keys are errors, and everything that is wrong is reported at once. The JSON Schema
`docs/reference/scenario.schema.json` lets editors complete and check it.

| type | how it is written |
|---|---|
| duration | `500ms`, `10s`, `1m30s`: whole numbers with units, the longest first |
| fine duration | a duration, or a decimal number of one unit: `0.25ms`, `40us`, `1.5s`; a point in time may be `0s` |
| decimal number | `0.9`, `12`: at most six digits after the point |
| number of servers | `all`, or a number without quotes |
| whole number | `100`, without quotes |
| name | letters, digits and signs without spaces, at most 256 bytes |
| `none` | there is none; the same as leaving the key out where `none` is the default |
";

impl Sections {
    fn collect(&mut self, shape: &Shape, path: &str) {
        match shape {
            Shape::Section(section) => {
                if self.path(section.name).is_some() {
                    return;
                }
                self.0.push((self.place(path, section), section.clone()));
                for key in &section.keys {
                    let inner = if path.is_empty() {
                        key.key.to_owned()
                    } else {
                        format!("{path}.{}", key.key)
                    };
                    self.collect(&(key.shape)(), &inner);
                }
            }
            Shape::List { element } => self.collect(element, &format!("{path}[]")),
            Shape::Named { value, .. } => self.collect(value, &format!("{path}.NAME")),
            Shape::Either(shapes) => shapes.iter().for_each(|shape| self.collect(shape, path)),
            Shape::OrNone(shape) => self.collect(shape, path),
            Shape::Switch | Shape::Word(_) | Shape::Whole { .. } | Shape::Choice { .. } => {}
        }
    }

    /// What a section is called: its path, and where there is one of that path already, its first key besides.
    fn place(&self, path: &str, section: &SectionShape) -> String {
        let is_taken = self.0.iter().any(|(taken, _)| taken == path);
        match section.keys.first() {
            Some(key) if is_taken => format!("{path} with {}", key.key),
            _ => path.to_owned(),
        }
    }

    fn path(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(_, section)| section.name == name)
            .map(|(path, _)| path.as_str())
    }

    fn write(&self, path: &str, section: &SectionShape, page: &mut String) {
        let title = if path.is_empty() {
            "The document".to_owned()
        } else {
            format!("`{path}`")
        };
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {title}\n\n{}\n", flow(section.help));
        if let Some(short) = section.short {
            let _ = write!(page, "\nThe value of `{short}` alone may stand in its place.\n");
        }
        page.push_str("\n| key | type | default | meaning |\n|---|---|---|---|\n");
        for key in &section.keys {
            let kind = self.kind(&(key.shape)());
            let _ = writeln!(page, "| `{}` | {kind} | {} | {} |", key.key, default(key), meaning(key));
        }
    }

    /// The type as a reader would call it.
    fn kind(&self, shape: &Shape) -> String {
        match shape {
            Shape::Switch => "switch".to_owned(),
            Shape::Word(word) => match &word.range {
                Some(range) => format!("{}, {range}", word.name),
                None => word.name.to_owned(),
            },
            Shape::Whole { least, greatest } => format!("whole number, {least} to {greatest}"),
            Shape::Choice { options, .. } => options
                .iter()
                .map(|(word, _)| format!("`{word}`"))
                .collect::<Vec<_>>()
                .join(", "),
            Shape::List { element } => format!("list, each: {}", self.kind(element)),
            Shape::Named { key, value } => format!("mapping from {} to {}", self.kind(key), self.kind(value)),
            Shape::Section(section) => {
                let path = self.path(section.name).unwrap_or_default();
                format!("[{}](#{})", section.called, anchor(path))
            }
            Shape::Either(shapes) => shapes
                .iter()
                .map(|shape| self.kind(shape))
                .collect::<Vec<_>>()
                .join(" or "),
            Shape::OrNone(shape) => format!("{} or `none`", self.kind(shape)),
        }
    }
}

/// The anchor GitHub gives the heading of a section.
fn anchor(path: &str) -> String {
    path.chars()
        .map(|c| if c == ' ' { '-' } else { c })
        .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
        .flat_map(char::to_lowercase)
        .collect()
}

fn default(key: &KeyShape) -> String {
    match &key.absent {
        None => "must be written".to_owned(),
        Some(Written::Nothing) => "see meaning".to_owned(),
        Some(Written::Switch(switch)) => format!("`{switch}`"),
        Some(Written::Number(number)) => format!("`{number}`"),
        Some(Written::Text(text)) => format!("`{text}`"),
        Some(Written::List(items)) if items.is_empty() => "empty".to_owned(),
        Some(Written::Mapping(entries)) if entries.is_empty() => "empty".to_owned(),
        Some(Written::List(_) | Written::Mapping(_)) => "its defaults".to_owned(),
    }
}

fn meaning(key: &KeyShape) -> String {
    let mut text = flow(key.help);
    if let Shape::Choice { options, .. } = (key.shape)() {
        for (word, help) in options {
            let _ = write!(text, " `{word}`: {help}.");
        }
    }
    text.replace('|', "\\|")
}
