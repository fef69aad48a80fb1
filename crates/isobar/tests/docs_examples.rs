//! Every configuration that the documentation shows can be run as it stands, and the full example shows every setting.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use isobar_config::{Color, Loaded, Source, load};
use serde_json::Value;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

fn loaded(name: &str, text: &str) -> Loaded {
    let source = Source {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    load(&source).unwrap_or_else(|problems| panic!("{}", problems.render(&source, Color::Never)))
}

/// The pages written by hand.
fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(workspace().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let pages = docs.chain(["README.md", "ARCHITECTURE.md"].map(|name| workspace().join(name)));
    pages
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

/// The blocks of YAML on a page, with the line they begin at.
fn blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for (number, line) in page.lines().enumerate() {
        match (&mut block, line.trim_end()) {
            (None, "```yaml") => block = Some((number + 2, String::new())),
            (Some(_), "```") => blocks.extend(block.take()),
            (Some((_, text)), line) => text.extend([line, "\n"]),
            (None, _) => {}
        }
    }
    blocks
}

/// Those with a line that is this key.
fn blocks_with(page: &str, key: &str) -> Vec<(usize, String)> {
    let mut blocks = blocks(page);
    blocks.retain(|(_, text)| text.lines().any(|line| line == key));
    blocks
}

#[test]
fn every_configuration_in_the_documentation_is_valid() {
    let mut count = 0;
    for page in pages() {
        for (line, text) in blocks_with(&fs::read_to_string(&page).unwrap(), "listeners:") {
            let warnings = loaded(&format!("{}:{line}", page.display()), &text).warnings;
            assert!(
                warnings.is_empty(),
                "{}:{line} is valid, but {warnings:?}",
                page.display()
            );
            count += 1;
        }
    }
    assert!(count >= 8, "only {count} configurations were found");
}

#[test]
fn every_example_is_valid() {
    let mut count = 0;
    for entry in fs::read_dir(workspace().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let warnings = loaded(&path.display().to_string(), &fs::read_to_string(&path).unwrap()).warnings;
        assert!(warnings.is_empty(), "{} is valid, but {warnings:?}", path.display());
        count += 1;
    }
    assert!(count >= 2, "only {count} examples were found");
}

#[test]
fn every_scenario_in_the_documentation_is_valid() {
    let mut count = 0;
    for page in pages() {
        for (line, text) in blocks_with(&fs::read_to_string(&page).unwrap(), "servers:") {
            let source = Source {
                name: format!("{}:{line}", page.display()),
                text,
            };
            let loaded = isobar_config::scenario::load_scenario(&source);
            let loaded = loaded.unwrap_or_else(|problems| panic!("{}", problems.render(&source, Color::Never)));
            assert!(loaded.warnings.is_empty(), "{}: {:?}", source.name, loaded.warnings);
            count += 1;
        }
    }
    assert!(count >= 1, "no scenario was found");
}

/// Every command on the simulator's page does what it says, with fewer requests where none are asked for.
#[test]
fn every_command_of_the_simulator_runs() {
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(workspace().join("examples"), directory.path().join("examples")).unwrap();
    let page = fs::read_to_string(workspace().join("docs/simulator.md")).unwrap();
    let commands = page.lines().filter_map(|line| line.strip_prefix("    isobar "));
    let mut count = 0;
    for command in commands {
        let mut arguments: Vec<&str> = command.split_whitespace().collect();
        if arguments[0] != "schema" && !arguments.contains(&"--requests") {
            arguments.extend(["--requests", "1000"]);
        }
        let outcome = std::process::Command::new(env!("CARGO_BIN_EXE_isobar"))
            .args(&arguments)
            .current_dir(directory.path())
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&outcome.stderr);
        assert!(outcome.status.success(), "isobar {command}: {said}");
        assert!(!outcome.stdout.is_empty(), "isobar {command} says nothing");
        count += 1;
    }
    assert!(count >= 8, "only {count} commands were found");
    assert!(directory.path().join("report.html").exists());
}

