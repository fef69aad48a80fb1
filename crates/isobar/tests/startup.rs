//! What does the program say when it cannot do what it is asked to?

use std::fs;
use std::net::TcpListener;

use isobar_testkit::{Configuration, Origin, binary};

/// Drops the privileges that let root read every file and use every port; others have none to drop.
const PLAIN: [&str; 2] = [
    "setpriv",
    "--bounding-set=-dac_override,-dac_read_search,-net_bind_service",
];

fn plain() -> isobar_testkit::Binary {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if is_root { binary!().through(&PLAIN) } else { binary!() }
}

#[track_caller]
fn refuses(binary: &isobar_testkit::Binary, yaml: &str, words: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("isobar.yaml");
    fs::write(&file, yaml).unwrap();
    fails(binary, &["run", file.to_str().unwrap()], words);
}

/// Checks that it ends with a code other than 0 and one line that holds these words.
#[track_caller]
fn fails(binary: &isobar_testkit::Binary, arguments: &[&str], words: &[&str]) {
    let outcome = binary.outcome(arguments);
    assert!(
        outcome.status.code().is_some_and(|code| code != 0),
        "{arguments:?}: {:?}",
        outcome.status
    );
    let lines = outcome
        .stderr
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect::<Vec<_>>();
    assert_eq!(lines.len(), 1, "{arguments:?} says {lines:#?}");
    for word in words {
        assert!(lines[0].contains(word), "{word:?} is not in {:?}", lines[0]);
    }
    assert!(!lines[0].contains("panicked"), "{:?}", lines[0]);
}

fn yaml(address: &str) -> String {
    let origin = "127.0.0.1:9".parse().unwrap();
    Configuration::to(&[origin]).yaml().replacen("127.0.0.1:0", address, 1)
}

#[test]
fn a_port_in_use() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    refuses(&binary!(), &yaml(&address), &[&address, "web", "in use"]);
    let admin = yaml("127.0.0.1:0").replace(
        "admin: { address: 127.0.0.1:0 }",
        &format!("admin: {{ address: \"{address}\" }}"),
    );
    refuses(&binary!(), &admin, &[&address, "in use"]);
}

#[test]
fn an_address_of_somebody_else() {
    // TEST-NET-1 (RFC 5737) is no machine's address.
    refuses(&binary!(), &yaml("192.0.2.1:8080"), &["192.0.2.1:8080", "web"]);
}

#[test]
fn a_port_that_needs_a_privilege() {
    let first_free = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first_free.trim().parse::<u16>().unwrap() > 80 {
        refuses(
            &plain(),
            &yaml("127.0.0.1:80"),
            &["127.0.0.1:80", "web", "ermission denied"],
        );
    }
}

#[test]
fn a_file_that_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.yaml");
    fails(
        &binary!(),
        &["run", missing.to_str().unwrap()],
        &["missing.yaml", "o such file"],
    );
    fails(
        &binary!(),
        &["run", directory.path().to_str().unwrap()],
        &[directory.path().to_str().unwrap()],
    );
    let unreadable = directory.path().join("unreadable.yaml");
    fs::write(&unreadable, yaml("127.0.0.1:0")).unwrap();
    fs::set_permissions(&unreadable, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    fails(
        &plain(),
        &["run", unreadable.to_str().unwrap()],
        &["unreadable.yaml", "ermission denied"],
    );
    let binary_file = directory.path().join("latin1.yaml");
    fs::write(&binary_file, b"listeners: \xff\xfe\n").unwrap();
    fails(
        &binary!(),
        &["run", binary_file.to_str().unwrap()],
        &["latin1.yaml", "UTF-8"],
    );
}

#[test]
fn an_access_log_that_cannot_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("no/such/directory/access.log");
    let text = yaml("127.0.0.1:0") + &format!("access_log: {{ path: \"{}\" }}\n", nowhere.display());
    shown_by_all(&text, "failed to open the access log", "no such file or directory");
    let text = yaml("127.0.0.1:0") + &format!("access_log: {{ path: \"{}\" }}\n", directory.path().display());
    shown_by_all(&text, "failed to open the access log", "is a directory");
    let locked = directory.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    let text = yaml("127.0.0.1:0") + &format!("access_log: {{ path: \"{}/access.log\" }}\n", locked.display());
    refuses(&plain(), &text, &["locked/access.log", "ermission denied"]);
}

