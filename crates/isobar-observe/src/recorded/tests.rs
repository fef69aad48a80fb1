//! Is what was written read again, what others write too, and nothing else?

use core::time::Duration;
use std::string::{String, ToString as _};
use std::vec::Vec;

use proptest::prelude::*;

use super::{Column, Entry, Keys, LineFormat, Pattern, Told, Zone, read_time};
use crate::WallTime;
use crate::access::{Field, Record, Template};

/// What a line says of some columns, `-` for none and `?` for unknown.
fn read(format: &LineFormat, line: &[u8], columns: &[&str]) -> Option<Vec<String>> {
    let mut entry = Entry::default();
    format.read(line, &mut entry).then(|| {
        let told = |name: &&str| {
            let place = format.columns().find(&Column::of(name).unwrap());
            match place.map_or(Told::Unknown, |place| entry.told(place)) {
                Told::Unknown => "?".to_string(),
                Told::Absent => "-".to_string(),
                Told::Value(value) => String::from_utf8_lossy(value).into_owned(),
            }
        };
        columns.iter().map(told).collect()
    })
}

#[track_caller]
fn check(format: &LineFormat, line: &str, columns: &[&str], expected: Option<&[&str]>) {
    let found = read(format, line.as_bytes(), columns);
    let expected = expected.map(|expected| expected.iter().map(|text| (*text).to_string()).collect());
    assert_eq!(found, expected, "{line}");
}

const SHOWN: &[&str] = &["client", "user", "time_clf", "request", "status", "user_agent"];

#[test]
fn combined_and_common() {
    let combined = LineFormat::Pattern(Pattern::combined());
    let of_combined = |line, expected| check(&combined, line, SHOWN, expected);
    of_combined(
        r#"192.0.2.7 - - [10/Oct/2000:13:55:36 -0700] "GET /a?b HTTP/1.1" 200 12 "-" "curl/8 \"x\" \x41""#,
        Some(&[
            "192.0.2.7",
            "-",
            "10/Oct/2000:13:55:36 -0700",
            "GET /a?b HTTP/1.1",
            "200",
            "curl/8 \"x\" A",
        ]),
    );
    of_combined(
        r#"::1 - a b [10/Oct/2000:13:55:36 +0000] "-" 400 - "" "x" 0.003 more"#,
        Some(&["::1", "a b", "10/Oct/2000:13:55:36 +0000", "-", "400", "x"]),
    );
    of_combined(
        r#"192.0.2.7 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 12"#,
        None,
    );
    of_combined("", None);
    let common = LineFormat::Pattern(Pattern::common());
    let line = r#"192.0.2.7 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 12"#;
    // The last value of a line without anything behind it ends with the line.
    check(&common, line, &["status", "user_agent"], Some(&["200", "?"]));
    let vhost = LineFormat::Pattern(Pattern::vhost_combined());
    let line = r#"a.example:80 192.0.2.7 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 12 "-" "-""#;
    check(&vhost, line, &["host", "client"], Some(&["a.example:80", "192.0.2.7"]));
}

#[test]
fn templates_are_read_backwards_or_explained() {
    let pattern = |template| Pattern::compile(template).map(LineFormat::Pattern);
    let format = pattern("{client}|{header:X-User}|{cookie:s}|{-}|{duration_s}{{}}").unwrap();
    check(
        &format,
        "192.0.2.7|ann|-|anything|0.25{}",
        &["client", "header:x-user", "cookie:s", "duration_s"],
        Some(&["192.0.2.7", "ann", "-", "0.25"]),
    );
    check(&format, "192.0.2.7|ann|-|anything|0.25{}x", &[], None);
    let fails = |template: &str, expected: &str| {
        let error = Pattern::compile(template).unwrap_err().to_string();
        assert!(error.contains(expected), "{template}: {error}");
    };
    fails("{client}{status}", "nothing stands between {client} and {status}");
    fails("{clint} ", "did you mean {client}?");
    fails("{client", "a brace alone");
    fails("a } b", "a brace alone");
    fails("{-} ", "no field");
    fails("{header:}", "unknown field");
    fails(&"x".repeat(10_000), "at most 8192");
}

