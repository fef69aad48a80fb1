//! What do well-known programs say about a proxy?
//!
//! curl and wrk as clients, nginx as a server, promtool and varnishtest as judges: Debian's own, found on the `PATH`.
//! A missing program fails the test that needs it, with its name.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::peers::python_packages;
use crate::process::Process;
use crate::{ClosedPort, PATIENCE, wait_for};

/// What curl received.
#[derive(Debug)]
pub struct Curl {
    /// The status of the last response; 0: there was none.
    pub status: u16,
    /// All response heads, interim ones included.
    pub heads: String,
    /// The body.
    pub body: Vec<u8>,
    /// curl's exit code; 0 is success.
    pub exit: i32,
}

/// Runs curl with these arguments; the URL is among them.
#[must_use]
#[track_caller]
pub fn curl(arguments: &[&str]) -> Curl {
    let directory = tempfile::tempdir().expect("a directory");
    let (heads, body) = (directory.path().join("heads"), directory.path().join("body"));
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--max-time",
        "30",
        "--write-out",
        "%{http_code}",
    ]);
    command
        .arg("--dump-header")
        .arg(&heads)
        .arg("--output")
        .arg(&body)
        .args(arguments);
    let output = command.output().expect("curl is installed");
    Curl {
        status: String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0),
        heads: String::from_utf8_lossy(&fs::read(heads).unwrap_or_default()).into_owned(),
        body: fs::read(body).unwrap_or_default(),
        exit: output.status.code().unwrap_or(-1),
    }
}

/// Runs openssl with these arguments and this input; *returns* everything it says.
#[must_use]
#[track_caller]
pub fn openssl(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("openssl");
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("openssl is installed");
    let mut stdin = child.stdin.take().expect("an input");
    // One that has ended already needs no input.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("openssl ends");
    [output.stdout, output.stderr]
        .map(|said| String::from_utf8_lossy(&said).into_owned())
        .concat()
}

/// What sslyze says of a listener measured by the intermediate configuration that Mozilla recommends: what is against it, one by
/// one.
#[must_use]
#[track_caller]
pub fn sslyze(address: SocketAddr) -> Vec<String> {
    let mut command = Command::new("python3");
    command.args(["-m", "sslyze", "--mozilla_config=intermediate", &address.to_string()]);
    let output = command
        .env("PYTHONPATH", python_packages())
        .output()
        .expect("python3 is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let verdict = said.split("COMPLIANCE AGAINST").nth(1);
    let verdict = verdict.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)));
    assert!(
        verdict.contains("Not compliant") || verdict.contains("OK - Compliant"),
        "{said}"
    );
    let against = verdict.lines().filter_map(|line| line.trim().strip_prefix("* "));
    against.map(str::to_owned).collect()
}

/// What testssl.sh finds of protocols, ciphers, forward secrecy and known vulnerabilities of a listener, line by line.
#[must_use]
#[track_caller]
pub fn testssl(address: SocketAddr) -> Vec<String> {
    let mut command = Command::new("testssl");
    command.args(["--quiet", "--color", "0", "--warnings", "off", "-p", "-s", "-f", "-U"]);
    let output = command.arg(address.to_string()).output().expect("testssl is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("\n Done "), "{said}");
    said.lines().map(str::to_owned).collect()
}

/// What wrk is told.
#[derive(Debug, Clone, Copy)]
pub struct Wrk {
    /// Connections held open.
    pub connections: u32,
    /// How long it runs, in seconds.
    pub seconds: u32,
}

/// What wrk counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrkReport {
    /// Requests answered.
    pub requests: u64,
    /// Answers with a status outside 2xx and 3xx.
    pub refused: u64,
    /// Connections that failed, reads, writes and timeouts together.
    pub socket_errors: u64,
}

/// Runs wrk against a path.
#[must_use]
#[track_caller]
pub fn wrk(address: SocketAddr, path: &str, options: Wrk) -> WrkReport {
    wrk_at(&format!("http://{address}{path}"), options)
}

/// Runs wrk against a path over TLS, as a client that trusts everybody.
#[must_use]
#[track_caller]
pub fn wrk_over_tls(address: SocketAddr, path: &str, options: Wrk) -> WrkReport {
    wrk_at(&format!("https://{address}{path}"), options)
}

#[track_caller]
fn wrk_at(url: &str, options: Wrk) -> WrkReport {
    let mut command = Command::new("wrk");
    command.args([
        "-t",
        "1",
        "-c",
        &options.connections.to_string(),
        "-d",
        &format!("{}s", options.seconds),
    ]);
    let output = command.arg(url).output().expect("wrk is installed");
    wrk_report(&String::from_utf8_lossy(&output.stdout))
}