#[test]
fn an_invalid_configuration_shows_every_error_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("broken.yaml");
    let text = "listeners:\n  - name: web\n    adress: 127.0.0.1:0\n    upstream: wbe\nupstreams:\n  web:\n    \
                balance: fastest\n    servers: [ \"127.0.0.1:9\" ]\n";
    fs::write(&file, text).unwrap();
    for command in ["run", "check"] {
        let outcome = binary!().outcome(&[command, file.to_str().unwrap()]);
        assert_eq!(outcome.status.code(), Some(1), "{command}");
        let said = outcome.stderr + &outcome.stdout;
        for words in [
            "broken.yaml:3:",
            "broken.yaml:4:",
            "broken.yaml:7:",
            "address",
            "fastest",
            "wbe",
        ] {
            assert!(said.contains(words), "{command}: {words:?} is not in\n{said}");
        }
    }
}

/// Checks that `check`, its JSON and `run` find this one error, and where: at the last `: ` of the text's last line.
#[track_caller]
fn shown_by_all(text: &str, what: &str, why: &str) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("isobar.yaml");
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let (line, last) = (text.lines().count(), text.lines().last().unwrap());
    let column = last.rfind(": ").unwrap() + 3;
    for arguments in [["check", file].as_slice(), &["run", file]] {
        let outcome = binary!().outcome(arguments);
        assert_eq!(outcome.status.code(), Some(1), "{arguments:?}");
        let said = outcome.stderr;
        assert!(
            said.contains(&format!("error: {what}")) && said.contains(why),
            "{arguments:?}: {said}"
        );
        assert!(
            said.contains(&format!("isobar.yaml:{line}:{column}\n")),
            "{arguments:?}: {said}"
        );
        assert!(
            said.contains("isobar.yaml: 1 error\n") && !said.contains("os error"),
            "{arguments:?}: {said}"
        );
    }
    let outcome = binary!().outcome(&["check", "--json", file]);
    assert_eq!(outcome.status.code(), Some(1), "{}", outcome.stderr);
    let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let [found] = json["diagnostics"].as_array().unwrap().as_slice() else {
        panic!("{json:#}")
    };
    let message = found["message"].as_str().unwrap();
    assert!(message.starts_with(what) && message.contains(why), "{message}");
    assert_eq!(
        (found["line"].as_u64(), found["column"].as_u64()),
        (Some(line as u64), Some(column as u64))
    );
    assert_eq!((&json["errors"], &found["severity"]), (&1.into(), &"error".into()));
}

