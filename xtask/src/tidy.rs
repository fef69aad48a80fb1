//! Does the code keep to the architecture and the house style?
//!
//! Every rule has an identifier and a reason, which is printed with each finding. A rule may be broken where a comment
//! right above the place says why: `// tidy: allow(boolean-parameter): the name of the method says what is true`.
//! It judges shape only; what the compiler and clippy can see is left to them.

mod architecture;
mod comments;
mod names;
mod signatures;
mod sizes;
mod source;
mod walls;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::source::Source;
use crate::Outcome;
use crate::cargo::{Metadata, metadata, workspace_root};

/// What of the findings is wanted.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct TidyOptions {
    /// Lists also what is no fault yet: files past the length to aim at, and the rules that were broken for a reason.
    #[arg(long, short)]
    verbose: bool,
    /// Judges only files whose path contains this.
    #[arg(value_name = "PATH")]
    path: Option<String>,
}

/// One place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    file: PathBuf,
    /// From 1.
    line: usize,
    rule: Rule,
    /// What was found there.
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, rule, what } = self;
        write!(
            f,
            "{}:{line}: {what} ({}: {})",
            file.display(),
            rule.id(),
            rule.reason()
        )
    }
}

/// Declares the rules with the identifier that a comment names and the reason that is printed.
macro_rules! rules {
    ($($rule:ident, $id:literal, $reason:literal;)*) => {
        /// What a finding offends against.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Rule { $($rule),* }

        impl Rule {
            /// The identifier that `tidy: allow(…)` names.
            const fn id(self) -> &'static str {
                match self { $(Self::$rule => $id),* }
            }

            /// Why the rule is there.
            const fn reason(self) -> &'static str {
                match self { $(Self::$rule => $reason),* }
            }
        }
    };
}

rules! {
    Edge, "edge", "arrows between crates point inward only; the table is in xtask/src/tidy/architecture.rs";
    External, "external-dependency", "a crate is a wall: what it may not see stays out of its Cargo.toml";
    NoStd, "no-std", "a pure crate knows no IO, clock or thread, which `#![no_std]` proves";
    ForbidUnsafe, "forbid-unsafe", "`unsafe` lives in one file of isobar-net";
    OneUnsafeFile, "one-unsafe-file", "`unsafe` lives in one file, so that it can be reviewed as a whole";
    Sockets, "sockets", "only isobar-net and the listed crates of the control plane touch sockets";
    FileLength, "file-length", "one idea a file; past 600 lines it holds several";
    FunctionLength, "function-length", "a function fits a screen";
    ModuleHeader, "module-header", "every module opens with the question that it answers";
    OwnedTodo, "owned-todo", "work nobody owns is never done: write it as `TODO(name)`, or open an issue";
    ModFile, "mod-file", "`name.rs` beside `name/` can be found by its name";
    VagueName, "vague-name", "the name says that nobody knew what belongs there";
    GetPrefix, "get-prefix", "an accessor is named after what it returns";
    BooleanParameter, "boolean-parameter", "`f(true)` tells its reader nothing; an enum does";
    ManyParameters, "many-parameters", "more than four parameters are a struct with names";
    MachinePath, "machine-path", "the code runs on machines that look different";
    IgnoredTest, "ignored-test", "a test that does not run proves nothing";
    Syntax, "syntax", "what cannot be read cannot be judged";
}

/// Judges the workspace and prints a line per finding.
pub(crate) fn run(options: &TidyOptions) -> Result<Outcome> {
    let metadata = metadata()?;
    let mut findings = architecture::check(&metadata);
    let sources = read_sources(&metadata)?;
    let mut allowed = 0;
    for source in &sources {
        for finding in check_source(source) {
            if source.allows(finding.rule, finding.line) {
                allowed += 1;
                if options.verbose {
                    println!("allowed: {finding}");
                }
            } else {
                findings.push(finding);
            }
        }
    }
    findings.extend(walls::unsafe_files(&sources));
    if let Some(path) = &options.path {
        findings.retain(|finding| finding.file.to_string_lossy().contains(path));
    }
    if options.verbose {
        sizes::print_long_files(&sources);
    }
    for finding in &findings {
        println!("{finding}");
    }
    println!(
        "{} files, {} findings, {allowed} allowed with a reason",
        sources.len(),
        findings.len()
    );
    Ok(if findings.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed
    })
}

/// Everything that one file can be judged by alone.
fn check_source(source: &Source) -> Vec<Finding> {
    let Some(syntax) = &source.syntax else {
        return vec![source.finding(Rule::Syntax, 1, "the file does not parse")];
    };
    let mut findings = sizes::check(source, syntax);
    findings.extend(names::check(source, syntax));
    findings.extend(signatures::check(source, syntax));
    findings.extend(walls::check(source, syntax));
    findings
}

fn read_sources(metadata: &Metadata) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for package in &metadata.packages {
        let directory = package.manifest_path.parent().unwrap_or(workspace_root());
        let mut files = Vec::new();
        collect_rust_files(directory, &mut files)?;
        for file in files {
            let text = fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
            let relative = file.strip_prefix(workspace_root()).unwrap_or(&file).to_owned();
            sources.push(Source::new(&package.name, relative, text));
        }
    }
    Ok(sources)
}

