//! What does an editor need to know to complete and check a configuration?

use serde_json::{Map, Value, json};

use crate::document::Document;
use crate::scenario::ScenarioDocument;
use crate::setting::shape::{KeyShape, SectionShape, WordShape};
use crate::setting::{Setting, Shape};

/// The JSON Schema (draft 2020-12) of a configuration, with descriptions, defaults, patterns and examples.
///
/// Everything that loads is valid by it; not everything that is valid loads, as it cannot say which names exist.
#[must_use]
pub fn json_schema() -> Value {
    document("Isobar configuration", &Document::shape())
}

/// The same of a scenario for the simulator.
#[must_use]
pub fn scenario_schema() -> Value {
    document("Isobar scenario", &ScenarioDocument::shape())
}

fn document(title: &str, shape: &Shape) -> Value {
    let mut sections = Map::new();
    let root = of(shape, &mut sections);
    let mut schema = Map::new();
    schema.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    schema.insert("title".to_owned(), json!(title));
    if let Value::Object(root) = root {
        schema.extend(root);
    }
    schema.insert("$defs".to_owned(), Value::Object(sections));
    Value::Object(schema)
}

fn of(shape: &Shape, sections: &mut Map<String, Value>) -> Value {
    match shape {
        Shape::Switch => json!({ "type": "boolean" }),
        Shape::Word(word) => of_word(word),
        Shape::Whole { least, greatest } => json!({ "type": "integer", "minimum": least, "maximum": greatest }),
        Shape::Choice { options, .. } => {
            let option = |(word, help): &(&str, &str)| json!({ "const": word, "description": help });
            json!({ "oneOf": options.iter().map(option).collect::<Vec<_>>() })
        }
        Shape::List { element } => json!({ "type": "array", "items": of(element, sections) }),
        Shape::Named { key, value } => {
            let names = of(key, sections);
            let pattern = names.get("pattern").cloned();
            let names = pattern.map_or_else(|| json!({}), |pattern| json!({ "pattern": pattern }));
            json!({ "type": ["object", "null"], "propertyNames": names, "additionalProperties": of(value, sections) })
        }
        Shape::Section(section) => {
            if !sections.contains_key(section.name) {
                // Put in first, so that a section within itself would end here.
                sections.insert(section.name.to_owned(), Value::Null);
                let schema = of_section(section, sections);
                sections.insert(section.name.to_owned(), schema);
            }
            json!({ "$ref": format!("#/$defs/{}", section.name) })
        }
        Shape::Either(shapes) => json!({ "anyOf": shapes.iter().map(|shape| of(shape, sections)).collect::<Vec<_>>() }),
        Shape::OrNone(shape) => {
            let none = json!({ "const": "none", "description": "there is none" });
            json!({ "anyOf": [of(shape, sections), none, { "type": "null" }] })
        }
    }
}

fn of_word(word: &WordShape) -> Value {
    let mut schema = Map::new();
    let types = if word.number {
        json!(["string", "number", "boolean"])
    } else {
        json!("string")
    };
    schema.insert("type".to_owned(), types);
    if let Some(pattern) = word.pattern {
        schema.insert("pattern".to_owned(), json!(pattern));
    }
    if !word.examples.is_empty() {
        schema.insert("examples".to_owned(), json!(word.examples));
    }
    Value::Object(schema)
}

fn of_section(section: &SectionShape, sections: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    for key in &section.keys {
        let value = of_key(key, sections);
        properties.insert(key.key.to_owned(), value);
    }
    let required: Vec<&str> = section
        .keys
        .iter()
        .filter(|key| key.absent.is_none())
        .map(|key| key.key)
        .collect();
    // A section may be there with nothing in it, unless a key must be.
    let types = if required.is_empty() {
        json!(["object", "null"])
    } else {
        json!("object")
    };
    json!({
        "description": flow(section.help),
        "type": types,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn of_key(key: &KeyShape, sections: &mut Map<String, Value>) -> Value {
    let mut schema = match of(&(key.shape)(), sections) {
        Value::Object(schema) => schema,
        other => return other,
    };
    schema.insert("description".to_owned(), json!(flow(key.help)));
    match key.absent.as_ref().map(|absent| absent.to_json()) {
        None | Some(Value::Null) => {}
        Some(default) => {
            schema.insert("default".to_owned(), default);
        }
    }
    Value::Object(schema)
}

/// A help text on one line.
pub(crate) fn flow(help: &str) -> String {
    help.split_whitespace().collect::<Vec<_>>().join(" ")
}