#[test]
fn a_file_of_certificates_or_a_secret_that_is_of_no_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("empty"), "").unwrap();
    fs::write(
        path("broken"),
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    fs::write(
        path("hollow"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let missing = path("missing");
    let check = |section: &str, file: &str, what: &str, why: &str| {
        let text = format!(
            "listeners: [{{ address: 127.0.0.1:0, upstream: web }}]\nupstreams:\n  web:\n    servers: [127.0.0.1:9]\n    \
             {section}{file}\n"
        );
        shown_by_all(&text, what, why);
    };
    let ca = "health:\n      type: https\n      ca: ";
    let authorities = "failed to read the certificate authorities in ";
    check(ca, &missing, authorities, "no such file or directory");
    check(
        ca,
        directory.path().to_str().unwrap(),
        authorities,
        "it is no ordinary file",
    );
    check(ca, &path("empty"), authorities, "it has no certificate");
    check(ca, &path("broken"), authorities, "it is not a PEM file");
    check(ca, &path("hollow"), authorities, "certificate number 1 cannot be read");
    let secret = "sticky:\n      cookie: SERVERID\n      secret: ";
    check(
        secret,
        &missing,
        "failed to read the secret ",
        "no such file or directory",
    );
    check(
        secret,
        &path("empty"),
        "failed to read the secret ",
        "16 bytes at least",
    );
}

/// Files are looked at with everything else that is wrong.
#[test]
fn files_are_checked_beside_other_errors() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("isobar.yaml");
    let text = "listeners: [{ address: 127.0.0.1:8080, upstream: web }]\nupstreams:\n  web:\n    \
                servers: [127.0.0.1:9001]\n    balance: fastest\n    sticky: { cookie: A, secret: [/nowhere/a, /nowhere/b] }\n    \
                health: [{ ca: /nowhere/ca }, { name: b, ca: /nowhere/ca }]\n";
    fs::write(&file, text).unwrap();
    let outcome = binary!().outcome(&["check", "--json", file.to_str().unwrap()]);
    let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let paths = json["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["path"].as_str().unwrap());
    let expected = [
        "upstreams.web.balance",
        "upstreams.web.sticky.secret[0]",
        "upstreams.web.sticky.secret[1]",
        "upstreams.web.health[0].ca",
        "upstreams.web.health[1].ca",
    ];
    assert_eq!(paths.collect::<Vec<_>>(), expected, "{json:#}");
}

#[test]
fn a_scenario_is_no_configuration_and_a_configuration_no_scenario() {
    let directory = tempfile::tempdir().unwrap();
    let configuration = directory.path().join("isobar.yaml");
    fs::write(&configuration, yaml("127.0.0.1:0")).unwrap();
    let scenario = directory.path().join("scenario.yaml");
    fs::write(
        &scenario,
        "servers: [{ name: a }]\narrivals: { load: 0.5 }\nservice: { mean: 10ms }\n",
    )
    .unwrap();
    let check = |command: &str, file: &std::path::Path, words: &[&str]| {
        let outcome = binary!().outcome(&[command, file.to_str().unwrap()]);
        assert_eq!(outcome.status.code(), Some(1), "{command}");
        assert!(outcome.stderr.ends_with(": 1 error\n"), "{command}: {}", outcome.stderr);
        for word in words {
            assert!(outcome.stderr.contains(word), "{command}: {}", outcome.stderr);
        }
    };
    let words = [
        "this is a scenario, not a configuration",
        "`isobar simulate` runs it",
        "scenario.yaml:2:1",
    ];
    check("check", &scenario, &words);
    check("run", &scenario, &words);
    let words = [
        "this is a configuration, not a scenario",
        "`isobar check`",
        "`isobar run`",
    ];
    check("simulate", &configuration, &words);
}

#[test]
fn check_accepts_what_run_accepts_and_shows_what_is_effective() {
    let origin = Origin::named("a");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("isobar.yaml");
    fs::write(&file, Configuration::to(&[origin.address()]).yaml()).unwrap();
    let outcome = binary!().outcome(&["check", file.to_str().unwrap()]);
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    let effective = binary!().outcome(&["check", file.to_str().unwrap(), "--effective"]);
    assert_eq!(effective.status.code(), Some(0), "{}", effective.stderr);
    for words in ["max_head_bytes", "drain_timeout", "least_connections"] {
        assert!(
            effective.stdout.contains(words),
            "{words:?} is not in\n{}",
            effective.stdout
        );
    }
    fs::write(&file, &effective.stdout).unwrap();
    let isobar = binary!().run_file(directory, &file);
    assert_eq!(isobar_testkit::get(isobar.address(), "/").unwrap().text(), "a");
}

#[test]
fn a_command_line_that_is_wrong_is_2() {
    for arguments in [
        ["run", "--no-such-flag"].as_slice(),
        &["no-such-command"],
        &["run"],
        &["proxy", "--listen", "nonsense"],
    ] {
        assert_eq!(binary!().outcome(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(binary!().outcome(&["--help"]).status.code(), Some(0));
    assert_eq!(binary!().outcome(&["--version"]).status.code(), Some(0));
}

#[test]
fn the_demonstration_ends_by_itself_when_told_to() {
    let outcome = binary!().outcome(&["demo", "--duration", "2s"]);
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    assert!(!outcome.stdout.is_empty());
}

/// Runs a program without io_uring, as most containers do: a seccomp filter answers `io_uring_setup` (425) with EPERM.
const WITHOUT_IO_URING: &str = r"
import ctypes, os, struct, sys
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, EPERM = 0x7fff0000, 0x00050001
steps = [(LOAD, 0, 0, 0), (EQUAL, 0, 1, 425), (RETURN, 0, 0, EPERM), (RETURN, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack('HP', len(steps), ctypes.addressof(code)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2
assert prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
assert prctl(SECCOMP, FILTER, ctypes.addressof(program), 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[1], sys.argv[1:])
";

#[test]
fn without_io_uring_it_serves_on_epoll_and_says_so() {
    let origin = Origin::named("a");
    let confined = binary!().through(&["python3", "-c", WITHOUT_IO_URING]);
    let isobar = confined.clone().io("auto").run(&Configuration::to(&[origin.address()]));
    assert!(isobar.log().contains("2 workers on epoll"), "{}", isobar.log());
    assert_eq!(isobar_testkit::get(isobar.address(), "/").unwrap().text(), "a");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("isobar.yaml");
    fs::write(&file, yaml("127.0.0.1:0")).unwrap();
    let arguments = ["run", file.to_str().unwrap(), "--io", "io_uring"];
    fails(
        &confined,
        &arguments,
        &["failed to use io_uring", "operation not permitted"],
    );
}

#[test]
fn the_log_names_the_way_bytes_move() {
    let origin = Origin::named("a");
    let configuration = Configuration::to(&[origin.address()]);
    let isobar = binary!().io("epoll").workers(1).run(&configuration);
    assert!(isobar.log().contains("1 worker on epoll"), "{}", isobar.log());
    // Where the kernel has io_uring and does not keep it from everybody.
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    if disabled.is_ok_and(|value| value.trim() == "0") {
        let isobar = binary!().io("io_uring").run(&configuration);
        assert!(isobar.log().contains("2 workers on io_uring"), "{}", isobar.log());
        assert_eq!(isobar_testkit::get(isobar.address(), "/").unwrap().text(), "a");
    }
}
