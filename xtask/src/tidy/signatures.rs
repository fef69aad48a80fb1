//! Can a call of a public function be read without looking it up?
//!
//! Implementations of a trait are not judged: their shape is the trait's.

use syn::spanned::Spanned;
use syn::visit::Visit;

use super::source::{Source, is_cfg_test};
use super::{Finding, Rule};

/// Parameters past which a function is a finding; the receiver is not counted.
const PARAMETERS: usize = 4;

/// Judges the parameters of public functions, and finds tests that do not run.
pub(super) fn check(source: &Source, syntax: &syn::File) -> Vec<Finding> {
    let mut signatures = Signatures {
        source,
        findings: Vec::new(),
    };
    signatures.visit_file(syntax);
    signatures.findings
}

struct Signatures<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
}

impl Signatures<'_> {
    fn judge(&mut self, visibility: &syn::Visibility, signature: &syn::Signature) {
        let line = signature.fn_token.span().start().line;
        if !matches!(visibility, syn::Visibility::Public(_)) || self.source.is_test(line) {
            return;
        }
        let parameters = || signature.inputs.iter().filter_map(typed);
        for parameter in parameters().filter(|parameter| is_bool(&parameter.ty)) {
            let what = format!("fn {} takes a bool", signature.ident);
            self.findings.push(
                self.source
                    .finding(Rule::BooleanParameter, parameter.span().start().line, what),
            );
        }
        let count = parameters().count();
        if count > PARAMETERS {
            let what = format!("fn {} takes {count} parameters", signature.ident);
            self.findings
                .push(self.source.finding(Rule::ManyParameters, line, what));
        }
    }

    fn judge_attributes(&mut self, attributes: &[syn::Attribute], signature: &syn::Signature) {
        if attributes.iter().any(|attribute| attribute.path().is_ident("ignore")) {
            let line = signature.fn_token.span().start().line;
            let what = format!("fn {} is ignored", signature.ident);
            self.findings.push(self.source.finding(Rule::IgnoredTest, line, what));
        }
    }
}

impl<'ast> Visit<'ast> for Signatures<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.judge(&function.vis, &function.sig);
        self.judge_attributes(&function.attrs, &function.sig);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_item_impl(&mut self, implementation: &'ast syn::ItemImpl) {
        if implementation.trait_.is_none() && !implementation.attrs.iter().any(is_cfg_test) {
            for item in &implementation.items {
                if let syn::ImplItem::Fn(function) = item {
                    self.judge(&function.vis, &function.sig);
                }
            }
        }
        syn::visit::visit_item_impl(self, implementation);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        for member in &item.items {
            if let syn::TraitItem::Fn(function) = member {
                self.judge(&item.vis, &function.sig);
            }
        }
        syn::visit::visit_item_trait(self, item);
    }
}

fn typed(argument: &syn::FnArg) -> Option<&syn::PatType> {
    match argument {
        syn::FnArg::Typed(parameter) => Some(parameter),
        syn::FnArg::Receiver(_) => None,
    }
}

fn is_bool(ty: &syn::Type) -> bool {
    matches!(ty, syn::Type::Path(path) if path.path.is_ident("bool"))
}
