//! What does a request take that says what it costs, or whose answer does?

use isobar_testkit::Origin;

use crate::kit::{Limited, ask, decisions_left, limited, to};

/// A server that says what a request has cost, where the request has told it.
fn accountant() -> Origin {
    Origin::start(|exchange| {
        let actual = exchange.request.fields.value("x-cost-here").map(str::to_owned);
        match actual {
            Some(actual) => exchange.reply(200, &[("X-Actual-Cost", &actual)], b"done"),
            None => exchange.reply(200, &[], b"done"),
        }
    })
}

/// What is left of a limit after a request with these lines.
fn left(limited: &Limited, path: &str, lines: &str) -> (u16, Option<u64>) {
    let answer = ask(&mut limited.client(), path, lines);
    (answer.status, decisions_left(&answer))
}

#[test]
fn a_request_takes_what_it_says_within_bounds() {
    for (source, said) in [("header: x-cost", true), ("query: cost", false)] {
        let limits = format!("day: {{ rate: 100/day, headers: true, cost: {{ {source}, default: 3, max: 40 }} }}");
        let limited = limited(&limits, "[day]");
        let left = |cost: &str| match said {
            true => left(&limited, "/", &format!("x-cost: {cost}\r\n")),
            false => left(&limited, &format!("/?a=1&cost={cost}"), ""),
        };
        assert_eq!(left("10"), (200, Some(90)));
        assert_eq!(left("0"), (200, Some(90)));
        // What is no number costs what is usual, and what is more than there may be, that.
        assert_eq!(left("-5"), (200, Some(87)));
        assert_eq!(left("many"), (200, Some(84)));
        assert_eq!(left("1000000000000000000000"), (200, Some(44)));
        assert_eq!(left("44"), (200, Some(4)));
        assert_eq!(left("5"), (429, Some(4)));
        assert_eq!(left("4"), (200, Some(0)));
        assert_eq!(limited.origin.request_count(), 7);
    }
}

#[test]
fn what_was_taken_is_corrected_to_what_the_answer_says() {
    let limits = "day: { rate: 100/day, headers: true, cost: { header: x-cost, default: 10, settle: { header: x-actual-cost } } }";
    for algorithm in ["gcra", "token_bucket", "fixed_window", "sliding_window", "sliding_log"] {
        let limits = limits.replace("rate:", &format!("algorithm: {algorithm}, max_keys: 1000, rate:"));
        let limited = to(accountant(), &limits, "[day]");
        let answer = ask(&mut limited.client(), "/", "x-cost: 60\r\nx-cost-here: 20\r\n");
        assert_eq!(
            (answer.status, answer.fields.value("x-actual-cost")),
            (200, None),
            "{algorithm}"
        );
        // The estimate was told then; 40 came back since.
        assert_eq!(decisions_left(&answer), Some(40), "{algorithm}");
        assert_eq!(left(&limited, "/", "x-cost: 0\r\n"), (200, Some(80)), "{algorithm}");
        // It cost more than was said; then it is owed.
        assert_eq!(
            left(&limited, "/", "x-cost: 10\r\nx-cost-here: 75\r\n"),
            (200, Some(70)),
            "{algorithm}"
        );
        assert_eq!(left(&limited, "/", "x-cost: 0\r\n"), (200, Some(5)), "{algorithm}");
        // An answer that does not say it leaves what was taken.
        assert_eq!(
            left(&limited, "/", "x-cost: 5\r\nx-cost-here: much\r\n"),
            (200, Some(0)),
            "{algorithm}"
        );
        assert_eq!(left(&limited, "/", "x-cost: 1\r\n").0, 429, "{algorithm}");
    }
}

#[test]
fn an_answer_costs_what_it_is_long() {
    let origin = Origin::start(|exchange| {
        let length: usize = exchange.request.fields.value("x-length").unwrap().parse().unwrap();
        exchange.reply(200, &[], &vec![b'x'; length])
    });
    let limits = "day: { rate: 100/day, headers: true, cost: { settle: { bytes: 1KiB } } }";
    let limited = to(origin, limits, "[day]");
    assert_eq!(left(&limited, "/", "x-length: 10240\r\n"), (200, Some(99)));
    assert_eq!(left(&limited, "/", "x-length: 1\r\n"), (200, Some(89)));
    assert_eq!(left(&limited, "/", "x-length: 0\r\n"), (200, Some(88)));
    assert_eq!(left(&limited, "/", "x-length: 0\r\n"), (200, Some(87)));
}