/// Every command on the page about maintenance, against an instance of its configuration.
#[test]
fn every_command_of_the_maintenance_page_runs() {
    let page = fs::read_to_string(workspace().join("docs/maintenance.md")).unwrap();
    let (_, text) = blocks_with(&page, "listeners:").remove(0);
    let text = text
        .replace("0.0.0.0:8080", "127.0.0.1:0")
        .replace("127.0.0.1:9900", "127.0.0.1:0");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("isobar.yaml");
    fs::write(&file, text).unwrap();
    let isobar = isobar_testkit::binary!().run_file(directory, &file);
    let admin = isobar.admin().to_string();
    let mut count = 0;
    for command in page.lines().filter_map(|line| line.strip_prefix("    isobar ")) {
        let arguments: Vec<&str> = command.split_whitespace().chain(["--admin", &admin]).collect();
        let outcome = isobar_testkit::binary!().outcome(&arguments);
        assert!(
            outcome.status.success() && !outcome.stdout.is_empty(),
            "{command}: {}",
            outcome.stderr
        );
        count += 1;
    }
    for command in page.lines().filter_map(|line| line.strip_prefix("    curl ")) {
        let command = command.replace("127.0.0.1:9900", &admin);
        let answer = isobar_testkit::curl(&command.split_whitespace().collect::<Vec<_>>());
        assert_eq!(answer.status, 200, "{command}");
        count += 1;
    }
    assert!(count >= 10, "only {count} commands were found");
}

/// Every name under `properties`, anywhere in a schema.
fn settings(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get("properties") {
                names.extend(properties.keys().cloned());
            }
            members.values().for_each(|member| settings(member, names));
        }
        Value::Array(elements) => elements.iter().for_each(|element| settings(element, names)),
        _ => {}
    }
}

/// Of the password `U*U`. *Source*: the test vectors of crypt_blowfish 1.3.
const PASSWORD_HASH: &str = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

#[test]
fn the_full_example_shows_every_setting() {
    let mut names = BTreeSet::new();
    settings(&isobar_config::json_schema(), &mut names);
    assert!(names.contains("max_head_bytes") && names.len() > 40, "{names:?}");
    let text = fs::read_to_string(workspace().join("examples/full.yaml")).unwrap();
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !text.contains(&format!("{name}:")))
        .collect();
    assert!(missing.is_empty(), "examples/full.yaml does not show {missing:?}");
}

/// Links within the repository lead somewhere.
#[test]
fn links_lead_to_files() {
    let mut count = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            let file = target.split('#').next().unwrap_or_default();
            assert!(
                page.parent().unwrap().join(file).exists(),
                "{}: {target}",
                page.display()
            );
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} links were found");
}

/// The full example is what people copy from: with the files it names, the command that checks one finds nothing wrong.
#[test]
fn the_full_example_passes_the_check() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(file("sticky.key"), "0123456789abcdef0123456789abcdef").unwrap();
    let text = fs::read_to_string(workspace().join("examples/full.yaml")).unwrap();
    assert!(text.contains("/etc/isobar/sticky.key") && text.contains("/etc/isobar/ca.pem"));
    let authority = isobar_testkit::Authority::new();
    let site = authority.certify("site.example", isobar_testkit::Validity::Now);
    fs::write(file("tickets.key"), "0123456789abcdef0123456789abcdef").unwrap();
    fs::write(file("site.ocsp"), "an answer").unwrap();
    fs::write(file("proxy.htpasswd"), format!("alice:{PASSWORD_HASH}\n")).unwrap();
    fs::write(file("parent.password"), "secret\n").unwrap();
    fs::write(file("rates"), "10.0.0.9 2000/min\n").unwrap();
    let text = text
        .replace("/etc/isobar/sticky.key", &file("sticky.key"))
        .replace("/etc/isobar/tickets.key", &file("tickets.key"))
        .replace("/etc/isobar/proxy.htpasswd", &file("proxy.htpasswd"))
        .replace("/etc/isobar/parent.password", &file("parent.password"))
        .replace("/etc/isobar/rates", &file("rates"))
        .replace("/etc/isobar/site.pem", site.certificate.to_str().unwrap())
        .replace("/etc/isobar/site.key", site.key.to_str().unwrap())
        .replace("/etc/isobar/own.pem", site.certificate.to_str().unwrap())
        .replace("/etc/isobar/own.key", site.key.to_str().unwrap())
        .replace("/etc/isobar/site.ocsp", &file("site.ocsp"))
        .replace("/etc/isobar/ca.crl", authority.revoke(&[]).to_str().unwrap())
        .replace("/etc/isobar/ca.pem", authority.file().to_str().unwrap())
        .replace("/var/log/isobar/access.log", &file("access.log"));
    fs::write(file("full.yaml"), text).unwrap();
    let outcome = isobar_testkit::binary!().outcome(&["check", &file("full.yaml")]);
    assert_eq!((outcome.status.code(), outcome.stderr.as_str()), (Some(0), ""));
    fs::remove_file(file("sticky.key")).unwrap();
    let outcome = isobar_testkit::binary!().outcome(&["check", &file("full.yaml")]);
    assert_eq!(outcome.status.code(), Some(1));
    assert!(outcome.stderr.contains("openssl rand -hex 32"), "{}", outcome.stderr);
}
