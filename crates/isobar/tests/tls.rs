//! Are the connections of clients secured, with the certificate and for the client they should be?
//!
//! curl, openssl and wrk are the clients.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use isobar_testkit::serde_json::{self, Value};
use isobar_testkit::{
    After, Authority, Certified, Client, Configuration, Curl, Isobar, Origin, Validity, Wrk, answer_to, binary, curl,
    eventually, get, noise, openssl, sslyze, testssl, wait_for, wrk_over_tls,
};

/// The lines of a certificate in the list of a listener's.
fn shown(certified: &Certified) -> String {
    let Certified { certificate, key, .. } = certified;
    format!("- {{ certificate: {}, key: {} }}", certificate.display(), key.display())
}

/// A configuration whose listener shows these certificates, with more settings of TLS.
fn secured(origin: &Origin, certificates: &[&Certified], more: &str) -> Configuration {
    let list: Vec<_> = certificates
        .iter()
        .map(|certified| format!("    {}", shown(certified)))
        .collect();
    let more: Vec<_> = more.lines().map(|line| format!("  {line}")).collect();
    let lines = format!("tls:\n  certificates:\n{}\n{}", list.join("\n"), more.join("\n"));
    Configuration::to(&[origin.address()]).listener(lines)
}

/// Asks for a path over TLS, by a name and trusting the authority.
fn https(isobar: &Isobar, authority: &Authority, name: &str, path: &str, more: &[&str]) -> Curl {
    let port = isobar.address().port();
    let (resolve, url) = (
        format!("{name}:{port}:127.0.0.1"),
        format!("https://{name}:{port}{path}"),
    );
    let ca = authority.file();
    let ca = ca.to_str().unwrap();
    curl(&[&["--resolve", &resolve, "--cacert", ca, &url], more].concat())
}

#[track_caller]
fn counted(isobar: &Isobar, name: &str) -> f64 {
    isobar
        .metrics()
        .sum(&format!("isobar_listener_{name}_total"), &[])
        .unwrap_or(0.0)
}

fn connections(isobar: &Isobar) -> f64 {
    isobar.metrics().sum("isobar_listener_connections", &[]).unwrap_or(-1.0)
}

fn line(isobar: &Isobar, number: usize) -> Value {
    let log = isobar.directory().join("access.log");
    wait_for("a line in the log", || {
        let text = fs::read_to_string(&log).ok()?;
        serde_json::from_str(text.lines().nth(number)?).ok()
    })
}

#[test]
fn requests_come_over_every_version_that_is_safe() {
    let authority = Authority::new();
    let (origin, site) = (Origin::echo(), authority.certify("a.test", Validity::Now));
    let log = "access_log: { path: access.log, format: json }";
    let isobar = binary!().run(&secured(&origin, &[&site], "").top(log));
    for (number, (version, name)) in [("1.2", "TLSv1.2"), ("1.3", "TLSv1.3")].into_iter().enumerate() {
        let body = noise(300_000, 7);
        let file = isobar.directory().join("body");
        fs::write(&file, &body).unwrap();
        let data = format!("@{}", file.display());
        let (least, most) = (format!("--tlsv{version}"), version.to_owned());
        let more = ["--data-binary", &data, &least, "--tls-max", &most];
        let answer = https(&isobar, &authority, "a.test", "/echo", &more);
        assert_eq!((answer.status, answer.exit), (200, 0), "{answer:?}");
        assert!(answer.body == body, "{} bytes", answer.body.len());
        assert_eq!(origin.last_request().fields.value("x-forwarded-proto"), Some("https"));
        let line = line(&isobar, number);
        assert_eq!(line["tls_version"], name, "{line:#}");
        assert_eq!(line["tls_name"], "a.test", "{line:#}");
        assert!(
            line["tls_cipher"]
                .as_str()
                .is_some_and(|cipher| cipher.starts_with("TLS")),
            "{line:#}"
        );
    }
    assert!(counted(&isobar, "tls_handshakes") >= 2.0);
    for old in ["--tlsv1.0", "--tlsv1.1"] {
        let most = &old["--tlsv".len()..];
        let answer = https(
            &isobar,
            &authority,
            "a.test",
            "/",
            &[old, "--tls-max", most, "--ciphers", "DEFAULT@SECLEVEL=0"],
        );
        assert_ne!(answer.exit, 0, "{old}: {answer:?}");
    }
    eventually("the failures are counted", || counted(&isobar, "tls_failures") >= 2.0);
}

