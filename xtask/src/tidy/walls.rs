//! Does a file see something that its crate is a wall against?

use syn::spanned::Spanned;
use syn::visit::Visit;

use super::architecture::{Layer, crate_named};
use super::source::{Source, is_cfg_test};
use super::{Finding, Rule};

/// Beginnings of paths that exist on the machine of one person.
// tidy: allow(machine-path): the table of the rule itself.
const MACHINE_PATHS: &[&str] = &["/root/", "/work/", "/tmp/", "/home/"];

/// Judges what one file sees.
pub(super) fn check(source: &Source, syntax: &syn::File) -> Vec<Finding> {
    let mut findings = Vec::new();
    if source.is_root() {
        findings.extend(check_root(source, syntax));
    }
    findings.extend(check_sockets(source, syntax));
    findings.extend(check_machine_paths(source));
    findings
}

/// Where `unsafe` is in more than one file of the crate that may have it.
pub(super) fn unsafe_files(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut first: Option<&Source> = None;
    for source in sources
        .iter()
        .filter(|source| crate_named(&source.package).is_some_and(|it| it.has_unsafe))
    {
        let Some(line) = source.syntax.as_ref().and_then(|syntax| unsafe_line(source, syntax)) else {
            continue;
        };
        match first {
            None => first = Some(source),
            Some(other) => {
                let what = format!("`unsafe`, which is already in {}", other.file.display());
                findings.push(source.finding(Rule::OneUnsafeFile, line, what));
            }
        }
    }
    findings
}

fn check_root(source: &Source, syntax: &syn::File) -> Vec<Finding> {
    let Some(listed) = crate_named(&source.package) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let has = |name: &str, argument: &str| {
        syntax
            .attrs
            .iter()
            .any(|attribute| is_attribute(attribute, name, argument))
    };
    if listed.layer == Layer::Pure {
        if !has("no_std", "") {
            findings.push(source.finding(Rule::NoStd, 1, "no `#![no_std]`"));
        }
        for item in &syntax.items {
            if let syn::Item::ExternCrate(item) = item
                && item.ident == "std"
                && !item.attrs.iter().any(is_cfg_test)
            {
                let line = item.extern_token.span().start().line;
                findings.push(source.finding(Rule::NoStd, line, "`extern crate std` outside of tests"));
            }
        }
    }
    if !listed.has_unsafe && !has("forbid", "unsafe_code") {
        findings.push(source.finding(Rule::ForbidUnsafe, 1, "no `#![forbid(unsafe_code)]`"));
    }
    findings
}

fn is_attribute(attribute: &syn::Attribute, name: &str, argument: &str) -> bool {
    attribute.path().is_ident(name)
        && match &attribute.meta {
            syn::Meta::Path(_) => argument.is_empty(),
            syn::Meta::List(list) => list.tokens.to_string().split(',').any(|part| part.trim() == argument),
            syn::Meta::NameValue(_) => false,
        }
}

fn check_machine_paths(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().enumerate().map(|(index, text)| (index + 1, text));
    lines
        .filter(|&(line, _)| !source.is_test(line))
        .filter_map(|(line, text)| {
            let path = MACHINE_PATHS.iter().find(|path| text.contains(**path))?;
            Some(source.finding(Rule::MachinePath, line, format!("a path below {path}")))
        })
        .collect()
}

fn check_sockets(source: &Source, syntax: &syn::File) -> Vec<Finding> {
    if crate_named(&source.package).is_none_or(|listed| listed.sockets.is_some()) {
        return Vec::new();
    }
    let mut sockets = Sockets(Vec::new());
    sockets.visit_file(syntax);
    sockets.0.retain(|&line| !source.is_test(line));
    sockets
        .0
        .into_iter()
        .map(|line| source.finding(Rule::Sockets, line, "`tokio::net`"))
        .collect()
}

/// Finds the lines that name `tokio::net`.
struct Sockets(Vec<usize>);

impl<'ast> Visit<'ast> for Sockets {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut segments = path.segments.iter();
        let is_next = |segment: Option<&syn::PathSegment>, name| segment.is_some_and(|segment| segment.ident == name);
        if is_next(segments.next(), "tokio") && is_next(segments.next(), "net") {
            self.0.push(path.span().start().line);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_use_path(&mut self, path: &'ast syn::UsePath) {
        if path.ident == "tokio" && names_net(&path.tree) {
            self.0.push(path.ident.span().start().line);
        }
    }
}

fn names_net(tree: &syn::UseTree) -> bool {
    match tree {
        syn::UseTree::Path(path) => path.ident == "net",
        syn::UseTree::Name(name) => name.ident == "net",
        syn::UseTree::Rename(rename) => rename.ident == "net",
        syn::UseTree::Group(group) => group.items.iter().any(names_net),
        syn::UseTree::Glob(_) => true,
    }
}

/// The first line of a file that is `unsafe` outside of tests.
fn unsafe_line(source: &Source, syntax: &syn::File) -> Option<usize> {
    let mut found = Unsafe(Vec::new());
    found.visit_file(syntax);
    found.0.into_iter().find(|&line| !source.is_test(line))
}

struct Unsafe(Vec<usize>);

impl<'ast> Visit<'ast> for Unsafe {
    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.0.push(block.unsafe_token.span().start().line);
        syn::visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.0
            .extend(item.unsafety.as_ref().map(|token| token.span().start().line));
        syn::visit::visit_item_impl(self, item);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.0
            .extend(signature.unsafety.as_ref().map(|token| token.span().start().line));
        syn::visit::visit_signature(self, signature);
    }
}
