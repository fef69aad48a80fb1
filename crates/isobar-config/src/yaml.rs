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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{quoted, write};
    use crate::problem::Problems;
    use crate::setting::Written;
    use crate::tree::{self, Node, Style, Value};

    #[test]
    fn texts_that_need_quotes() {
        let check = |text: &str, expected: &str| assert_eq!(quoted(text), expected);
        check("web", "web");
        check("127.0.0.1:8080", "127.0.0.1:8080");
        check("/v1/*", "/v1/*");
        check("[::1]:80", "\"[::1]:80\"");
        check("*.example.com", "\"*.example.com\"");
        check("-", "\"-\"");
        check("a:", "\"a:\"");
        check("", "\"\"");
        check("yes", "\"yes\"");
        check("1e3", "\"1e3\"");
        check("10", "\"10\"");
        check("10s", "10s");
        check("a b", "\"a b\"");
        check("a\"\\\n\u{1b}", "\"a\\\"\\\\\\n\\U0000001B\"");
    }

    fn any_written() -> impl Strategy<Value = Written> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Written::Switch),
            any::<u64>().prop_map(Written::Number),
            "\\PC{0,20}|[\\s\\S]{0,6}|[a-z:#*&!%@~.-]{0,8}".prop_map(Written::Text),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let entries = proptest::collection::btree_map("[a-z]{1,4}|\\PC{1,5}", inner.clone(), 0..6);
            prop_oneof![
                proptest::collection::vec(inner, 0..6).prop_map(Written::List),
                entries.prop_map(|entries| Written::Mapping(entries.into_iter().collect())),
            ]
        })
    }

    fn same(written: &Written, node: &Node<'_>) -> bool {
        match (written, &node.value) {
            (Written::Switch(switch), _) => node.plain() == Some(switch.to_string().as_str()),
            (Written::Number(number), _) => node.plain() == Some(number.to_string().as_str()),
            (Written::Text(text), Value::Scalar(scalar)) => {
                scalar.text == text.as_str() && (scalar.style == Style::Quoted || !super::means_something(text))
            }
            (Written::List(items), Value::List(nodes)) => {
                items.len() == nodes.len() && items.iter().zip(nodes).all(|(item, node)| same(item, node))
            }
            (Written::Mapping(entries), Value::Mapping(nodes)) => {
                let pairs = || entries.iter().zip(nodes);
                entries.len() == nodes.len() && pairs().all(|((key, value), n)| n.key == *key && same(value, &n.value))
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_the_same(written in any_written()) {
            let document = Written::Mapping(vec![("key".to_owned(), written)]);
            let text = write(&document);
            let mut problems = Problems::default();
            match tree::parse(&text, &crate::CONFIGURATION, &mut problems) {
                Ok(node) => prop_assert!(same(&document, &node), "{text}\n{node:?}"),
                Err(problem) => prop_assert!(false, "{text}\n{problem:?}"),
            }
        }
    }
}