#[test]
fn only_the_newest_version_is_spoken_where_that_is_asked_for() {
    let authority = Authority::new();
    let (origin, site) = (Origin::named("a"), authority.certify("a.test", Validity::Now));
    let isobar = binary!().run(&secured(&origin, &[&site], "min_version: 1.3"));
    assert_eq!(https(&isobar, &authority, "a.test", "/", &[]).status, 200);
    assert_eq!(
        https(&isobar, &authority, "a.test", "/", &["--tls-max", "1.2"]).status,
        0
    );
}

#[test]
fn each_name_is_shown_its_certificate() {
    let authority = Authority::new();
    let origin = Origin::named("a");
    let [first, second, wild] = ["a.test", "b.test", "*.c.test"].map(|name| authority.certify(name, Validity::Now));
    for (policy, unknown) in [("default", true), ("refuse", false)] {
        let more = format!("unknown_name: {policy}");
        let isobar = binary!().run(&secured(&origin, &[&first, &second, &wild], &more));
        let trusted = |name: &str| https(&isobar, &authority, name, "/", &[]).exit == 0;
        for name in ["a.test", "b.test", "x.c.test"] {
            assert!(trusted(name), "{name}");
        }
        for name in ["d.test", "c.test", "x.y.c.test"] {
            assert!(!trusted(name), "{name}");
            let answer = https(&isobar, &authority, name, "/", &["--insecure"]);
            assert_eq!(answer.exit == 0, unknown, "{name}: {answer:?}");
        }
    }
}

#[test]
fn a_broken_certificate_takes_no_other_with_it() {
    let authority = Authority::new();
    let origin = Origin::named("a");
    let [good, bad, gone] = ["good.test", "bad.test", "gone.test"].map(|name| authority.certify(name, Validity::Now));
    fs::write(&bad.key, fs::read(&good.key).unwrap()).unwrap();
    fs::remove_file(&gone.certificate).unwrap();
    let isobar = binary!().run(&secured(&origin, &[&bad, &good, &gone], "unknown_name: refuse"));
    assert_eq!(https(&isobar, &authority, "good.test", "/", &[]).status, 200);
    for (name, file, words) in [
        (
            "bad.test",
            &bad.certificate,
            "the key does not belong to the certificate",
        ),
        ("gone.test", &gone.certificate, "no such file or directory"),
    ] {
        assert_eq!(https(&isobar, &authority, name, "/", &[]).status, 0, "{name}");
        let line = format!("failed to read the certificate {} of listener web", file.display());
        assert!(
            isobar
                .log()
                .lines()
                .any(|said| said.contains(&line) && said.contains(words)),
            "{}",
            isobar.log()
        );
        let report = certificate(&isobar, file);
        assert_eq!(report["status"], "fail", "{report}");
        assert!(
            report["detail"].as_str().is_some_and(|detail| detail.contains(words)),
            "{report}"
        );
    }
    assert_eq!(certificate(&isobar, &good.certificate)["status"], "pass");
}

/// What `/health/detailed` says of a certificate.
fn certificate(isobar: &Isobar, file: &Path) -> Value {
    let report = isobar.health();
    let named =
        |check: &&Value| check["name"].as_str() == Some(&*format!("certificate {} of listener web", file.display()));
    let checks = report["checks"].as_array().unwrap();
    checks
        .iter()
        .find(named)
        .cloned()
        .unwrap_or_else(|| panic!("{report:#}"))
}

