//! How is the program under test started, watched, reloaded and asked?

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, Signal};
use crate::{Configuration, Metrics, PATIENCE, get, wait_for};

/// The program under test. Use [`binary!`](crate::binary) to name the one Cargo built. It moves bytes in its own default
/// way, or in the one that `ISOBAR_TEST_IO` names.
#[derive(Debug, Clone)]
pub struct Binary {
    path: PathBuf,
    wrapper: Vec<String>,
    workers: usize,
    /// What is given to `--io`; none: nothing is.
    io: Option<String>,
}

/// The program Cargo built for this test, or the one `ISOBAR_UNDER_TEST` names.
#[macro_export]
macro_rules! binary {
    () => {
        $crate::Binary::new(env!("CARGO_BIN_EXE_isobar"))
    };
}

/// What a run that ends by itself leaves.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A running Isobar with a directory of its own; it is killed when dropped.
#[derive(Debug)]
pub struct Isobar {
    process: Process,
    directory: TempDir,
    configuration: PathBuf,
}

impl Binary {
    /// The program at a path, with two workers.
    #[must_use]
    pub fn new(path: &str) -> Self {
        let path = std::env::var_os("ISOBAR_UNDER_TEST").map_or_else(|| path.into(), PathBuf::from);
        Self {
            path,
            wrapper: Vec::new(),
            workers: 2,
            io: std::env::var("ISOBAR_TEST_IO").ok(),
        }
    }

    /// Runs it with this many workers.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Runs it with this way to move bytes, whatever `ISOBAR_TEST_IO` says.
    #[must_use]
    pub fn io(mut self, way: &str) -> Self {
        self.io = Some(way.to_owned());
        self
    }

    /// Runs it through another program, such as `prlimit`, that takes a command as its last arguments.
    #[must_use]
    pub fn through(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The command, without arguments.
    #[must_use]
    pub fn command(&self) -> Command {
        match self.wrapper.split_first() {
            None => Command::new(&self.path),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(&self.path);
                command
            }
        }
    }

    /// Runs it with these arguments until it ends.
    ///
    /// *Panics* when it does not within [`PATIENCE`].
    #[must_use]
    #[track_caller]
    pub fn outcome(&self, arguments: &[&str]) -> Outcome {
        let mut process = Process::spawn(self.command().args(arguments)).expect("the program starts");
        let status = process.wait(PATIENCE).expect("its status is known");
        let status = status.unwrap_or_else(|| panic!("{arguments:?} did not end; it wrote\n{}", process.stderr()));
        Outcome {
            status,
            stdout: process.stdout(),
            stderr: process.stderr(),
        }
    }

    /// Runs a configuration and waits until it serves.
    ///
    /// *Panics* when it does not within [`PATIENCE`], with its log.
    #[must_use]
    #[track_caller]
    pub fn run(&self, configuration: &Configuration) -> Isobar {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("isobar.yaml");
        fs::write(&path, configuration.yaml()).expect("the configuration is written");
        self.run_file(directory, &path)
    }

    /// Runs a configuration file in a directory that lives as long as the process.
    ///
    /// *Panics* when it does not serve within [`PATIENCE`], with its log.
    #[must_use]
    #[track_caller]
    pub fn run_file(&self, directory: TempDir, configuration: &Path) -> Isobar {
        let mut command = self.command();
        command.current_dir(directory.path()).arg("run").arg(configuration);
        command.arg("--workers").arg(self.workers.to_string());
        if let Some(io) = &self.io {
            command.arg("--io").arg(io);
        }
        let process = Process::spawn(&mut command).expect("the program starts");
        let mut isobar = Isobar {
            process,
            directory,
            configuration: configuration.to_owned(),
        };
        wait_for("isobar is ready", || match isobar.process.wait(Duration::ZERO) {
            Ok(None) => isobar
                .log()
                .lines()
                .any(|line| line.trim_end().ends_with("ready"))
                .then_some(()),
            ended => panic!(
                "isobar ended: {ended:?}; it wrote\n{}\nfor\n{}",
                isobar.log(),
                isobar.configuration_text()
            ),
        });
        isobar
    }
}

