//! Every `tests/cases/*.yaml` is read and what is said about it compared with the `.txt` beside it.
//!
//! `UPDATE_GOLDEN=1 cargo test -p isobar-config --test golden` writes the `.txt` files anew; read the difference.

use std::fs;
use std::path::{Path, PathBuf};

use isobar_config::{Color, Diagnostics, Source};

#[test]
fn what_is_said_about_each_case() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 40, "only {} cases found", cases.len());
    for yaml in cases {
        let found = answer(&yaml);
        let golden = yaml.with_extension("txt");
        if update {
            fs::write(&golden, &found).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if found != expected {
            wrong.push(format!(
                "{}\n--- expected\n{expected}\n--- found\n{found}",
                golden.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ\n\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_golden_file_has_its_case() {
    let golden = files("txt");
    assert!(!golden.is_empty());
    for file in golden {
        assert!(file.with_extension("yaml").exists(), "{} is left over", file.display());
    }
}

fn answer(yaml: &Path) -> String {
    let name = yaml.file_name().unwrap().to_str().unwrap();
    let source = Source {
        name: name.to_owned(),
        text: fs::read_to_string(yaml).unwrap(),
    };
    let (verdict, diagnostics) = match isobar_config::load(&source) {
        Ok(loaded) => ("valid\n", loaded.warnings),
        Err(diagnostics) => ("", diagnostics),
    };
    check_form(&diagnostics, &source);
    format!("{verdict}{}", diagnostics.render(&source, Color::Never))
}

/// What holds for every diagnostic, whatever it says.
fn check_form(diagnostics: &Diagnostics, source: &Source) {
    for diagnostic in diagnostics {
        let message = &diagnostic.message;
        assert!(
            !message.ends_with('.') && !message.starts_with(char::is_uppercase),
            "not a fragment: {message}"
        );
        let position = diagnostic.position.as_ref().expect("a text has positions");
        assert!(
            source.text.get(position.span.clone()).is_some(),
            "{message}: {:?}",
            position.span
        );
        assert!(position.line >= 1 && position.column >= 1);
    }
}

fn cases() -> Vec<PathBuf> {
    files("yaml")
}

fn files(extension: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    files
}
