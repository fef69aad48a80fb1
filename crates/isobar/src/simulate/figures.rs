//! How are figures of a simulation written?

use isobar_sim::Report;

/// A column of a table of runs: its heading, its value, how that is written.
pub(super) type Column = (&'static str, fn(&Report) -> f64, fn(f64) -> String);

/// A time in nanoseconds, in milliseconds with three digits that matter.
pub(crate) fn milliseconds(nanoseconds: f64) -> String {
    let value = nanoseconds / 1e6;
    if !value.is_finite() {
        return "-".to_owned();
    }
    match value {
        _ if value >= 1e5 => format!("{:.0} s", value / 1e3),
        _ if value >= 99.95 => format!("{value:.0} ms"),
        _ if value >= 9.995 => format!("{value:.1} ms"),
        _ if value >= 0.9995 => format!("{value:.2} ms"),
        _ if value == 0.0 => "0 ms".to_owned(),
        _ => format!("{:.0} µs", value * 1e3),
    }
}

/// A round time in nanoseconds, as it stands at an axis.
pub(super) fn round_time(nanoseconds: f64) -> String {
    let in_unit = |length: f64| (nanoseconds / length * 1e6).round() / 1e6;
    match nanoseconds {
        _ if nanoseconds == 0.0 => "0".to_owned(),
        _ if nanoseconds >= 1e9 => format!("{} s", in_unit(1e9)),
        _ if nanoseconds >= 1e6 => format!("{} ms", in_unit(1e6)),
        _ => format!("{} µs", in_unit(1e3)),
    }
}

/// A part as a percentage: exact enough that one in ten thousand shows, and nothing only when it is nothing.
pub(crate) fn percent(part: f64) -> String {
    let value = part * 100.0;
    match value {
        _ if value == 0.0 => "0 %".to_owned(),
        _ if value < 0.005 => "<0.01 %".to_owned(),
        _ if value < 1.0 => format!("{value:.2} %"),
        _ => format!("{value:.1} %"),
    }
}

/// A whole number with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A length of virtual time.
pub(super) fn seconds(nanoseconds: f64) -> String {
    let value = nanoseconds / 1e9;
    match value {
        _ if value >= 7200.0 => format!("{:.1} h", value / 3600.0),
        _ if value >= 100.0 => format!("{value:.0} s"),
        _ if value >= 1.0 => format!("{value:.1} s"),
        _ => milliseconds(nanoseconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_say_enough() {
        let times = [
            (0.0, "0 ms"),
            (2.5e5, "250 µs"),
            (1.234e6, "1.23 ms"),
            (4.56e7, "45.6 ms"),
            (9.996e8, "1000 ms"),
        ];
        for (value, expected) in times {
            assert_eq!(milliseconds(value), expected);
        }
        assert_eq!(milliseconds(f64::INFINITY), "-");
        let round = [(0.0, "0"), (2e5, "200 µs"), (5e6, "5 ms"), (1.5e9, "1.5 s")];
        for (value, expected) in round {
            assert_eq!(round_time(value), expected);
        }
        let parts = [(0.0, "0 %"), (1e-6, "<0.01 %"), (0.00123, "0.12 %"), (0.5, "50.0 %")];
        for (value, expected) in parts {
            assert_eq!(percent(value), expected);
        }
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(seconds(1.5e9), "1.5 s");
        assert_eq!(seconds(9e12), "2.5 h");
    }
}