#[test]
fn certificates_are_swapped_when_their_files_change() {
    let authority = Authority::new();
    let (origin, site) = (Origin::named("a"), authority.certify("a.test", Validity::Now));
    let isobar = binary!().run(&secured(&origin, &[&site], ""));
    let before = serial(&isobar);
    let mut session = Kept::open(isobar.address());
    session.get();
    // The same name is certified anew, into the same files.
    let again = authority.certify("a.test", Validity::Now);
    assert_eq!(again.certificate, site.certificate);
    eventually("the new certificate is shown", || serial(&isobar) != before);
    session.get();
    // A key that does not fit stays out of use.
    let (now, key) = (serial(&isobar), fs::read(&site.key).unwrap());
    fs::write(&site.key, "nonsense").unwrap();
    isobar.wait_for_log("the one read before stays in use");
    assert_eq!(serial(&isobar), now);
    assert_eq!(certificate(&isobar, &site.certificate)["status"], "warn");
    assert_eq!(
        isobar.metrics().sum("isobar_listener_certificate_usable", &[]),
        Some(0.0)
    );
    fs::write(&site.key, key).unwrap();
    eventually("it is in use again", || {
        certificate(&isobar, &site.certificate)["status"] == "pass"
    });
    session.get();
    assert_eq!(https(&isobar, &authority, "a.test", "/", &[]).status, 200);
}

/// The serial number of the certificate that is shown.
fn serial(isobar: &Isobar) -> String {
    let address = isobar.address().to_string();
    let said = openssl(&["s_client", "-connect", &address, "-servername", "a.test"], "");
    let (_, rest) = said
        .split_once("-----BEGIN CERTIFICATE-----")
        .unwrap_or_else(|| panic!("{said}"));
    rest.split("-----END").next().unwrap_or_default().to_owned()
}

/// A connection of openssl's that stays open.
struct Kept {
    child: std::process::Child,
}

impl Kept {
    fn open(address: SocketAddr) -> Self {
        Self::open_with(address, &[])
    }

    fn open_with(address: SocketAddr, more: &[&str]) -> Self {
        use std::process::{Command, Stdio};
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-connect", &address.to_string()]);
        command.args(more);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Self {
            child: command.spawn().unwrap(),
        }
    }

    #[track_caller]
    fn get(&mut self) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").unwrap();
        stdin.flush().unwrap();
        let (mut said, mut byte) = (Vec::new(), [0; 1]);
        while !said.ends_with(b"\r\n\r\na") {
            assert_eq!(
                self.child.stdout.as_mut().unwrap().read(&mut byte).unwrap(),
                1,
                "{}",
                said.escape_ascii()
            );
            said.extend_from_slice(&byte);
        }
        assert!(said.starts_with(b"HTTP/1.1 200 "), "{}", said.escape_ascii());
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn clients_show_who_they_are() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let origin = Origin::echo();
    let [site, known] = ["a.test", "client"].map(|name| authority.certify(name, Validity::Now));
    let old = authority.certify("client", Validity::Past);
    let unknown = stranger.certify("client", Validity::Now);
    for required in [true, false] {
        let ca = authority.file();
        let more = format!(
            "client_certificates: {{ ca: {}, required: {required}, forward: true }}",
            ca.display()
        );
        let isobar = binary!().run(&secured(&origin, &[&site], &more));
        let ask = |shown: Option<&Certified>| {
            let paths =
                shown.map(|shown| [&shown.certificate, &shown.key].map(|path| path.to_str().unwrap().to_owned()));
            let mut more = vec![
                "--header",
                "client-cert: :Zm9yZ2Vk:",
                "--header",
                "Client_Cert: :Zm9yZ2Vk:",
            ];
            if let Some([certificate, key]) = &paths {
                more.extend(["--cert", certificate, "--key", key]);
            }
            https(&isobar, &authority, "a.test", "/", &more).status
        };
        assert_eq!(ask(Some(&known)), 200);
        let pem = fs::read_to_string(&known.certificate).unwrap();
        let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        assert_eq!(
            origin.last_request().fields.values("client-cert"),
            [format!(":{base64}:")]
        );
        assert_eq!(origin.last_request().fields.value("client_cert"), None);
        assert_eq!(ask(None), if required { 0 } else { 200 });
        if !required {
            assert_eq!(origin.last_request().fields.value("client-cert"), None);
        }
        assert_eq!(ask(Some(&old)), 0);
        assert_eq!(ask(Some(&unknown)), 0);
    }
}