#[test]
fn keys_of_json() {
    let isobar = LineFormat::Json(Keys::isobar());
    let line = r#" {"client":"192.0.2.7","status":200,"host":null,"target":"/\u00e9\\xFF\"","tls_name":"","more":{"client":"x"}} "#;
    let mut entry = Entry::default();
    assert!(isobar.read(line.as_bytes(), &mut entry));
    let told = |name| entry.told(isobar.columns().find(&Column::of(name).unwrap()).unwrap());
    assert_eq!(told("target"), Told::Value(b"/\xc3\xa9\xff\""));
    assert_eq!(told("client"), Told::Value(b"192.0.2.7"));
    assert_eq!(
        (told("host"), told("tls_name"), told("method")),
        (Told::Absent, Told::Absent, Told::Unknown)
    );

    // As Caddy writes it.
    let mapping = [
        "client=request.remote_ip",
        "header:x-user=request.headers.X-User",
        "duration_s=duration",
        "time=ts",
    ];
    let caddy = LineFormat::Json(Keys::mapped(mapping).unwrap());
    check(
        &caddy,
        r#"{"ts":1700000000.5,"duration":1e-3,"request":{"remote_ip":"192.0.2.7","headers":{"X-User":["ann","bob"]}},"client":"no"}"#,
        &["time", "duration_s", "client", "header:x-user"],
        Some(&["1700000000.5", "1e-3", "192.0.2.7", "ann"]),
    );
    for wrong in [
        "",
        "{",
        "[]",
        "1",
        "{}x",
        r#"{"a" 1}"#,
        r#"{"a":tru}"#,
        r#"{"a":"\q"}"#,
        r#"{"a":[1,]}"#,
        r#"{"a":1,}"#,
    ] {
        check(&isobar, wrong, &[], None);
    }
    let deep = "{\"a\":".repeat(40) + "1" + &"}".repeat(40);
    check(&isobar, &deep, &[], None);
    let fails = |pair: &str, expected: &str| {
        let error = Keys::mapped([pair]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    fails("client", "FIELD=KEY");
    fails("clint=a", "did you mean `client`?");
    fails("-=a", "unknown field");
}

/// Expected values are GNU date's: `date -u -d TEXT +%s.%N`.
#[test]
fn times() {
    let check = |text: &str, expected: Option<(u64, u32)>| {
        let found = read_time(text.as_bytes(), Zone(0)).map(|time| (time.0.as_secs(), time.0.subsec_nanos()));
        assert_eq!(found, expected, "{text}");
    };
    check("17/May/2015:10:05:03 +0000", Some((1_431_857_103, 0)));
    check("10/Oct/2000:13:55:36 -0700", Some((971_211_336, 0)));
    check("10/Oct/2000:13:55:36", Some((971_186_136, 0)));
    // The hour that summer time has twice, and the last second of a year.
    check("29/Oct/2023:02:30:00 +0200", Some((1_698_539_400, 0)));
    check("29/Oct/2023:02:30:00 +0100", Some((1_698_543_000, 0)));
    check("31/Dec/2023:23:59:59 +0000", Some((1_704_067_199, 0)));
    check("2024-02-29T12:00:00.123456Z", Some((1_709_208_000, 123_456_000)));
    check("2024-02-29 12:00:00,5 +05:30", Some((1_709_188_200, 500_000_000)));
    check("2024-02-29T12:00:00-08", Some((1_709_236_800, 0)));
    check("2016-12-31T23:59:60Z", Some((1_483_228_800, 0)));
    check("1700000000", Some((1_700_000_000, 0)));
    check("1700000000.25", Some((1_700_000_000, 250_000_000)));
    check("1700000000123", Some((1_700_000_000, 123_000_000)));
    check("1700000000123456", Some((1_700_000_000, 123_456_000)));
    check("1700000000123456789", Some((1_700_000_000, 123_456_789)));
    for wrong in [
        "",
        "-",
        "x",
        "1.",
        "1.5x",
        "99999999999999999999",
        "32/Jan/2000:00:00:00 +0000",
        "30/Feb/2000:00:00:00 +0000",
        "10/Oct/2000:24:00:00 +0000",
        "10/Oct/2000:13:55:36 +9",
        "10/Okt/2000:13:55:36 +0000",
        "2023-02-29T00:00:00Z",
        "2023-13-01T00:00:00Z",
        "01/Jan/1970:00:00:00 +0100",
        "2024-02-29",
        "2024-02-29T1:00:00Z",
    ] {
        check(wrong, None);
    }
    let berlin = Zone::read(b"+0200").unwrap();
    assert_eq!(
        read_time(b"2024-07-01 12:00:00", berlin).unwrap().0.as_secs(),
        1_719_828_000
    );
    assert_eq!(
        read_time(b"2024-07-01 12:00:00Z", berlin).unwrap().0.as_secs(),
        1_719_835_200
    );
    for wrong in ["", "2", "+2", "+99:00", "+02:60", "+02:0", "CET"] {
        assert_eq!(Zone::read(wrong.as_bytes()), None, "{wrong}");
    }
}

fn record<'a>(bytes: &'a [u8], agent: &'a [u8]) -> Record<'a> {
    Record {
        time: WallTime(Duration::from_millis(1_700_000_000_123)),
        target: bytes,
        host: agent,
        user_agent: agent,
        ..crate::access::sample()
    }
}

proptest! {
    /// What was written can be read, whatever clients sent.
    #[test]
    fn what_was_written_is_read(target in prop::collection::vec(any::<u8>(), 1..60), agent in "[ -~]{2,40}") {
        let record = record(&target, agent.as_bytes());
        let template = r#"{time} {host}|{target}|"{user_agent}" {duration_ms}"#;
        let formats = [
            (Template::json(), LineFormat::Json(Keys::isobar())),
            (Template::compile(template).unwrap(), LineFormat::Pattern(Pattern::compile(template).unwrap())),
        ];
        for (written, format) in formats {
            // A bar in a value of a template that has bars between its values is the template's fault.
            prop_assume!(!target.contains(&b'|') && !agent.contains('|') && target != b"-" && agent != "-");
            // Text that looks like an escaped byte cannot be told from one in JSON.
            prop_assume!(!target.windows(2).any(|pair| pair == b"\\x") && !agent.contains("\\x"));
            let mut line = Vec::new();
            written.render(&record, &mut line);
            line.pop();
            let mut entry = Entry::default();
            prop_assert!(format.read(&line, &mut entry), "{}", String::from_utf8_lossy(&line));
            let told = |field| entry.told(format.columns().find(&Column::Field(field)).unwrap()).value();
            prop_assert_eq!(told(Field::Target), Some(&*target));
            prop_assert_eq!(told(Field::UserAgent), Some(agent.as_bytes()));
            prop_assert_eq!(told(Field::Host), Some(agent.as_bytes()));
            let time = told(Field::Time).and_then(|time| read_time(time, Zone(3600)));
            prop_assert_eq!(time, Some(record.time));
        }
    }

    /// `serde_json` is the oracle of what an object says.
    #[test]
    fn objects_are_read_as_others_read_them(first: String, second: Option<String>, number: f64, nested: Vec<bool>) {
        let object = serde_json::json!({
            "a\"b": nested, "client": first, "x": { "y": second, "client": 1 }, "status": number, "z": [[{}]],
        });
        let format = LineFormat::Json(Keys::mapped(["host=x.y"]).unwrap());
        let mut entry = Entry::default();
        let line = object.to_string();
        prop_assert!(format.read(line.as_bytes(), &mut entry), "{}", line);
        let told = |field| entry.told(format.columns().find(&Column::Field(field)).unwrap());
        let text = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(|text| text.as_bytes().to_vec());
        prop_assert_eq!(told(Field::Client).value().map(<[u8]>::to_vec), text(Some(&first)));
        prop_assert_eq!(told(Field::Host).value().map(<[u8]>::to_vec), text(second.as_deref()));
        let status = told(Field::Status).value().map(|text| String::from_utf8_lossy(text).parse::<f64>());
        prop_assert_eq!(status, number.is_finite().then_some(Ok(number)));
    }

    /// No line and no template panics.
    #[test]
    fn anything_is_read_or_not(line in prop::collection::vec(any::<u8>(), 0..120), template in r#"[{}a-z_\n "\\]{0,30}"#) {
        let mut entry = Entry::default();
        for format in [Pattern::combined(), Pattern::common(), Pattern::vhost_combined()].map(LineFormat::Pattern) {
            format.read(&line, &mut entry);
        }
        LineFormat::Json(Keys::isobar()).read(&line, &mut entry);
        if let Ok(pattern) = Pattern::compile(&template) {
            LineFormat::Pattern(pattern).read(&line, &mut entry);
        }
        let _ = read_time(&line, Zone(0));
    }
}
