//! What becomes of `tls` of an upstream, and of the health checks beside it?

use isobar_config::{Source, load};
use isobar_plan::{
    Authorities, CertificateFiles, CheckTls, HealthProbe, HealthTls, ServerTrust, Sessions, TlsVersion, Trust,
    Upstream, UpstreamTls,
};

/// The upstream with this setting and these health checks.
fn upstream(tls: &str, health: &str) -> Upstream {
    let text = format!(
        "{{ listeners: [{{ address: ':0', upstream: a }}], \
         upstreams: {{ a: {{ servers: [':1'], tls: {tls}, health: {health} }} }} }}"
    );
    let name = "tls.yaml".to_owned();
    let mut loaded = load(&Source { name, text }).unwrap_or_else(|errors| panic!("{tls} {health}: {errors:?}"));
    loaded.plan.upstreams.remove(0)
}

#[test]
fn every_setting_has_its_place() {
    let check = |tls: &str, expected: UpstreamTls| assert_eq!(upstream(tls, "none").tls, Some(expected), "{tls}");
    let defaults = || UpstreamTls {
        server_name: None,
        trust: ServerTrust::System,
        certificate: None,
        oldest: TlsVersion::Tls12,
        sessions: Sessions::Reused,
    };
    check("{}", defaults());
    check(
        "{ server_name: api.internal, ca: /ca.pem, certificate: /a.pem, key: /a.key, min_version: 1.3, session_reuse: false }",
        UpstreamTls {
            server_name: Some("api.internal".into()),
            trust: ServerTrust::File("/ca.pem".into()),
            certificate: Some(CertificateFiles {
                certificate: "/a.pem".into(),
                key: "/a.key".into(),
                ocsp: None,
            }),
            oldest: TlsVersion::Tls13,
            sessions: Sessions::Fresh,
        },
    );
    check(
        "{ verify: none, certificate: /both.pem }",
        UpstreamTls {
            trust: ServerTrust::Anyone,
            certificate: Some(CertificateFiles {
                certificate: "/both.pem".into(),
                key: "/both.pem".into(),
                ocsp: None,
            }),
            ..defaults()
        },
    );
}

#[test]
fn checks_are_secured_as_requests_are_unless_they_say_otherwise() {
    let secured = |health: &str| upstream("{}", health).health.remove(0).tls.clone();
    let own = |trust| {
        Some(CheckTls::Own(HealthTls {
            server_name: None,
            trust,
        }))
    };
    let check = |health: &str, expected: Option<CheckTls>| assert_eq!(secured(health), expected, "{health}");
    let as_requests = Some(CheckTls::OfUpstream);
    for health in [
        "{}",
        "{ type: tcp }",
        "{ send: 'PING', expect: PONG }",
        "{ path: /health }",
        "{ type: https, path: /health }",
        "{ type: https, port: 8443 }",
        "{ service: a }",
        "{ type: tcp, port: 8443, tls: true }",
    ] {
        check(health, as_requests.clone());
    }
    for health in [
        "{ type: tcp, tls: false }",
        "{ path: /health, tls: false }",
        "{ type: http, path: /health }",
        "{ path: /health, port: 8080 }",
        "{ type: tcp, port: 8080 }",
        "{ service: a, port: 8080 }",
    ] {
        check(health, None);
    }
    check(
        "{ path: /, ca: /b.pem }",
        own(Trust::File(Authorities::of_file("/b.pem"))),
    );
    check("{ type: tcp, verify: none }", own(Trust::Anyone));
    let kind = |health: &str| upstream("{}", health).health.remove(0).probe.clone();
    assert!(matches!(kind("{}"), HealthProbe::Tcp(_)));
    assert!(matches!(kind("{ path: /health }"), HealthProbe::Http(_)));
}
