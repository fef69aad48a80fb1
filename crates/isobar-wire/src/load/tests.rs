//! Reports of the reference, and what is not believed.
//!
//! The messages in base64 and in JSON were made from the official definition: `xds.data.orca.v3.OrcaLoadReport` of the
//! Python package xds-protos 1.85.0 with protobuf 7.36.2, `SerializeToString` and `MessageToJson`.

use super::{LoadReport, LoadReportError};
use core::time::Duration;
use std::format;

/// What is told of utilisation, requests and failures.
const fn load(utilization: f64, rps: f64, eps: Option<f64>) -> LoadReport {
    LoadReport {
        in_flight: None,
        latency: None,
        utilization: Some(utilization),
        rps: Some(rps),
        eps,
    }
}

const PLAIN: LoadReport = load(0.3, 100.5, Some(2.0));
const APPLICATION: LoadReport = load(0.25, 1000.0, Some(0.5));
const WHOLE_RPS: LoadReport = load(0.5, 70.0, None);
const NAMED: LoadReport = LoadReport {
    in_flight: Some(7),
    latency: Some(Duration::from_micros(12_500)),
    ..load(0.5, 10.0, None)
};

#[test]
fn messages_of_the_reference_are_read() {
    let check = |base64: &str, expected| {
        let bin = format!("BIN {base64}");
        let unpadded = base64.trim_end_matches('=');
        assert_eq!(LoadReport::from_orca_bin(base64.as_bytes()), Ok(expected), "{base64}");
        assert_eq!(
            LoadReport::from_orca_bin(unpadded.as_bytes()),
            Ok(expected),
            "{unpadded}"
        );
        assert_eq!(LoadReport::from_orca(bin.as_bytes()), Ok(expected), "{bin}");
    };
    check("CTMzMzMzM9M/MQAAAAAAIFlAOQAAAAAAAABA", PLAIN);
    check(
        "Cc3MzMzMzOw/EZqZmZmZmdk/MQAAAAAAQI9AOQAAAAAAAOA/SQAAAAAAANA/",
        APPLICATION,
    );
    check("CQAAAAAAAOA/GEY=", WHOLE_RPS);
    check(
        "CQAAAAAAAOA/MQAAAAAAACRAQhUKCmxhdGVuY3lfbXMRAAAAAAAAKUBCHQoScmVxdWVzdHNfaW5fZmxpZ2h0EQAAAAAAABxAQhMKCGt2X2NhY2hl\
         EQAAAAAAANA/",
        NAMED,
    );
    // With costs and utilisations of other things, which are maps.
    check(
        "CQAAAAAAAOA/Ig0KAmRiEQAAAAAAAAhAKg8KBGRpc2sRZmZmZmZm5j8xAAAAAAAAJEA=",
        load(0.5, 10.0, None),
    );
}

