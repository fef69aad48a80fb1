//! Does a name say what is there, and does every promise of work have an owner?

use syn::visit::Visit;

use super::source::Source;
use super::{Finding, Rule};

/// Names of modules that say nothing.
const VAGUE: &[&str] = &[
    "core", "common", "util", "utils", "manager", "managers", "helper", "helpers", "misc",
];

/// Words that promise work.
const PROMISES: &[&str] = &["TODO", "FIXME", "XXX"];

/// Judges the names of the file, of its modules and functions, and its comments.
pub(super) fn check(source: &Source, syntax: &syn::File) -> Vec<Finding> {
    let mut findings = check_path(source);
    findings.extend(check_promises(source));
    let mut names = Names { source, findings };
    names.visit_file(syntax);
    names.findings
}

fn check_path(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if source.file.file_name().is_some_and(|name| name == "mod.rs") {
        findings.push(source.finding(Rule::ModFile, 1, "the file is named mod.rs"));
    }
    let stem = source.file.with_extension("");
    for part in stem
        .iter()
        .filter_map(|part| part.to_str())
        .filter(|part| VAGUE.contains(part))
    {
        findings.push(source.finding(Rule::VagueName, 1, format!("`{part}` is part of the path")));
    }
    findings
}

fn check_promises(source: &Source) -> Vec<Finding> {
    let unowned = |text: &str| {
        let words = text
            .match_indices(|c: char| c.is_ascii_uppercase())
            .filter_map(|(at, _)| {
                let before = text[..at].chars().next_back();
                let starts = !before.is_some_and(|c| c.is_alphanumeric() || c == '_');
                let word = PROMISES.iter().find(|word| starts && text[at..].starts_with(**word))?;
                Some((*word, &text[at + word.len()..]))
            });
        let mut promises = words.filter(|(_, after)| !after.starts_with(|c: char| c.is_alphanumeric() || c == '_'));
        promises
            .find(|(_, after)| !after.starts_with('(') || after.starts_with("()"))
            .map(|(word, _)| word)
    };
    let comments = source.comments.iter();
    comments
        .filter_map(|comment| {
            let word = unowned(&comment.text)?;
            Some(source.finding(Rule::OwnedTodo, comment.line, format!("{word} without an owner")))
        })
        .collect()
}

struct Names<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let name = module.ident.to_string();
        // A module in a file of its own is judged by the name of that file.
        if module.content.is_some() && VAGUE.contains(&name.as_str()) {
            let line = module.ident.span().start().line;
            self.findings
                .push(self.source.finding(Rule::VagueName, line, format!("mod {name}")));
        }
        syn::visit::visit_item_mod(self, module);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        let name = signature.ident.to_string();
        if name.starts_with("get_") {
            let line = signature.ident.span().start().line;
            self.findings
                .push(self.source.finding(Rule::GetPrefix, line, format!("fn {name}")));
        }
        syn::visit::visit_signature(self, signature);
    }
}
