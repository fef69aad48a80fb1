//! What does a rule see of a file?

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::Visit;

use super::comments::{Comment, comments};
use super::{Finding, Rule};

/// One Rust file of one crate, read and parsed.
pub(super) struct Source {
    /// The crate it belongs to.
    pub(super) package: String,
    /// From the workspace's directory.
    pub(super) file: PathBuf,
    /// The file as it is.
    pub(super) text: String,
    /// None where the file does not parse.
    pub(super) syntax: Option<syn::File>,
    /// In the order of the file.
    pub(super) comments: Vec<Comment>,
    /// The lines of items that only tests compile.
    test_lines: Vec<RangeInclusive<usize>>,
}

impl Source {
    /// Parses a file.
    pub(super) fn new(package: &str, file: PathBuf, text: String) -> Self {
        let syntax = syn::parse_file(&text).ok();
        let mut test_items = TestItems(Vec::new());
        if let Some(syntax) = &syntax {
            test_items.visit_file(syntax);
        }
        let comments = comments(&text);
        Self {
            package: package.into(),
            file,
            text,
            syntax,
            comments,
            test_lines: test_items.0,
        }
    }

    /// Whether the whole file is compiled for tests, benchmarks or examples only.
    pub(super) fn is_test_file(&self) -> bool {
        let is_test_name = |name: &str| matches!(name, "tests" | "benches" | "examples");
        let directory = self.file.parent().unwrap_or(Path::new(""));
        directory.iter().any(|part| part.to_str().is_some_and(is_test_name))
            || self.file.file_name().is_some_and(|name| name == "tests.rs")
            || self.package == "isobar-testkit"
    }

    /// Whether a line is compiled for tests only.
    pub(super) fn is_test(&self, line: usize) -> bool {
        self.is_test_file() || self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// Whether the file is the root of a library or of a program.
    pub(super) fn is_root(&self) -> bool {
        self.file.ends_with("src/lib.rs") || self.file.ends_with("src/main.rs")
    }

    /// Lines that are not compiled for tests only.
    pub(super) fn length(&self) -> usize {
        let tests: usize = self
            .test_lines
            .iter()
            .map(|lines| lines.end() + 1 - lines.start())
            .sum();
        self.text.lines().count().saturating_sub(tests)
    }

    /// A finding in this file.
    pub(super) fn finding(&self, rule: Rule, line: usize, what: impl Into<String>) -> Finding {
        Finding {
            file: self.file.clone(),
            line,
            rule,
            what: what.into(),
        }
    }

    /// Whether a comment at the line, or in the comments and attributes right above it, excuses the rule with a reason.
    pub(super) fn allows(&self, rule: Rule, line: usize) -> bool {
        let excuse = format!("tidy: allow({}):", rule.id());
        let lines: Vec<_> = self.text.lines().collect();
        let is_above = |text: &str| text.starts_with("//") || text.starts_with("#[");
        let mut first = line;
        while first > 1 && lines.get(first - 2).is_some_and(|text| is_above(text.trim_start())) {
            first -= 1;
        }
        self.comments
            .iter()
            .filter(|comment| (first..=line).contains(&comment.line))
            .any(|comment| {
                comment
                    .text
                    .split_once(&excuse)
                    .is_some_and(|(_, reason)| !reason.trim().is_empty())
            })
    }
}

/// Finds the items under `#[cfg(test)]`.
struct TestItems(Vec<RangeInclusive<usize>>);

impl<'ast> Visit<'ast> for TestItems {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if attributes(item).iter().any(is_cfg_test) {
            self.0.push(item.span().start().line..=item.span().end().line);
        } else {
            syn::visit::visit_item(self, item);
        }
    }
}

/// Whether an attribute is `cfg(test)`, alone or as a part of `all(…)`.
pub(super) fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    let mut found = false;
    if attribute.path().is_ident("cfg") {
        let _ = attribute.parse_nested_meta(|meta| {
            found |= meta.path.is_ident("test");
            if meta.path.is_ident("all") {
                return meta.parse_nested_meta(|part| {
                    found |= part.path.is_ident("test");
                    Ok(())
                });
            }
            Ok(())
        });
    }
    found
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::ExternCrate(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