fn wrk_report(text: &str) -> WrkReport {
    let line = |mark: &str| text.lines().find(|line| line.contains(mark)).unwrap_or_default();
    let numbers = |line: &str| {
        let words = line
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|word| word.parse::<u64>().ok());
        words.collect::<Vec<_>>()
    };
    WrkReport {
        requests: numbers(line("requests in")).first().copied().unwrap_or(0),
        refused: numbers(line("Non-2xx").rsplit(':').next().unwrap_or_default())
            .first()
            .copied()
            .unwrap_or(0),
        socket_errors: numbers(line("Socket errors")).iter().sum(),
    }
}

/// A real nginx that serves files from a directory of its own, as an ordinary program.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    directory: TempDir,
    port: ClosedPort,
}

impl Nginx {
    /// Starts nginx with these lines in its `server` block and waits until it listens.
    #[must_use]
    #[track_caller]
    pub fn start(server: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let port = ClosedPort::reserve().expect("a loopback port");
        let root = directory.path();
        fs::create_dir(root.join("files")).expect("the directory for files is made");
        let file = root.join("nginx.conf");
        fs::write(&file, nginx_configuration(root, port.address(), server)).expect("nginx.conf is written");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(root).arg("-c").arg(&file).args(["-e", "stderr"]);
        let process = Process::spawn(&mut command).expect("nginx is installed");
        let nginx = Self {
            process,
            directory,
            port,
        };
        wait_for("nginx listens", || std::net::TcpStream::connect(nginx.address()).ok());
        nginx
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Puts a file where `/name` finds it.
    #[track_caller]
    pub fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.directory.path().join("files").join(name), bytes).expect("the file is written");
    }

    /// What it logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.stderr()
    }
}

fn nginx_configuration(root: &Path, address: SocketAddr, server: &str) -> String {
    let root = root.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {root}/{kind};"))
        .join(" ");
    // One process without a master: nothing outlives the one that is killed, and nothing changes its user.
    format!(
        "daemon off; master_process off; pid {root}/nginx.pid; error_log stderr warn;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off; {temporary} client_max_body_size 0; keepalive_requests 1000000;\n\
         server {{ listen {address}; root {root}/files; {server} }} }}\n"
    )
}

/// Asks promtool what it has to say against a scrape; empty: nothing.
#[must_use]
#[track_caller]
pub fn promtool_check_metrics(text: &str) -> String {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), text).expect("the scrape is written");
    let stdin = fs::File::open(file.path()).expect("the scrape is read");
    let mut command = Command::new("promtool");
    let output = command
        .args(["check", "metrics"])
        .stdin(stdin)
        .output()
        .expect("promtool is installed");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    if said.is_empty() && !output.status.success() {
        format!("promtool: {}", output.status)
    } else {
        said
    }
}

/// Runs a varnishtest script with these macros defined; an error is its log.
#[track_caller]
pub fn varnishtest(script: &Path, macros: &[(&str, &str)]) -> Result<(), String> {
    let mut command = Command::new("varnishtest");
    command.arg("-t").arg(PATIENCE.as_secs().to_string());
    for (name, value) in macros {
        command.arg(format!("-D{name}={value}"));
    }
    let output = command.arg(script).output().expect("varnishtest is installed");
    let log = [output.stdout, output.stderr].concat();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&log).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::{Nginx, WrkReport, curl, wrk_report};

    #[test]
    fn wrk_reports_are_read() {
        let text = "  Latency 1ms\n  120 requests in 1.10s, 1MB read\n  Socket errors: connect 1, read 2, write 3, \
                    timeout 4\n  Non-2xx or 3xx responses: 5\nRequests/sec: 109\n";
        assert_eq!(
            wrk_report(text),
            WrkReport {
                requests: 120,
                refused: 5,
                socket_errors: 10
            }
        );
        let text = "  7 requests in 1.00s, 1MB read\n";
        assert_eq!(
            wrk_report(text),
            WrkReport {
                requests: 7,
                refused: 0,
                socket_errors: 0
            }
        );
    }

    #[test]
    fn curl_fetches_from_nginx() {
        let nginx = Nginx::start("");
        nginx.put("hello", b"hello");
        let answer = curl(&[&format!("http://{}/hello", nginx.address())]);
        assert_eq!(
            (answer.status, answer.exit, answer.body.as_slice()),
            (200, 0, b"hello".as_slice())
        );
        assert!(answer.heads.starts_with("HTTP/1.1 200"), "{}", answer.heads);
    }
}