fn collect_rust_files(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("failed to list {}", directory.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect_rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules that a source of isobar-wire at `path` breaks, with their lines.
    #[track_caller]
    fn check(path: &str, text: &str, expected: &[(Rule, usize)]) {
        check_in("isobar-wire", path, text, expected);
    }

    #[track_caller]
    fn check_in(package: &str, path: &str, text: &str, expected: &[(Rule, usize)]) {
        let source = Source::new(package, path.into(), text.into());
        let mut found: Vec<_> = check_source(&source)
            .into_iter()
            .map(|finding| (finding.rule, finding.line))
            .collect();
        found.retain(|&(rule, line)| !source.allows(rule, line));
        assert_eq!(found, expected, "{path}: {text}");
    }

    const FILE: &str = "crates/isobar-wire/src/head.rs";
    const ROOT: &str = "crates/isobar-wire/src/lib.rs";

    #[test]
    fn a_module_opens_with_its_question() {
        check(FILE, "//! What is a head?\n", &[]);
        check(FILE, "// What is a head?\n", &[(Rule::ModuleHeader, 1)]);
        check(FILE, "", &[(Rule::ModuleHeader, 1)]);
        check(
            "crates/isobar-wire/tests/rules.rs",
            "fn f() {}",
            &[(Rule::ModuleHeader, 1)],
        );
    }

    #[test]
    fn work_has_an_owner() {
        check(FILE, "//! Q?\n// TODO(ada): speed.\n", &[]);
        check(FILE, "//! Q?\n// TODO: speed.\n", &[(Rule::OwnedTodo, 2)]);
        check(FILE, "//! Q?\n/* a\n FIXME b */\n", &[(Rule::OwnedTodo, 3)]);
        check(FILE, "//! Q?\nconst A: &str = \"// TODO\";\n// TODOS are fine.\n", &[]);
    }

    #[test]
    fn functions_fit_a_screen() {
        let body = |lines: usize| format!("//! Q?\nfn f() {{\n{}}}\n", "    a();\n".repeat(lines));
        check(FILE, &body(68), &[]);
        check(FILE, &body(69), &[(Rule::FunctionLength, 2)]);
        check(
            FILE,
            &format!(
                "{}#[cfg(test)]\nmod tests {{\nfn f() {{\n{}}}\n}}\n",
                body(1),
                "a();\n".repeat(90)
            ),
            &[],
        );
        let method = format!("//! Q?\nimpl A {{\n    fn f() {{\n{}    }}\n}}\n", "a();\n".repeat(69));
        check(FILE, &method, &[(Rule::FunctionLength, 3)]);
    }

    #[test]
    fn files_hold_one_idea() {
        let lines = |count: usize| format!("//! Q?\n{}", "const A: u8 = 1;\n".repeat(count - 1));
        check(FILE, &lines(600), &[]);
        check(FILE, &lines(601), &[(Rule::FileLength, 1)]);
        let with_tests = format!(
            "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
            lines(600),
            "const A: u8 = 1;\n".repeat(500)
        );
        check(FILE, &with_tests, &[]);
        check("crates/isobar-wire/tests/rules.rs", &lines(900), &[]);
    }

    #[test]
    fn names_say_what_is_there() {
        check("crates/isobar-wire/src/utils.rs", "//! Q?\n", &[(Rule::VagueName, 1)]);
        check(
            "crates/isobar-wire/src/common/head.rs",
            "//! Q?\n",
            &[(Rule::VagueName, 1)],
        );
        check("crates/isobar-wire/src/head/mod.rs", "//! Q?\n", &[(Rule::ModFile, 1)]);
        check(FILE, "//! Q?\nmod helper { }\n", &[(Rule::VagueName, 2)]);
        check(FILE, "//! Q?\nmod helping { }\n", &[]);
        check(FILE, "//! Q?\nfn get_head() {}\n", &[(Rule::GetPrefix, 2)]);
        check(FILE, "//! Q?\nfn getter() {}\n", &[]);
    }

    #[test]
    fn parameters_speak() {
        check(FILE, "//! Q?\npub fn f(on: bool) {}\n", &[(Rule::BooleanParameter, 2)]);
        check(
            FILE,
            "//! Q?\nfn f(on: bool) {}\npub fn g(on: &mut Vec<bool>) {}\n",
            &[],
        );
        check(
            FILE,
            "//! Q?\nimpl A { pub fn f(&self, on: bool) {} }\n",
            &[(Rule::BooleanParameter, 2)],
        );
        check(
            FILE,
            "//! Q?\npub trait A {\n fn f(&self, on: bool);\n}\n",
            &[(Rule::BooleanParameter, 3)],
        );
        check(FILE, "//! Q?\nimpl A for B { fn f(&self, on: bool) {} }\n", &[]);
        check(
            FILE,
            "//! Q?\npub fn f(a: u8, b: u8, c: u8, d: u8, e: u8) {}\n",
            &[(Rule::ManyParameters, 2)],
        );
        check(
            FILE,
            "//! Q?\nimpl A { pub fn f(&self, a: u8, b: u8, c: u8, d: u8) {} }\n",
            &[],
        );
        check(FILE, "//! Q?\n#[cfg(test)]\nmod tests { pub fn f(a: bool) {} }\n", &[]);
    }

    #[test]
    fn a_reason_excuses() {
        let excused = "//! Q?\n// tidy: allow(boolean-parameter): it is the name of the method.\n#[inline]\n\
                       /// Sets it.\npub fn f(on: bool) {}\n";
        check(FILE, excused, &[]);
        let no_reason = "//! Q?\n// tidy: allow(boolean-parameter)\npub fn f(on: bool) {}\n";
        check(FILE, no_reason, &[(Rule::BooleanParameter, 3)]);
        let other_rule = "//! Q?\n// tidy: allow(get-prefix): a reason.\npub fn f(on: bool) {}\n";
        check(FILE, other_rule, &[(Rule::BooleanParameter, 3)]);
        let far = "//! Q?\n// tidy: allow(boolean-parameter): a reason.\n\npub fn f(on: bool) {}\n";
        check(FILE, far, &[(Rule::BooleanParameter, 4)]);
    }

    #[test]
    fn pure_crates_are_pure() {
        check(
            ROOT,
            "//! Q?\n#![no_std]\n#![forbid(unsafe_code)]\nextern crate alloc;\n",
            &[],
        );
        check(ROOT, "//! Q?\n#![forbid(unsafe_code)]\n", &[(Rule::NoStd, 1)]);
        let std = "//! Q?\n#![no_std]\n#![forbid(unsafe_code)]\nextern crate std;\n";
        check(ROOT, std, &[(Rule::NoStd, 4)]);
        check(
            ROOT,
            &std.replace("extern crate std", "#[cfg(test)]\nextern crate std"),
            &[],
        );
        check_in(
            "isobar-l7",
            "crates/isobar-l7/src/lib.rs",
            "//! Q?\n#![forbid(unsafe_code)]\n",
            &[],
        );
    }

    #[test]
    fn roots_forbid_unsafe() {
        check(ROOT, "//! Q?\n#![no_std]\n", &[(Rule::ForbidUnsafe, 1)]);
        check_in(
            "isobar",
            "crates/isobar/src/main.rs",
            "//! Q?\n",
            &[(Rule::ForbidUnsafe, 1)],
        );
        check_in("isobar-net", "crates/isobar-net/src/lib.rs", "//! Q?\n", &[]);
    }

    #[test]
    fn sockets_stay_in_their_crates() {
        let text = "//! Q?\nuse tokio::net::TcpStream;\n";
        check(FILE, text, &[(Rule::Sockets, 2)]);
        check(FILE, "//! Q?\nuse tokio::{net, time};\n", &[(Rule::Sockets, 2)]);
        check(
            FILE,
            "//! Q?\nfn f(a: tokio::net::TcpStream) {}\n",
            &[(Rule::Sockets, 2)],
        );
        check(FILE, "//! Q? Not tokio::net.\nuse tokio::sync::net;\n", &[]);
        check_in("isobar-net", "crates/isobar-net/src/stream.rs", text, &[]);
        check("crates/isobar-wire/tests/rules.rs", text, &[]);
    }

    #[test]
    fn code_runs_on_any_machine() {
        let path = concat!("//! Q?\nconst A: &str = \"/", "tmp/isobar\";\n");
        check(FILE, path, &[(Rule::MachinePath, 2)]);
        check("crates/isobar-wire/tests/rules.rs", path, &[]);
        check(FILE, "//! Q?\nconst A: &str = \"/tmpfs/\";\n", &[]);
    }

    #[test]
    fn tests_run() {
        let text = "//! Q?\n#[cfg(test)]\nmod tests {\n    #[test]\n    #[ignore]\n    fn f() {}\n}\n";
        check(FILE, text, &[(Rule::IgnoredTest, 6)]);
        check(FILE, &text.replace("    #[ignore]\n", ""), &[]);
    }

    #[test]
    fn what_does_not_parse_is_said() {
        check(FILE, "//! Q?\nfn f( {\n", &[(Rule::Syntax, 1)]);
    }

    #[test]
    fn unsafe_has_one_file() {
        let source = |package: &str, path: &str, text: &str| Source::new(package, path.into(), text.into());
        let text = "//! Q?\nfn f() { unsafe { g() } }\n";
        let first = || source("isobar-net", "crates/isobar-net/src/a.rs", text);
        let second = || {
            source(
                "isobar-net",
                "crates/isobar-net/src/b.rs",
                "//! Q?\nunsafe impl Send for A {}\n",
            )
        };
        let test = || source("isobar-net", "crates/isobar-net/tests/c.rs", text);
        assert_eq!(walls::unsafe_files(&[first(), test()]), []);
        let found = walls::unsafe_files(&[first(), second(), test()]);
        assert_eq!(
            found
                .iter()
                .map(|finding| (finding.rule, finding.line))
                .collect::<Vec<_>>(),
            [(Rule::OneUnsafeFile, 2)]
        );
    }
}