#[test]
fn a_revoked_certificate_is_refused() {
    let authority = Authority::new();
    let origin = Origin::named("a");
    let [site, good, bad] = ["a.test", "good", "bad"].map(|name| authority.certify(name, Validity::Now));
    let crl = authority.revoke(&[&bad]);
    let ca = authority.file();
    let more = format!(
        "client_certificates: {{ ca: {}, crl: {} }}",
        ca.display(),
        crl.display()
    );
    let isobar = binary!().run(&secured(&origin, &[&site], &more));
    let ask = |shown: &Certified| {
        let (certificate, key) = (shown.certificate.to_str().unwrap(), shown.key.to_str().unwrap());
        https(
            &isobar,
            &authority,
            "a.test",
            "/",
            &["--cert", certificate, "--key", key],
        )
        .status
    };
    assert_eq!(ask(&good), 200);
    assert_eq!(ask(&bad), 0);
    // Nobody is let in by a list that cannot be read: the plan that runs stays.
    let yaml = fs::read_to_string(isobar.configuration()).unwrap();
    let said = isobar.reload(&yaml.replace(crl.to_str().unwrap(), "/nowhere.crl"));
    assert!(
        said.contains("failed to read the revoked certificates in /nowhere.crl: no such file"),
        "{said}"
    );
    assert_eq!((ask(&good), ask(&bad)), (200, 0));
}

#[test]
fn a_client_comes_back_cheaply_at_every_worker_and_instance() {
    let authority = Authority::new();
    let (origin, site) = (Origin::named("a"), authority.certify("a.test", Validity::Now));
    let keys = authority.file().with_file_name("tickets");
    fs::write(&keys, "0123456789abcdef0123456789abcdef\n").unwrap();
    let shared = format!("ticket_keys: {}", keys.display());
    let resumes = |at: &Isobar, then: &Isobar, version: &str| {
        let session = authority.file().with_file_name("session");
        let session = session.to_str().unwrap();
        let request = "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";
        let connect = |isobar: &Isobar, option: &str| {
            let address = isobar.address().to_string();
            let arguments = [
                "s_client",
                "-connect",
                &address,
                "-servername",
                "a.test",
                version,
                "-ign_eof",
                option,
                session,
            ];
            openssl(&arguments, request)
        };
        let first = connect(at, "-sess_out");
        assert!(first.contains("HTTP/1.1 200 "), "{first}");
        let second = connect(then, "-sess_in");
        assert!(second.contains("HTTP/1.1 200 "), "{second}");
        second.contains("Reused, TLSv1")
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let start = |more: &str| binary!().workers(4).run(&secured(&origin, &[&site], more));
        let own = start("");
        for _ in 0..4 {
            assert!(resumes(&own, &own, version), "{version}");
        }
        assert!(counted(&own, "tls_resumptions") >= 4.0);
        own.reload(&fs::read_to_string(own.configuration()).unwrap());
        assert!(resumes(&own, &own, version), "{version}");
        let other = start("");
        assert!(!resumes(&own, &other, version), "{version}");
        let (here, there) = (start(&shared), start(&shared));
        assert!(resumes(&here, &there, version), "{version}");
        let none = start("tickets: false");
        assert!(!resumes(&none, &none, version), "{version}");
    }
}

