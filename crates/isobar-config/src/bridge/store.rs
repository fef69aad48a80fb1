//! Through what do instances share limits?

use isobar_plan::{LeaseRules, Secret, ServerAddress, SharedLimit, StoreLayout, StoreLogin, shared_terms};

use crate::document::{Label, Limit, Named, Store, StoreMode, StoreTls};
use crate::problem::{Path, Problem, Problems};

pub(super) fn stores(written: &Named<Label, Store>, problems: &mut Problems) -> Vec<isobar_plan::Store> {
    let root = Path::ROOT.key("stores");
    let store = |(name, written): &(Label, Store)| one(name, written, root.key(name.as_str()), problems);
    written.iter().map(store).collect()
}

fn one(name: &Label, written: &Store, at: Path<'_>, problems: &mut Problems) -> isobar_plan::Store {
    let Store {
        addresses,
        mode,
        service,
        user,
        password_file,
        tls,
        database,
        prefix,
        timeout,
        interval,
        instances,
        ahead,
        lease_ttl,
        advance,
    } = written;
    check(written, at, problems);
    let address = |address: &ServerAddress| match address {
        ServerAddress::Socket(address) => (address.ip().to_string().into(), address.port()),
        ServerAddress::Name(name, port) => (name.clone(), *port),
    };
    isobar_plan::Store {
        name: name.as_str().into(),
        layout: match mode {
            StoreMode::Single => StoreLayout::Single,
            StoreMode::Sentinel => StoreLayout::Sentinel {
                service: service.as_ref().map(Label::as_str).unwrap_or_default().into(),
            },
            StoreMode::Cluster => StoreLayout::Cluster,
        },
        addresses: addresses.0.iter().map(|target| address(target.address())).collect(),
        login: password_file.as_ref().map(|file| StoreLogin {
            user: user.as_ref().map(|user| user.as_str().into()),
            file: file.as_str().into(),
            password: Secret(Box::default()),
        }),
        tls: tls.as_ref().map(self::tls),
        database: u16::try_from(database.value()).unwrap_or(0),
        prefix: prefix.as_str().into(),
        timeout: timeout.duration(),
        interval: interval.duration(),
        instances: instances.value(),
        leases: LeaseRules {
            ahead: ahead.duration(),
            ttl: lease_ttl.duration(),
            advance: advance.value(),
        },
    }
}

fn tls(written: &StoreTls) -> isobar_plan::StoreTls {
    let StoreTls { ca } = written;
    isobar_plan::StoreTls {
        ca: ca.as_ref().map(|file| file.as_str().into()),
        pem: [].into(),
    }
}

fn check(written: &Store, at: Path<'_>, problems: &mut Problems) {
    if written.addresses.0.is_empty() {
        let problem = Problem::error(at.key("addresses"), "a store has one address at least");
        problems.push(problem.help("addresses: [127.0.0.1:6379]"));
    }
    match (written.mode, &written.service) {
        (StoreMode::Sentinel, None) => {
            let problem = Problem::error(at.key("service"), "the key `service` is missing");
            problems.push(
                problem
                    .on_key()
                    .help("write what the sentinels call it, as in `service: mymaster`"),
            );
        }
        (StoreMode::Single | StoreMode::Cluster, Some(_)) => {
            let problem = Problem::error(at.key("service"), "`service` is for `mode: sentinel`");
            problems.push(problem.on_key().needs(at.key("mode")));
        }
        _ => {}
    }
    if written.mode == StoreMode::Cluster && written.database.value() > 0 {
        let problem = Problem::error(at.key("database"), "a cluster has only the database 0");
        problems.push(problem.needs(at.key("mode")));
    }
    if written.interval > written.ahead {
        let problem = Problem::error(at.key("interval"), "leases would be used up before the next batch");
        problems.push(
            problem
                .needs(at.key("ahead"))
                .help("`interval` is at most as long as `ahead`"),
        );
    }
    if written.user.is_some() && written.password_file.is_none() {
        let problem = Problem::error(at.key("user"), "there is no password for this user");
        problems.push(problem.help("write `password_file` with the file in which it is"));
    }
}

/// Has limits shared that are written so; *returns* which stores are used.
pub(super) fn share(
    (written, limits): (&Named<Label, Limit>, &mut [isobar_plan::Limit]),
    stores: &[isobar_plan::Store],
    problems: &mut Problems,
) -> Vec<bool> {
    let root = Path::ROOT.key("limits");
    let mut used = vec![false; stores.len()];
    for ((name, written), limit) in written.iter().zip(limits) {
        let Some(through) = &written.shared.0 else { continue };
        let written_at = root.key(name.as_str());
        let at = written_at.key("shared");
        let counting = &mut limit.counting;
        if shared_terms(counting.kind, counting.pace).is_none() {
            let message = match counting.kind {
                isobar_plan::LimitKind::Concurrency => "requests in flight are counted by each instance alone",
                isobar_plan::LimitKind::SlidingLog { .. } => "when each request came is known to one instance alone",
                isobar_plan::LimitKind::Bandwidth { .. } => "bytes are counted by each instance alone",
                _ => {
                    "a limit with `delay` is kept by each instance alone: who waits for their turn is not known elsewhere"
                }
            };
            problems.push(Problem::error(at, message).on_key());
            continue;
        }
        if counting.costs.as_ref().is_some_and(|costs| costs.settle.is_some()) {
            let message = "what an answer corrects is counted by each instance alone";
            let cost = written_at.key("cost");
            problems.push(Problem::error(at, message).on_key().needs(cost.key("settle")));
            continue;
        }
        let position = match through.store() {
            None => (stores.len() == 1).then_some(0),
            Some(name) => stores.iter().position(|store| *store.name == *name.as_str()),
        };
        let Some((store, used)) = position.and_then(|position| stores.get(position).zip(used.get_mut(position))) else {
            problems.push(no_store(through.store(), stores, at));
            continue;
        };
        *used = true;
        counting.shared = Some(SharedLimit {
            store: store.name.clone(),
            leases: store.leases,
            on_loss: written.on_loss,
        });
    }
    used
}

fn no_store(name: Option<&Label>, stores: &[isobar_plan::Store], at: Path<'_>) -> Problem {
    let message = match (name, stores.len()) {
        (Some(name), _) => format!("there is no store `{name}`"),
        (None, 0) => "there is no store to share it through".to_owned(),
        (None, count) => format!("there are {count} stores: which of them?"),
    };
    let problem = Problem::error(at, message).needs(Path::ROOT.key("stores"));
    match (name, stores) {
        (_, []) => {
            let name = name.map_or("main", Label::as_str);
            problem.help(format!("stores: {{ {name}: {{ addresses: [127.0.0.1:6379] }} }}"))
        }
        (Some(name), _) => {
            let names = stores.iter().map(|store| &*store.name);
            problem.help(crate::setting::help_for_word(name.as_str(), "stores", names))
        }
        (None, _) => problem.help("write the name of one"),
    }
}

/// Warns of stores that no limit names.
pub(super) fn unused(written: &Named<Label, Store>, used: &[bool], problems: &mut Problems) {
    let root = Path::ROOT.key("stores");
    for ((name, _), _) in written.iter().zip(used).filter(|(_, used)| !**used) {
        let message = format!("no limit is shared through the store `{name}`");
        problems.push(Problem::warning(root.key(name.as_str()), message).on_key());
    }
}
