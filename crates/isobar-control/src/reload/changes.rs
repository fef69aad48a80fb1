//! What does a reload change, in a sentence?

use isobar_plan::{LimitChange, ListenerChange, PlanDiff, UpstreamChange};

/// The changes as a clause for the log.
pub(super) fn describe(diff: &PlanDiff) -> String {
    if diff.is_empty() {
        return "nothing changed".to_owned();
    }
    let mut clauses = Vec::new();
    for (name, change) in &diff.listeners {
        let verb = match change {
            ListenerChange::Added => "added",
            ListenerChange::Removed => "removed",
            ListenerChange::Moved => "moved",
            ListenerChange::Changed => "changed",
        };
        clauses.push(format!("listener {name} {verb}"));
    }
    for (name, change) in &diff.upstreams {
        clauses.push(match change {
            UpstreamChange::Added => format!("upstream {name} added"),
            UpstreamChange::Removed => format!("upstream {name} removed"),
            UpstreamChange::Changed { added, removed } => {
                let signed = |sign: char| move |server: &isobar_plan::Name| format!("{sign}{server}");
                let servers: Vec<_> = added
                    .iter()
                    .map(signed('+'))
                    .chain(removed.iter().map(signed('-')))
                    .collect();
                let servers = if servers.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", servers.join(" "))
                };
                format!("upstream {name} changed{servers}")
            }
        });
    }
    for (name, change) in &diff.limits {
        let verb = match change {
            LimitChange::Added => "added",
            LimitChange::Removed => "removed",
            LimitChange::Restarted => "counts anew",
            LimitChange::Changed => "changed",
        };
        clauses.push(format!("limit {name} {verb}"));
    }
    if diff.stores {
        clauses.push("stores changed".to_owned());
    }
    if diff.access_log {
        clauses.push("access log changed".to_owned());
    }
    if diff.admin {
        clauses.push("admin changed".to_owned());
    }
    clauses.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_read_as_a_sentence() {
        let check = |diff: PlanDiff, expected: &str| assert_eq!(describe(&diff), expected);
        check(PlanDiff::default(), "nothing changed");
        let servers = UpstreamChange::Changed {
            added: vec!["b:1".into()],
            removed: vec!["a:1".into()],
        };
        check(
            PlanDiff {
                listeners: vec![
                    ("web".into(), ListenerChange::Changed),
                    ("old".into(), ListenerChange::Removed),
                ],
                upstreams: vec![("api".into(), servers), ("new".into(), UpstreamChange::Added)],
                limits: vec![
                    ("login".into(), LimitChange::Restarted),
                    ("per-client".into(), LimitChange::Changed),
                ],
                stores: true,
                access_log: true,
                admin: true,
            },
            "listener web changed, listener old removed, upstream api changed (+b:1 -a:1), upstream new added, \
             limit login counts anew, limit per-client changed, stores changed, access log changed, \
             admin changed",
        );
        let settings = UpstreamChange::Changed {
            added: vec![],
            removed: vec![],
        };
        check(
            PlanDiff {
                upstreams: vec![("api".into(), settings)],
                ..PlanDiff::default()
            },
            "upstream api changed",
        );
    }
}
