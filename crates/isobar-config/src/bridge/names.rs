//! What is a listener or route called that was given no name?

use std::collections::HashMap;

use isobar_route::{HostPattern, PathPattern};

use crate::document::{Label, Listener, Match, Route};

/// Bytes of a name made from a rule; leaves room for a number after it.
const MAX_RULE_BYTES: usize = 200;

/// The name of a listener: its own, or one made from its position.
pub(crate) fn listener_name(listener: &Listener, index: usize) -> Option<Label> {
    listener
        .name
        .clone()
        .or_else(|| Label::new(&format!("listener-{}", index + 1)))
}

/// The names of routes: their own, or made from their rules, with a number where that name is taken.
pub(crate) fn route_names(routes: &[Route]) -> Vec<Option<Label>> {
    let mut taken: HashMap<String, usize> = HashMap::with_capacity(routes.len());
    for name in routes.iter().filter_map(|route| route.name.as_ref()) {
        taken.insert(name.as_str().to_owned(), 1);
    }
    routes
        .iter()
        .map(|route| {
            route
                .name
                .clone()
                .or_else(|| Label::new(&unique(made(&route.r#match), &mut taken)))
        })
        .collect()
}

fn made(rule: &Match) -> String {
    let Match { host, path } = rule;
    let mut text = match (host, path) {
        (HostPattern::Any, PathPattern::Any) => "default".to_owned(),
        (HostPattern::Any, path) => path.to_string(),
        (host, PathPattern::Any) => host.to_string(),
        (host, path) => format!("{host}{path}"),
    };
    text.truncate(text.floor_char_boundary(MAX_RULE_BYTES));
    text
}

fn unique(name: String, taken: &mut HashMap<String, usize>) -> String {
    let Some(count) = taken.get_mut(&name) else {
        taken.insert(name.clone(), 1);
        return name;
    };
    let mut number = *count;
    loop {
        number += 1;
        let numbered = format!("{name}-{number}");
        if !taken.contains_key(&numbered) {
            taken.insert(numbered.clone(), 1);
            taken.insert(name, number);
            return numbered;
        }
    }
}
