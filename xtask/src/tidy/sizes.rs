//! Can a reader take it in: files, functions and the sentence a module opens with.

use syn::spanned::Spanned;
use syn::visit::Visit;

use super::source::Source;
use super::{Finding, Rule};

/// Lines past which a file is a finding; tests beside the code are not counted.
const FILE_LINES: usize = 600;

/// Lines to aim at.
const FILE_LINES_AIM: usize = 300;

/// Lines past which a function is a finding.
const FUNCTION_LINES: usize = 70;

/// Judges lengths and the header of one file.
pub(super) fn check(source: &Source, syntax: &syn::File) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !source.text.starts_with("//!") {
        findings.push(source.finding(Rule::ModuleHeader, 1, "the first line is not `//! …`"));
    }
    let length = source.length();
    if length > FILE_LINES && !source.is_test_file() {
        findings.push(source.finding(Rule::FileLength, 1, format!("{length} lines without tests")));
    }
    let mut functions = Functions { source, findings };
    functions.visit_file(syntax);
    functions.findings
}

/// Prints the files that are longer than what is aimed at.
pub(super) fn print_long_files(sources: &[Source]) {
    let long = |source: &&Source| !source.is_test_file() && source.length() > FILE_LINES_AIM;
    for source in sources.iter().filter(long) {
        println!(
            "long: {}: {} lines, the aim is {FILE_LINES_AIM}",
            source.file.display(),
            source.length()
        );
    }
}

struct Functions<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
}

impl Functions<'_> {
    fn measure(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.span().start().line;
        let lines = block.span().end().line + 1 - first;
        if lines > FUNCTION_LINES && !self.source.is_test(first) {
            let what = format!("fn {} has {lines} lines, at most {FUNCTION_LINES}", signature.ident);
            self.findings
                .push(self.source.finding(Rule::FunctionLength, first, what));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.measure(&function.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, function);
    }
}
