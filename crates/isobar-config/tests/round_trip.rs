//! What is written out loads to the same thing, for every file in `tests/valid`.

use std::fs;
use std::path::Path;

use isobar_config::{Color, Loaded, Source, effective, to_yaml};

#[test]
fn the_effective_configuration_means_the_same() {
    for (name, loaded) in valid() {
        let text = effective(&loaded.document);
        let again = load(&name, text.clone());
        assert_eq!(again.plan, loaded.plan, "{name}\n{text}");
        assert_eq!(effective(&again.document), text, "{name}: nothing is left to fill in");
    }
}

#[test]
fn the_brief_configuration_is_the_same_document() {
    for (name, loaded) in valid() {
        let text = to_yaml(&loaded.document);
        assert_eq!(load(&name, text.clone()).document, loaded.document, "{name}\n{text}");
    }
}

#[test]
fn the_written_configuration_is_as_a_person_would_write_it() {
    let expected = "\
listeners:
  - { address: 127.0.0.1:8080, upstream: web }
upstreams:
  web:
    servers: [127.0.0.1:9001]
";
    assert_eq!(to_yaml(&smallest().document), expected);
}

#[test]
fn the_effective_configuration_shows_every_default() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/effective.yaml");
    let found = effective(&smallest().document);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(&golden).unwrap());
}

fn smallest() -> Loaded {
    valid().into_iter().find(|(name, _)| name == "smallest.yaml").unwrap().1
}

fn valid() -> Vec<(String, Loaded)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/valid");
    let mut loaded = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        loaded.push((name.clone(), load(&name, fs::read_to_string(&path).unwrap())));
    }
    assert!(loaded.len() >= 5);
    loaded
}

fn load(name: &str, text: String) -> Loaded {
    let source = Source {
        name: name.to_owned(),
        text,
    };
    isobar_config::load(&source)
        .unwrap_or_else(|errors| panic!("{}\n{}", errors.render(&source, Color::Never), source.text))
}
