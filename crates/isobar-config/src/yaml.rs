//! How is a document written as YAML that people like to read?

use crate::setting::Written;

/// Columns up to which a list or mapping of plain values stands on one line.
const MAX_COLUMNS: usize = 100;

/// Writes a document. Short sections whose values are all plain stand on one line, the others as blocks.
pub(crate) fn write(document: &Written) -> String {
    let mut text = String::new();
    block(document, 0, &mut text);
    text
}

/// Writes a value on lines of its own, each ending in a line break.
fn block(value: &Written, indent: usize, text: &mut String) {
    match value {
        Written::Mapping(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                text.push_str(&" ".repeat(indent));
                entry(key, value, indent, text);
            }
        }
        Written::List(items) if !items.is_empty() => {
            for item in items {
                text.push_str(&" ".repeat(indent));
                element(item, indent, text);
            }
        }
        flat => {
            text.push_str(&on_one_line(flat));
            text.push('\n');
        }
    }
}

/// Writes `key: value` from after the indentation on.
fn entry(key: &str, value: &Written, indent: usize, text: &mut String) {
    text.push_str(&quoted(key));
    text.push(':');
    if stands_on_one_line(value, indent + key.len() + 2) {
        text.push(' ');
        text.push_str(&on_one_line(value));
        text.push('\n');
    } else {
        text.push('\n');
        block(value, indent + 2, text);
    }
}

/// Writes `- element` from after the indentation on.
fn element(item: &Written, indent: usize, text: &mut String) {
    text.push_str("- ");
    match item {
        Written::Mapping(entries) if !stands_on_one_line(item, indent + 2) => {
            for (position, (key, value)) in entries.iter().enumerate() {
                if position > 0 {
                    text.push_str(&" ".repeat(indent + 2));
                }
                entry(key, value, indent + 2, text);
            }
        }
        _ => {
            text.push_str(&on_one_line(item));
            text.push('\n');
        }
    }
}

fn stands_on_one_line(value: &Written, column: usize) -> bool {
    let flat_inside = match value {
        Written::List(items) => items.iter().all(Written::is_flat),
        Written::Mapping(entries) => entries.iter().all(|(_, value)| value.is_flat()),
        _ => return true,
    };
    value.is_flat() || (flat_inside && column + on_one_line(value).len() <= MAX_COLUMNS)
}

fn on_one_line(value: &Written) -> String {
    match value {
        Written::Nothing => "~".to_owned(),
        Written::Switch(switch) => switch.to_string(),
        Written::Number(number) => number.to_string(),
        Written::Text(text) => quoted(text),
        Written::List(items) => format!("[{}]", items.iter().map(on_one_line).collect::<Vec<_>>().join(", ")),
        Written::Mapping(entries) if entries.is_empty() => "{}".to_owned(),
        Written::Mapping(entries) => {
            let pair = |(key, value): &(String, Written)| format!("{}: {}", quoted(key), on_one_line(value));
            format!("{{ {} }}", entries.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A text as a scalar: plain where nobody could read it as anything else, otherwise in double quotes.
fn quoted(text: &str) -> String {
    let inner = |c: char| c.is_ascii_alphanumeric() || "._-/:+@%~*".contains(c);
    let plain = text.chars().all(inner)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || "/_.".contains(c))
        && !text.ends_with(':')
        && !text.starts_with("...");
    if plain && !means_something(text) {
        text.to_owned()
    } else {
        in_quotes(text)
    }
}

/// Whether a plain scalar would be read as something else than this text, here or by another reader of YAML. An
/// address such as `10.0.0.1:80` would not.
fn means_something(text: &str) -> bool {
    const WORDS: [&str; 8] = ["true", "false", "null", "yes", "no", "on", "off", "~"];
    WORDS.contains(&text.to_ascii_lowercase().as_str()) || text.parse::<f64>().is_ok()
}

fn in_quotes(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\t' => quoted.push_str("\\t"),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() || ('\u{2028}'..='\u{2029}').contains(&c) || c == '\u{feff}' => {
                quoted.push_str(&format!("\\U{:08X}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