#[test]
fn a_ticket_lets_nobody_in_who_would_not_be() {
    let authority = Authority::new();
    let origin = Origin::named("a");
    let [site, good, gone] = ["a.test", "good", "gone"].map(|name| authority.certify(name, Validity::Now));
    let brief = authority.certify("brief", Validity::Brief);
    let none = authority.revoke(&[]);
    let keys = authority.file().with_file_name("tickets");
    fs::write(&keys, "0123456789abcdef0123456789abcdef\n").unwrap();
    let (ca, keys) = (authority.file(), keys.display().to_string());
    for tickets in ["tickets: true".to_owned(), format!("ticket_keys: {keys}")] {
        let clients = format!(
            "client_certificates: {{ ca: {}, crl: {} }}\n{tickets}",
            ca.display(),
            none.display()
        );
        let isobar = binary!().run(&secured(&origin, &[&site], &clients));
        let address = isobar.address().to_string();
        let session = |name: &str| {
            authority
                .file()
                .with_file_name(format!("{name}.session"))
                .display()
                .to_string()
        };
        let request = "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";
        let connect = |shown: &Certified, option: &str, session: &str| {
            let (certificate, key) = (shown.certificate.to_str().unwrap(), shown.key.to_str().unwrap());
            let shown = ["-cert", certificate, "-key", key];
            let arguments = [
                "s_client",
                "-connect",
                &address,
                "-servername",
                "a.test",
                "-ign_eof",
                option,
                session,
            ];
            openssl(&[&arguments[..], &shown].concat(), request).contains("HTTP/1.1 200 ")
        };
        let clients = [("good", &good), ("gone", &gone), ("brief", &brief)];
        for (name, shown) in clients {
            let may = shown.serial != brief.serial || tickets == "tickets: true";
            assert_eq!(connect(shown, "-sess_out", &session(name)), may, "{name}, {tickets}");
        }
        assert!(connect(&good, "-sess_in", &session("good")));
        if tickets == "tickets: true" {
            eventually("the certificate expires", || !connect(&brief, "-sess_out", "/dev/null"));
            assert!(!connect(&brief, "-sess_in", &session("brief")), "it has expired");
        }
        // A new list makes everybody show a certificate again.
        assert_eq!(authority.revoke(&[&gone]), none);
        isobar.wait_for_log("configuration applied: generation 2");
        assert!(!connect(&gone, "-sess_in", &session("gone")), "it was revoked");
        assert!(connect(&good, "-sess_in", &session("good")));
        assert_eq!(authority.revoke(&[]), none);
    }
}

#[test]
fn plain_http_is_told_where_it_is() {
    let authority = Authority::new();
    let (origin, site) = (Origin::named("a"), authority.certify("a.test", Validity::Now));
    let isobar = binary!().run(&secured(&origin, &[&site], ""));
    let answer = get(isobar.address(), "/").unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("a port for HTTPS"), "{}", answer.text());
    eventually("it is counted", || counted(&isobar, "tls_not_spoken") == 1.0);
    assert_eq!(origin.request_count(), 0);
}

