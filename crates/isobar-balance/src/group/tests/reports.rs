//! What a group that follows another keeps of what servers reported, and what it says of it.

use super::{Candidate, Group, Pick};
use crate::{Arrangement, Balance, Chance, Guesses, Moment, Orca, Prequal, Query, Report, ReportedLoad, ServerState};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

const NOW: Moment = Moment::new(1_000_000_000);

fn query() -> Query<'static> {
    Query {
        now: NOW,
        ..Query::default()
    }
}

fn servers(count: u32) -> Vec<Candidate> {
    let server = |slot| Candidate::new(slot, u64::from(slot), Arc::new(ServerState::new(None)));
    (0..count).map(server).collect()
}

fn report(server: &Candidate) {
    let report = Report {
        in_flight: Some(1),
        latency: None,
        load: Some(ReportedLoad {
            utilization: 0.5,
            rps: 100.0,
            eps: 0.0,
        }),
    };
    server.state.reported(&report, NOW);
}

fn pick(group: &Group, chance: &mut Chance) {
    let Pick::Server { tier, .. } = group.pick(&query(), chance) else {
        panic!("no server");
    };
    let _probed = group.probes(tier, &query(), chance);
}

fn counted(balance: Balance) -> (Arrangement, Arc<Guesses>) {
    let guesses = Arc::new(Guesses::default());
    let arrangement = Arrangement {
        guesses: Some(Arc::clone(&guesses)),
        ..Arrangement::new(balance)
    };
    (arrangement, guesses)
}

/// A reload in the middle of everything: the next request finds the candidates of the last, wherever they stand now.
#[test]
fn candidates_outlive_a_reload() {
    let mut servers = servers(20);
    servers.iter().for_each(report);
    let (arrangement, guesses) = counted(Balance::Prequal(Prequal::DEFAULT));
    let group = Group::new(arrangement.clone(), servers.clone(), 1);
    let mut chance = Chance::new(5);
    (0..50).for_each(|_| pick(&group, &mut chance));
    let (before, guessed) = (group.candidates(), guesses.number());
    assert!(
        before >= 5 && guessed < 5,
        "seed 5: {before} candidates, {guessed} guesses"
    );
    servers.reverse();
    let next = group.next(arrangement.clone(), servers.clone(), 2);
    assert_eq!(next.candidates(), before);
    (0..50).for_each(|_| pick(&next, &mut chance));
    assert_eq!(guesses.number(), guessed, "seed 5");
    servers.truncate(3);
    assert!(next.next(arrangement, servers, 3).candidates() <= 3);
    let least = next.next(Balance::LeastConnections, self::servers(3), 4);
    assert_eq!((least.candidates(), least.is_informed(NOW)), (0, None));
}

#[test]
fn whether_there_are_reports_is_known() {
    let orca = Orca {
        blackout: Duration::ZERO,
        ..Orca::DEFAULT
    };
    for balance in [
        Balance::Prequal(Prequal::DEFAULT),
        Balance::OrcaWeightedRoundRobin(orca),
    ] {
        let check = |count, reporting: usize, expected, guessed: bool| {
            let servers = servers(count);
            servers.iter().take(reporting).for_each(report);
            let (arrangement, guesses) = counted(balance);
            let group = Group::new(arrangement, servers, 1);
            let mut chance = Chance::new(7);
            (0..200).for_each(|_| pick(&group, &mut chance));
            let context = std::format!("{balance}, {reporting} of {count}");
            assert_eq!(group.is_informed(NOW), Some(expected), "{context}");
            assert_eq!(guesses.number() > 100, guessed, "{context}: {}", guesses.number());
        };
        check(4, 0, false, true);
        check(4, 1, false, true);
        check(4, 4, true, false);
        check(1, 0, false, false);
        check(1, 1, true, false);
    }
    let none = Group::new(Balance::Prequal(Prequal::DEFAULT), Vec::new(), 1);
    assert_eq!(none.is_informed(NOW), None);
}
