//! The schema and the reference page say what the loader does.

use isobar_config::{Source, json_schema, reference_markdown};
use serde_json::Value;

#[test]
fn every_reference_within_the_schema_leads_somewhere() {
    let schema = json_schema();
    let mut references = 0;
    visit(&schema, &mut |value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            references += 1;
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(schema.pointer(pointer).is_some_and(Value::is_object), "{reference}");
        }
    });
    assert!(references >= 15, "only {references} references");
}

#[test]
fn every_key_has_a_description() {
    let schema = json_schema();
    for (name, section) in schema["$defs"].as_object().unwrap() {
        assert!(
            section["description"].as_str().is_some_and(|text| text.ends_with('.')),
            "{name}"
        );
        for (key, value) in section["properties"].as_object().unwrap() {
            let description = value["description"].as_str().unwrap_or_default();
            assert!(description.ends_with('.'), "{name}.{key}: {description}");
        }
    }
}

#[test]
fn every_default_loads() {
    let schema = json_schema();
    let default = |section: &str, key: &str| schema["$defs"][section]["properties"][key]["default"].clone();
    assert_eq!(default("Document", "drain_timeout"), "30s");
    assert_eq!(default("ListenerLimits", "max_head_bytes"), "32KiB");
    assert_eq!(default("ListenerLimits", "max_body_bytes"), "none");
    assert_eq!(default("Upstream", "balance"), "least_connections");
    assert_eq!(default("Server", "weight"), 1);
    assert_eq!(default("Listener", "name"), Value::Null);
    // JSON is YAML: each section made of its defaults must be one.
    for section in ["limits", "timeouts"] {
        let name = if section == "limits" {
            "ListenerLimits"
        } else {
            "ClientTimeouts"
        };
        let properties = schema["$defs"][name]["properties"].as_object().unwrap();
        let defaults: Value = properties
            .iter()
            .map(|(key, value)| (key.clone(), value["default"].clone()))
            .collect();
        let text = format!(
            "{{ listeners: [{{ address: ':80', upstream: a, {section}: {defaults} }}], upstreams: {{ a: {{ servers: [':81'] }} }} }}"
        );
        let loaded = isobar_config::load(&Source {
            name: section.to_owned(),
            text,
        })
        .unwrap();
        assert_eq!(loaded.plan.listeners[0].limits.max_head_bytes, 32_768);
    }
}

#[test]
fn every_key_of_the_schema_is_in_the_reference() {
    let (schema, page) = (json_schema(), reference_markdown());
    for (name, section) in schema["$defs"].as_object().unwrap() {
        for key in section["properties"].as_object().unwrap().keys() {
            assert!(page.contains(&format!("\n| `{key}` | ")), "{name}.{key}");
        }
    }
    for line in page.lines().filter(|line| line.starts_with('|')) {
        let columns = line.replace("\\|", "").matches('|').count() - 1;
        assert!(columns == 2 || columns == 4, "{line}");
    }
}

#[test]
fn every_link_of_the_reference_leads_to_a_heading() {
    let page = reference_markdown();
    let anchor = |heading: &str| {
        heading
            .to_lowercase()
            .replace(' ', "-")
            .replace(|c: char| !c.is_alphanumeric() && !"-_".contains(c), "")
    };
    let headings: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(anchor)
        .collect();
    let links: Vec<&str> = page
        .split("](#")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect();
    assert!(links.len() >= 15);
    for link in links {
        assert!(
            headings.iter().any(|heading| heading == link),
            "#{link} is none of {headings:?}"
        );
    }
}

fn visit(value: &Value, see: &mut dyn FnMut(&Value)) {
    see(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| visit(item, see)),
        Value::Object(entries) => entries.values().for_each(|item| visit(item, see)),
        _ => {}
    }
}