#[test]
fn clients_are_sent_to_tls_and_told_to_stay() {
    let authority = Authority::new();
    let origin = Origin::start(|exchange| exchange.reply(200, &[("Strict-Transport-Security", "max-age=1")], b"a"));
    let site = authority.certify("a.test", Validity::Now);
    let hsts = "hsts: { max_age: 1h, include_subdomains: true }";
    let isobar = binary!().run(&secured(&origin, &[&site], hsts));
    let answer = https(&isobar, &authority, "a.test", "/", &[]);
    let said: Vec<_> = answer
        .heads
        .lines()
        .filter(|line| line.starts_with("strict-"))
        .collect();
    assert_eq!(said, ["strict-transport-security: max-age=3600; includeSubDomains"]);
    // Its own answers too.
    origin.stop();
    let answer = https(&isobar, &authority, "a.test", "/", &[]);
    assert!(
        answer.status >= 500
            && answer
                .heads
                .to_lowercase()
                .contains("strict-transport-security: max-age=3600"),
        "{answer:?}"
    );
    origin.resume();

    let mut plain = Configuration::to(&[origin.address()]).yaml();
    plain = plain.replace("    upstream: web\n", "    redirect_to_https: { port: 8443 }\n");
    let isobar = binary!();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("isobar.yaml");
    fs::write(&file, plain).unwrap();
    let isobar = isobar.run_file(directory, &file);
    let check = |request: &str, status: u16, location: Option<&str>| {
        let answer = answer_to(isobar.address(), request).unwrap();
        assert_eq!(answer.status(), status, "{request}");
        assert_eq!(answer.response.unwrap().fields.value("location"), location, "{request}");
    };
    check(
        "GET /a/b?c=d HTTP/1.1\r\nhost: a.test\r\n\r\n",
        308,
        Some("https://a.test:8443/a/b?c=d"),
    );
    check(
        "GET / HTTP/1.1\r\nhost: a.test:80\r\n\r\n",
        308,
        Some("https://a.test:8443/"),
    );
    check(
        "GET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n",
        308,
        Some("https://[::1]:8443/"),
    );
    check(
        "GET http://b.test/x HTTP/1.1\r\nhost: a.test\r\n\r\n",
        308,
        Some("https://b.test:8443/x"),
    );
    check("GET / HTTP/1.0\r\n\r\n", 404, None);
    check("OPTIONS * HTTP/1.1\r\nhost: a.test\r\n\r\n", 404, None);
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..3 {
        assert_eq!(client.post("/form", b"a=b").unwrap().status, 308);
    }
}

#[test]
fn a_connection_that_is_older_than_tls_ends_with_its_next_request() {
    let authority = Authority::new();
    let (origin, site) = (Origin::named("a"), authority.certify("a.test", Validity::Now));
    let isobar = binary!().run(&Configuration::to(&[origin.address()]));
    let mut client = Client::connect(isobar.address()).unwrap();
    assert_eq!(client.get("/").unwrap().fields.value("connection"), None);
    let said = isobar.reload(&secured(&origin, &[&site], "hsts: 1h").yaml());
    assert!(said.contains("configuration applied"), "{said}");
    // It may be closed before that: then a client asks anew, and over TLS.
    if let Ok(last) = client.get("/") {
        assert_eq!(last.status, 200);
        assert_eq!(last.fields.value("connection"), Some("close"));
        assert_eq!(last.fields.value("strict-transport-security"), None);
    }
    assert!(client.sees_close());
    assert_eq!(get(isobar.address(), "/").unwrap().status, 400);
    assert_eq!(https(&isobar, &authority, "a.test", "/", &[]).status, 200);
}

#[test]
fn a_listener_for_development_needs_no_files() {
    let origin = Origin::named("a");
    let lines = "tls: { self_signed: [localhost, 127.0.0.1] }";
    let isobar = binary!().run(&Configuration::to(&[origin.address()]).listener(lines));
    let url = format!("https://{}/", isobar.address());
    assert_eq!(curl(&[&url]).exit, 60, "nobody vouches for it");
    let answer = curl(&["--insecure", &url]);
    assert_eq!((answer.status, &*answer.body), (200, &b"a"[..]));
}

