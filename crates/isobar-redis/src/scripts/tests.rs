//! Do the scripts keep books that are right, in a real Redis?

use isobar_balance::Moment;
use isobar_limit::{Exchange, Key, Rate, Terms};
use isobar_testkit::{Redis, eventually};
use redis::Connection;

use super::*;

/// A Redis and what is asked of it.
struct Asked {
    redis: Redis,
    connection: Connection,
    scripts: Scripts,
    terms: Terms,
}

impl Asked {
    fn of(kind: SharedKind, units: u64, period: Duration) -> Self {
        let redis = Redis::start(&[]);
        let address = redis.address();
        let client = redis::Client::open((address.ip().to_string(), address.port())).unwrap();
        Self {
            connection: client.get_connection().unwrap(),
            redis,
            scripts: Scripts::new(),
            terms: Terms {
                kind,
                rate: Rate::new(units, period),
                burst: units,
            },
        }
    }

    fn ask(&mut self, want: u64, owed: u64, (give_back, mark): (u64, u64)) -> StoreReply {
        let errand = Errand {
            key: Key::new(1),
            name: [7; 16],
            terms: self.terms,
            exchange: Exchange {
                want,
                owed,
                give_back,
                mark,
            },
            asked: Moment::new(0),
        };
        let call = Call {
            prefix: "isobar:test:",
            errand: &errand,
        };
        let by_hash = self
            .scripts
            .exchange(call, By::Hash)
            .query::<Answer>(&mut self.connection);
        reply(match is_unknown(&by_hash) {
            false => by_hash.unwrap(),
            true => self
                .scripts
                .exchange(call, By::Text)
                .query(&mut self.connection)
                .unwrap(),
        })
    }

    fn given(&mut self, want: u64) -> u64 {
        self.ask(want, 0, (0, 0)).units
    }
}

const DAY: Duration = Duration::from_hours(24);
const NOTHING: (u64, u64) = (0, 0);

#[test]
fn keys_are_short_and_plain() {
    let key = String::from_utf8(key("isobar:login:", "b", &[0xA5; 16])).unwrap();
    assert_eq!(key, format!("isobar:login:b:{}", "a5".repeat(16)));
}

#[test]
fn answers_say_when_there_is_more() {
    let said = reply((3, 0, 1_500, -1, 7));
    let expected = (3, Some(Duration::from_micros(1_500)), None, 7);
    assert_eq!((said.units, said.more_in, said.lasts, said.mark), expected);
    let said = reply((3, 4, 0, 20, 7));
    assert_eq!((said.more_in, said.lasts), (None, Some(Duration::from_micros(20))));
}

#[test]
fn no_more_is_given_than_there_is() {
    for kind in [
        SharedKind::Gcra,
        SharedKind::TokenBucket,
        SharedKind::FixedWindow,
        SharedKind::SlidingWindow,
    ] {
        let mut asked = Asked::of(kind, 10, DAY);
        assert_eq!(
            (asked.given(4), asked.given(4), asked.given(4), asked.given(4)),
            (4, 4, 2, 0),
            "{kind:?}"
        );
        let dry = asked.ask(1, 0, NOTHING);
        assert!(
            dry.more_in.is_some_and(|time| time > Duration::ZERO && time <= 2 * DAY),
            "{dry:?}"
        );
        assert_eq!((dry.units, dry.left), (0, 0));
    }
}

#[test]
fn what_is_owed_counts_whether_it_fits_or_not() {
    for kind in [SharedKind::Gcra, SharedKind::FixedWindow, SharedKind::SlidingWindow] {
        let mut asked = Asked::of(kind, 10, DAY);
        let said = asked.ask(5, 12, NOTHING);
        assert_eq!((said.units, said.left), (0, 0), "{kind:?}");
        if kind == SharedKind::Gcra {
            // Three units have to flow out until there is one: a day has ten.
            let expected = DAY * 3 / 10;
            let more_in = said.more_in.unwrap();
            assert!(
                more_in <= expected && more_in > expected - Duration::from_secs(60),
                "{more_in:?}"
            );
        }
    }
}

#[test]
fn what_is_given_back_is_there_again() {
    for kind in [SharedKind::Gcra, SharedKind::FixedWindow, SharedKind::SlidingWindow] {
        let mut asked = Asked::of(kind, 10, DAY);
        let first = asked.ask(8, 0, NOTHING);
        assert_eq!(asked.ask(0, 0, (5, first.mark)).left, 7, "{kind:?}");
        assert_eq!(asked.given(10), 7, "{kind:?}");
        // What another window had, or what has flowed out long ago, is not given twice.
        let late = if kind == SharedKind::Gcra { 1 } else { first.mark - 2 };
        assert_eq!(asked.ask(10, 0, (5, late)).units, 0, "{kind:?}");
    }
}

#[test]
fn what_flows_out_is_there_again() {
    let mut asked = Asked::of(SharedKind::Gcra, 100, Duration::from_secs(1));
    assert_eq!(asked.given(100), 100);
    let mut given = 0;
    let began = std::time::Instant::now();
    eventually("fifty came", || {
        given += asked.given(3);
        given >= 50
    });
    let due = began.elapsed().as_secs_f64() * 100.0;
    assert!(
        f64::from(u32::try_from(given).unwrap()) <= due + 1.0,
        "{given} of {due}"
    );
}

#[test]
fn windows_end() {
    for kind in [SharedKind::FixedWindow, SharedKind::SlidingWindow] {
        let mut asked = Asked::of(kind, 10, Duration::from_millis(300));
        let first = asked.ask(10, 0, NOTHING);
        assert!(asked.ask(1, 0, NOTHING).more_in.is_some(), "{kind:?}");
        if kind == SharedKind::FixedWindow {
            assert!(
                first.lasts.is_some_and(|time| time <= Duration::from_millis(300)),
                "{first:?}"
            );
        }
        eventually("there is more in another window", || asked.given(1) == 1);
        eventually("nothing is kept", || asked.redis.command(&["dbsize"]) == "0");
    }
}

#[test]
fn instances_are_counted() {
    let mut asked = Asked::of(SharedKind::Gcra, 1, DAY);
    let mut says = |id: &str, stays: u64| {
        let command = asked
            .scripts
            .instances(("isobar:", id), Duration::from_millis(stays), By::Text);
        command.query::<u32>(&mut asked.connection).unwrap()
    };
    assert_eq!((says("a", 5_000), says("a", 5_000), says("b", 5_000)), (1, 1, 2));
    assert_eq!(says("a", 0), 1, "it has left");
    assert_eq!(says("c", 50), 2);
    eventually("who says nothing more is forgotten", || says("b", 5_000) == 1);
}