#[test]
fn json_of_the_reference_is_read() {
    let check = |json: &str, expected| {
        let value = format!("JSON {json}");
        assert_eq!(LoadReport::from_orca(value.as_bytes()), Ok(expected), "{json}");
    };
    check(r#"{"cpuUtilization": 0.3, "rpsFractional": 100.5, "eps": 2.0}"#, PLAIN);
    check(r#"{"cpu_utilization":0.3,"rps_fractional":100.5,"eps":2.0}"#, PLAIN);
    check(
        r#"{"cpuUtilization": 0.9, "memUtilization": 0.4, "rpsFractional": 1000.0, "eps": 0.5, "applicationUtilization": 0.25}"#,
        APPLICATION,
    );
    check(r#"{"cpuUtilization": 0.5, "rps": "70"}"#, WHOLE_RPS);
    check(
        r#"{"cpuUtilization": 0.5, "rpsFractional": 10.0, "namedMetrics": {"kv_cache": 0.25, "requests_in_flight": 7.0, "latency_ms": 12.5}}"#,
        NAMED,
    );
    check(
        r#" { "cpuUtilization" : 5e-1 , "x" : [ {} , [ true, false, null, "\"}" ] ] , "rpsFractional": "10", "eps": null } "#,
        load(0.5, 10.0, None),
    );
    check("{}", LoadReport::default());
}

#[test]
fn text_is_read() {
    let check = |text: &str, expected| {
        let value = format!("TEXT {text}");
        assert_eq!(LoadReport::from_orca(value.as_bytes()), Ok(expected), "{text}");
    };
    check("cpu_utilization=0.3, rps_fractional=100.5, eps=2", PLAIN);
    check("cpu_utilization:0.3,rps_fractional:100.5,eps:2", PLAIN);
    check(
        " application_utilization = 2.5e-1,, cpu_utilization=0.9 , rps_fractional=1000, eps=.5",
        APPLICATION,
    );
    check("cpu_utilization=0.5,rps=70", WHOLE_RPS);
    check(
        "named_metrics.requests_in_flight=7,named_metrics.latency_ms=12.5,named_metrics.a:b=1,cpu_utilization=0.5,rps_fractional=10",
        NAMED,
    );
    check("cpu=0.3, mem=0.8, foo_bytes=123", LoadReport::default());
    check("", LoadReport::default());
    check("cpu_utilization=0,rps_fractional=0", LoadReport::default());
}

#[test]
fn what_is_no_measure_is_refused() {
    use LoadReportError::{BadBase64, BadJson, BadMetric, BadNumber, BadProtobuf, Duplicate, UnknownForm};
    let check = |value: &str, expected| {
        assert_eq!(LoadReport::from_orca(value.as_bytes()), Err(expected), "{value}");
    };
    for number in [
        "NaN", "nan", "inf", "-inf", "Infinity", "-1", "1e10", "1e300", "1e999", "0x10", "1 2", "--1", "e", "1;2",
    ] {
        check(&format!("TEXT cpu_utilization={number}"), BadNumber);
        check(&format!("TEXT something_else={number}"), BadNumber);
        check(&format!(r#"JSON {{"eps": "{number}"}}"#), BadNumber);
    }
    for value in [
        "",
        "TEXT",
        "text cpu_utilization=1",
        "cpu_utilization=1",
        "BIN",
        "JSON",
        "XML <a/>",
    ] {
        check(value, UnknownForm);
    }
    for text in [
        "cpu_utilization",
        "=1",
        "cpu_utilization=",
        "a=1,b",
        "cpu_utilization 1",
    ] {
        check(&format!("TEXT {text}"), BadMetric);
    }
    check("TEXT eps=1,eps=1", Duplicate);
    check("TEXT named_metrics.latency_ms=1,named_metrics.latency_ms=2", Duplicate);
    check(r#"JSON {"eps":1,"eps":1}"#, Duplicate);
    check(r#"JSON {"cpuUtilization":1,"cpu_utilization":1}"#, Duplicate);
    check(r#"JSON {"namedMetrics":{},"named_metrics":{}}"#, Duplicate);
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(9), "]".repeat(9));
    for json in [
        "",
        "[]",
        "{",
        "{}}",
        "{\"eps\"}",
        "{\"eps\":}",
        "{\"eps\":1,}",
        "{\"eps\":1",
        "{eps:1}",
        "{\"eps\":{}}",
        "{\"eps\":true}",
        "{\"eps\":+1}",
        "{\"x\":\"\n\"}",
        "{\"x\":nul}",
        "{\"x\":\"\\\"}",
        &deep,
    ] {
        check(&format!("JSON {json}"), BadJson);
    }
    for base64 in [
        "",
        "A",
        "CTMzMzMzM9M*",
        "CQAAAAAAAOA/GEY==",
        "====",
        "CQAA AAAAOA/",
        "CQAAAAAAAOA_",
    ] {
        check(&format!("BIN {base64}"), BadBase64);
    }
    // An end within a field, a group, a field without a number, a number without an end.
    for base64 in [
        "CTMzMzMzM9M",
        "Cw==",
        "AQAAAAAAAAAA",
        "gICAgICAgICAgIA=",
        "Qv8=",
        "CP////////////8B",
    ] {
        check(&format!("BIN {base64}"), BadProtobuf);
    }
}

/// By the reference as above: NaN, infinity, less than nothing, and more than there is.
#[test]
fn messages_that_are_hostile_are_refused() {
    for base64 in [
        "CQAAAAAAAPh/MQAAAAAAACRA",
        "CQAAAAAAAOA/MQAAAAAAAPB/",
        "CQAAAAAAAOC/MQAAAAAAACRA",
        "CQAAAAAAAOA/MZx1AIg85Dd+",
    ] {
        let read = LoadReport::from_orca_bin(base64.as_bytes());
        assert_eq!(read, Err(LoadReportError::BadNumber), "{base64}");
    }
}

#[test]
fn requests_in_flight_are_read() {
    let told = |in_flight, latency_us: Option<u64>| LoadReport {
        in_flight: Some(in_flight),
        latency: latency_us.map(Duration::from_micros),
        ..LoadReport::default()
    };
    let check = |value: &str, expected| {
        assert_eq!(LoadReport::from_in_flight(value.as_bytes()), expected, "{value}");
    };
    check("7", Ok(told(7, None)));
    check("0", Ok(told(0, None)));
    check("7;latency_ms=12.5", Ok(told(7, Some(12_500))));
    check("7 ; latency_ms = 3 ; queue=\"a\"", Ok(told(7, Some(3_000))));
    check("7;latency_ms=0", Ok(told(7, None)));
    check("1000000000", Ok(told(1_000_000_000, None)));
    for value in [
        "",
        "-1",
        "+1",
        "1.5",
        "1e3",
        "NaN",
        "7, 8",
        "7 8",
        "1000000001",
        "99999999999999999999",
        "7;latency_ms=inf",
    ] {
        check(value, Err(LoadReportError::BadNumber));
    }
    check("7;", Err(LoadReportError::BadMetric));
    check("7;latency_ms", Err(LoadReportError::BadMetric));
    check("7;latency_ms=1;latency_ms=1", Err(LoadReportError::Duplicate));
}

#[test]
fn what_is_too_long_is_not_looked_at() {
    let long = format!("TEXT {}", "a=1,".repeat(1100));
    let longest = format!("TEXT {}", "a=1,".repeat(1022));
    assert_eq!(LoadReport::from_orca(long.as_bytes()), Err(LoadReportError::TooLong));
    assert!(
        LoadReport::from_orca(longest.as_bytes()).is_ok(),
        "{} bytes",
        longest.len()
    );
    assert_eq!(LoadReport::from_orca_bin(&[b'A'; 4097]), Err(LoadReportError::TooLong));
    assert_eq!(LoadReport::from_in_flight(&[b'1'; 4097]), Err(LoadReportError::TooLong));
}