#[test]
fn what_is_no_handshake_leaves_nothing_behind() {
    let authority = Authority::new();
    let (origin, site) = (Origin::named("a"), authority.certify("a.test", Validity::Now));
    let configuration = secured(&origin, &[&site], "").listener("timeouts: { handshake: 300ms }");
    let isobar = binary!().run(&configuration);
    let hello = client_hello(&isobar);
    let send = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(isobar.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let mut open = vec![send(b""), send(b"\x16"), send(&hello[..50])];
    for cut in (1..hello.len()).step_by(7) {
        drop(send(&hello[..cut]));
        let mut changed = hello.clone();
        changed[cut] ^= 0xff;
        open.push(send(&changed));
    }
    for seed in 0..20 {
        let mut bytes = noise(500, seed);
        bytes[..3].copy_from_slice(b"\x16\x03\x01");
        open.push(send(&bytes));
    }
    for stream in &mut open {
        // An alert, an answer, or nothing; in the end they are closed.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    drop(open);
    eventually("all connections are gone", || connections(&isobar) == 0.0);
    assert!(counted(&isobar, "tls_abandoned") > 0.0);
    assert!(counted(&isobar, "tls_failures") > 0.0);
    assert_eq!(https(&isobar, &authority, "a.test", "/", &[]).status, 200);
}

/// The first message of a real client.
fn client_hello(isobar: &Isobar) -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = std::thread::spawn(move || curl(&["--insecure", &format!("https://{address}/"), "--max-time", "5"]));
    let mut stream = listener.accept().unwrap().0;
    let mut bytes = vec![0; 4096];
    let count = stream.read(&mut bytes).unwrap();
    bytes.truncate(count);
    drop(stream);
    client.join().unwrap();
    assert!(bytes.len() > 100 && isobar.address().port() > 0);
    bytes
}

#[test]
fn large_bodies_come_through_unharmed() {
    let authority = Authority::new();
    let body = noise(20_000_000, 3);
    let served = body.clone();
    let origin = Origin::start(move |exchange| {
        let length = served.len().to_string();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        exchange.send(head)?;
        exchange.send(&served)?;
        Ok(After::Keep)
    });
    let site = authority.certify("a.test", Validity::Now);
    let isobar = binary!().workers(2).run(&secured(&origin, &[&site], ""));
    let answer = https(&isobar, &authority, "a.test", "/", &[]);
    assert!(answer.exit == 0 && answer.body == body, "{} bytes", answer.body.len());
    let answer = https(&isobar, &authority, "a.test", "/", &["--limit-rate", "10M"]);
    assert!(answer.exit == 0 && answer.body == body, "{} bytes", answer.body.len());
}

#[test]
fn many_clients_are_served_at_once() {
    let authority = Authority::new();
    let (origin, site) = (Origin::named("a"), authority.certify("a.test", Validity::Now));
    let isobar = binary!().workers(2).run(&secured(&origin, &[&site], ""));
    let options = Wrk {
        connections: 64,
        seconds: 2,
    };
    let report = wrk_over_tls(isobar.address(), "/", options);
    assert!(report.requests > 100, "{report:?}");
    assert_eq!((report.refused, report.socket_errors), (0, 0), "{report:?}");
}

/// An upgraded connection carries bytes both ways, however many, and ends with either side.
#[test]
fn what_was_upgraded_is_carried_over_tls() {
    let authority = Authority::new();
    let origin = Origin::raw(|mut stream| {
        let mut head = Vec::new();
        let mut byte = [0; 1];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")?;
        std::io::copy(&mut stream.try_clone()?, &mut stream).map(drop)
    });
    let site = authority.certify("a.test", Validity::Now);
    let isobar = binary!().run(&secured(&origin, &[&site], ""));
    let mut client = Kept::open(isobar.address());
    let mut stdin = client.child.stdin.take().unwrap();
    stdin
        .write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .unwrap();
    let stdout = client.child.stdout.as_mut().unwrap();
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "{}", head.escape_ascii());
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
    let bytes = noise(2_000_000, 11);
    let sent = bytes.clone();
    let sender = std::thread::spawn(move || stdin.write_all(&sent).map(|()| stdin));
    let mut came = vec![0; bytes.len()];
    stdout.read_exact(&mut came).unwrap();
    assert!(came == bytes);
    drop(sender.join().unwrap().unwrap());
    drop(client);
    eventually("the tunnel has ended", || connections(&isobar) == 0.0);
}

/// The judgement of a program that many operators go by. The test's authority is not one it knows.
#[test]
fn sslyze_finds_the_intermediate_configuration_of_mozilla() {
    let authority = Authority::new();
    let (origin, site) = (Origin::named("a"), authority.certify("127.0.0.1", Validity::Month));
    let isobar = binary!().run(&secured(&origin, &[&site], ""));
    let against = sslyze(isobar.address());
    let ours: Vec<_> = against
        .iter()
        .filter(|line| !line.starts_with("certificate_path_validation"))
        .collect();
    assert!(ours.is_empty(), "{ours:#?}");
    assert!(against.len() <= 1, "{against:#?}");
}