impl Isobar {
    /// Where the listener `web` listens.
    #[must_use]
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        self.listener("web")
    }

    /// Where a listener listens, as its last log line says.
    #[must_use]
    #[track_caller]
    pub fn listener(&self, name: &str) -> SocketAddr {
        self.announced("listening on ", &format!("({name})"))
    }

    /// Where the admin listener listens.
    #[must_use]
    #[track_caller]
    pub fn admin(&self) -> SocketAddr {
        self.announced("admin on ", "")
    }

    #[track_caller]
    fn announced(&self, words: &str, tail: &str) -> SocketAddr {
        wait_for(&format!("a log line with {words:?} and {tail:?}"), || {
            let log = self.log();
            let after = |line: &str| {
                let (before, rest) = line.split_once(words)?;
                (!before.contains("no longer")).then(|| rest.to_owned())
            };
            let rest = log.lines().rev().filter_map(after).find(|rest| rest.contains(tail))?;
            rest.split_whitespace().next()?.parse().ok()
        })
    }

    /// Everything it has written to its standard error.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// Everything it has written to its standard output.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.process.stdout()
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its own directory, which is also its working directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The path of its configuration file.
    #[must_use]
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }

    fn configuration_text(&self) -> String {
        fs::read_to_string(&self.configuration).unwrap_or_default()
    }

    /// Waits for a text in its log.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        wait_for(&format!("{text:?} in the log"), || {
            self.log().contains(text).then_some(())
        });
    }

    /// The lines of its access log, `access.log` in its directory and of JSON, once there are so many.
    #[must_use]
    #[track_caller]
    pub fn access_lines(&self, count: usize) -> Vec<serde_json::Value> {
        wait_for(&format!("{count} lines in the access log"), || {
            let text = fs::read_to_string(self.directory().join("access.log")).unwrap_or_default();
            let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            let lines: Vec<_> = lines.collect();
            (lines.len() >= count).then_some(lines)
        })
    }

    /// Replaces the configuration file in one step, as editors and deployment tools do.
    pub fn write_configuration(&self, text: &str) -> io::Result<()> {
        let staged = self.configuration.with_extension("next");
        fs::write(&staged, text)?;
        fs::rename(staged, &self.configuration)
    }

    /// Replaces the configuration, sends SIGHUP and waits for the outcome: its log since the signal.
    #[track_caller]
    pub fn reload(&self, text: &str) -> String {
        let before = self.log().len();
        self.write_configuration(text).expect("the configuration is written");
        self.process.signal(Signal::HUP).expect("the process takes a signal");
        wait_for("the reload has an outcome", || {
            let log = self.log().split_off(before);
            let known = ["configuration applied", "configuration refused"];
            known.iter().any(|words| log.contains(words)).then_some(log)
        })
    }

    /// Sends a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal).expect("the process takes a signal");
    }

    /// Waits for the process to end, and returns how.
    ///
    /// *Panics* when it does not within that time.
    #[track_caller]
    pub fn ends(&mut self, within: Duration) -> ExitStatus {
        let status = self.process.wait(within).expect("its status is known");
        status.unwrap_or_else(|| panic!("isobar did not end within {within:?}; it wrote\n{}", self.log()))
    }

    /// Scrapes its metrics.
    #[must_use]
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        Metrics::new(get(self.admin(), "/metrics").expect("/metrics answers").text())
    }

    /// Waits until nothing is in flight and nobody waits in a queue.
    #[track_caller]
    pub fn comes_to_rest(&self) {
        wait_for("nothing is in flight", || {
            let metrics = self.metrics();
            let is_zero = |name| metrics.sum(name, &[]) == Some(0.0);
            (is_zero("isobar_server_in_flight") && is_zero("isobar_upstream_queued")).then_some(())
        });
    }

    /// What `/health/detailed` says.
    #[must_use]
    #[track_caller]
    pub fn health(&self) -> serde_json::Value {
        let answer = get(self.admin(), "/health/detailed").expect("/health/detailed answers");
        serde_json::from_slice(&answer.body).expect("/health/detailed is JSON")
    }
}

impl Drop for Isobar {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let shown = log.lines().rev().take(60).collect::<Vec<_>>();
            let shown = shown.into_iter().rev().collect::<Vec<_>>().join("\n");
            // The test runner keeps what a failed test writes here and shows it with the failure.
            #[expect(
                clippy::print_stderr,
                reason = "the log of the program under test belongs to the failure"
            )]
            {
                eprintln!(
                    "the end of isobar's log:\n{shown}\nits configuration:\n{}",
                    self.configuration_text()
                );
            }
        }
    }
}