#[test]
fn testssl_finds_nothing_to_complain_about() {
    let authority = Authority::new();
    let (origin, site) = (Origin::named("a"), authority.certify("127.0.0.1", Validity::Month));
    let isobar = binary!().run(&secured(&origin, &[&site], ""));
    let said = testssl(isobar.address());
    let bad: Vec<_> = said
        .iter()
        .filter(|line| line.to_lowercase().contains("not ok") || line.contains("VULNERABLE"))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let has = |words: &[&str]| {
        said.iter()
            .any(|line| line.split_whitespace().collect::<Vec<_>>().starts_with(words))
    };
    for expected in [
        "SSLv2 not offered (OK)",
        "SSLv3 not offered (OK)",
        "TLS 1 not offered",
        "TLS 1.1 not offered",
        "TLS 1.2 offered (OK)",
        "TLS 1.3 offered (OK)",
        "Heartbleed (CVE-2014-0160) not vulnerable (OK)",
        "PFS is offered (OK)",
    ] {
        let words: Vec<_> = expected.split(' ').collect();
        // Commas and colons follow some of them.
        let last = words.len() - 1;
        assert!(has(&words) || has(&words[..last]), "{expected}: {said:#?}");
    }
}

/// An answer whose end fits into no buffer on the way reaches a client that reads late, whatever becomes of the connection behind it.
#[test]
fn the_end_of_an_answer_is_not_lost() {
    let authority = Authority::new();
    let body = noise(3_600_000, 5);
    let served = body.clone();
    let pause = isobar_testkit::Gate::new();
    let gate = std::sync::Arc::new(pause);
    let held = std::sync::Arc::clone(&gate);
    let origin = Origin::start(move |exchange| {
        if exchange.request.target == "/streamed" {
            let head = format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n",
                served.len()
            );
            exchange.send(head)?;
            exchange.send(&served)?;
            exchange.send("\r\n")?;
            // The client has all of that before there is more.
            held.pass();
            exchange.send("0\r\n\r\n")?;
        } else {
            exchange.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", served.len()))?;
            exchange.send(&served)?;
        }
        Ok(After::Keep)
    });
    let site = authority.certify("a.test", Validity::Now);
    let isobar = binary!().run(&secured(&origin, &[&site], ""));
    for (version, path) in [("-tls1_2", "/"), ("-tls1_3", "/"), ("-tls1_3", "/streamed")] {
        let mut late = Late::open(isobar.address(), version, path);
        std::thread::sleep(Duration::from_millis(300));
        let came = late.read(body.len());
        assert!(came == body, "{version} {path}: {} bytes", came.len());
        gate.open();
    }
}

/// A client that asks at once and reads later.
struct Late(Kept);

impl Late {
    fn open(address: SocketAddr, version: &str, path: &str) -> Self {
        let mut kept = Kept::open_with(address, &[version]);
        let request = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n");
        kept.child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(request.as_bytes())
            .unwrap();
        Self(kept)
    }

    /// The first bytes of the body.
    fn read(&mut self, length: usize) -> Vec<u8> {
        let stdout = self.0.child.stdout.as_mut().unwrap();
        let (mut head, mut byte) = (Vec::new(), [0; 1]);
        while !head.ends_with(b"\r\n\r\n") {
            assert_eq!(stdout.read(&mut byte).unwrap(), 1, "{}", head.escape_ascii());
            head.extend_from_slice(&byte);
        }
        if head.to_ascii_lowercase().windows(7).any(|window| window == b"chunked") {
            while byte != *b"\n" || head.ends_with(b"\r\n\r\n") {
                assert_eq!(stdout.read(&mut byte).unwrap(), 1);
                head.push(byte[0]);
            }
        }
        let mut body = Vec::new();
        stdout.take(length as u64).read_to_end(&mut body).unwrap();
        body
    }
}
