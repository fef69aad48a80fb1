//! Who writes the access log, so that no worker ever waits for a disk?

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use isobar_l7::LineSink;
use isobar_observe::access::{Template, TemplateError};
use isobar_plan::{AccessLog, Event, LogDestination, LogFormat, LogStatus};

use crate::{ApplyError, EventSink};

/// Batches in the queue at most; the number of lines in them is bounded by the log's settings.
const MAX_BATCHES: usize = 1024;

/// How long what waits may take to be written at the end: of a pipe that nobody reads it never is.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long a file that could not be opened again is left alone.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

/// The writer of one access log: a thread behind a queue with a bound.
pub(crate) struct LogWriter {
    queue: Mutex<Option<SyncSender<Lines>>>,
    shared: Arc<Shared>,
    /// Says nothing; its other end goes with the thread.
    running: Mutex<Receiver<()>>,
}

/// What the writer and its feeders both see.
struct Shared {
    /// Lines in the queue at most.
    max: u32,
    /// Whether the file is to be opened anew.
    reopen: AtomicBool,
    waiting: AtomicU32,
    written: AtomicU64,
    dropped: AtomicU64,
    error: Mutex<Option<String>>,
    events: EventSink,
}

/// Whole lines, and how many.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    count: u32,
}

/// Where lines go.
enum Output {
    Stdout(io::Stdout),
    File(File),
}

/// The template of a format.
pub(crate) fn template(format: &LogFormat) -> Result<Template, TemplateError> {
    match format {
        LogFormat::Json => Ok(Template::json()),
        LogFormat::Combined => Ok(Template::combined()),
        LogFormat::Template(text) => Template::compile(text),
    }
}

impl LogWriter {
    /// Opens the log and starts its writer.
    pub(crate) fn open(settings: &AccessLog, events: EventSink) -> Result<Arc<Self>, ApplyError> {
        let output = Output::open(&settings.destination).map_err(|source| ApplyError::AccessLog {
            path: match &settings.destination {
                LogDestination::Stdout => "stdout".to_owned(),
                LogDestination::File(path) => path.to_string(),
            },
            source,
        })?;
        let shared = Arc::new(Shared {
            max: settings.queue,
            reopen: AtomicBool::new(false),
            waiting: AtomicU32::new(0),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            error: Mutex::new(None),
            events,
        });
        let (sender, receiver) = mpsc::sync_channel(MAX_BATCHES);
        let (writer, destination) = (Arc::clone(&shared), settings.destination.clone());
        let (runs, running) = mpsc::sync_channel(1);
        let body = move || {
            let _runs: SyncSender<()> = runs;
            writer.run(&receiver, output, &destination);
        };
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(body);
        thread.map_err(ApplyError::Worker)?;
        Ok(Arc::new(Self {
            queue: Mutex::new(Some(sender)),
            shared,
            running: Mutex::new(running),
        }))
    }

    /// Opens the file anew, before the next batch. Where that fails, the old file is written on and the new one tried
    /// again.
    pub(crate) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        // An empty batch makes the writer look; if the queue is full it looks anyway.
        self.send(Lines::default());
    }

    /// Writes what waits, for a second at most, and ends.
    pub(crate) fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // Ends early, with an error, when the thread has ended; one that is stuck ends with the process.
        let _ = running.recv_timeout(LAST_LINES);
    }

    pub(crate) fn status(&self) -> LogStatus {
        LogStatus {
            written: self.shared.written.load(Ordering::Relaxed),
            dropped: self.shared.dropped.load(Ordering::Relaxed),
            error: self.shared.error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// False: there is no room, or the writer has ended.
    fn send(&self, lines: Lines) -> bool {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.as_ref().is_some_and(|sender| sender.try_send(lines).is_ok())
    }
}

impl LineSink for LogWriter {
    fn push(&self, lines: Vec<u8>, count: u32) {
        let waiting = self.shared.waiting.fetch_add(count, Ordering::Relaxed);
        if waiting.saturating_add(count) > self.shared.max || !self.send(Lines { bytes: lines, count }) {
            self.shared.waiting.fetch_sub(count, Ordering::Relaxed);
            self.shared.dropped.fetch_add(count.into(), Ordering::Relaxed);
        }
    }
}

impl Shared {
    fn run(&self, queue: &Receiver<Lines>, mut output: Output, destination: &LogDestination) {
        let mut reopening = Reopening::No;
        while let Ok(Lines { bytes, count }) = queue.recv() {
            if self.reopen.swap(false, Ordering::AcqRel) {
                reopening = Reopening::Now;
            }
            if reopening.is_due(Instant::now()) {
                reopening = match Output::open(destination) {
                    Ok(opened) => {
                        output = opened;
                        Reopening::No
                    }
                    Err(error) => Reopening::Failed {
                        error: format!("failed to open it again: {error}"),
                        at: Instant::now(),
                    },
                };
                self.note(reopening.error());
            }
            if count == 0 {
                continue;
            }
            let result = output.write(&bytes);
            self.waiting.fetch_sub(count, Ordering::Relaxed);
            let counter = if result.is_ok() { &self.written } else { &self.dropped };
            counter.fetch_add(count.into(), Ordering::Relaxed);
            // That the old file takes lines is not what was asked for.
            self.note(
                result
                    .err()
                    .map(|error| error.to_string())
                    .or_else(|| reopening.error()),
            );
        }
    }

    /// Keeps the last error until something works again, and reports the first of a series.
    fn note(&self, error: Option<String>) {
        let mut known = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == error {
            return;
        }
        known.clone_from(&error);
        drop(known);
        if let Some(error) = error {
            (self.events)(Event::AccessLogFailed { error });
        }
    }
}

/// Whether the file is to be opened again.
#[derive(Debug, PartialEq, Eq)]
enum Reopening {
    No,
    Now,
    /// It was tried.
    Failed {
        error: String,
        at: Instant,
    },
}

impl Reopening {
    fn is_due(&self, now: Instant) -> bool {
        match self {
            Self::No => false,
            Self::Now => true,
            Self::Failed { at, .. } => now.saturating_duration_since(*at) >= REOPEN_PAUSE,
        }
    }

    fn error(&self) -> Option<String> {
        match self {
            Self::No | Self::Now => None,
            Self::Failed { error, .. } => Some(error.clone()),
        }
    }
}

impl Output {
    fn open(destination: &LogDestination) -> io::Result<Self> {
        match destination {
            LogDestination::Stdout => Ok(Self::Stdout(io::stdout())),
            LogDestination::File(path) => OpenOptions::new()
                .append(true)
                .create(true)
                .open(&**path)
                .map(Self::File),
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => {
                let mut stdout = stdout.lock();
                stdout.write_all(lines)?;
                stdout.flush()
            }
            Self::File(file) => file.write_all(lines),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn writer(path: &std::path::Path) -> Arc<LogWriter> {
        let settings = AccessLog {
            destination: LogDestination::File(path.to_str().unwrap().into()),
            format: LogFormat::Json,
            queue: 1000,
        };
        LogWriter::open(&settings, Arc::new(|_| {})).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Looks until it is as expected.
    #[track_caller]
    fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_file_that_cannot_be_opened_again_is_tried_until_it_can() {
        let directory = tempfile::tempdir().unwrap();
        let (here, away) = (directory.path().join("here"), directory.path().join("away"));
        fs::create_dir(&here).unwrap();
        let log = writer(&here.join("log"));
        let line = |log: &LogWriter| log.push(b"line\n".to_vec(), 1);
        line(&log);
        wait_for("the first line", || log.status().written == 1);
        assert_eq!(log.status().error, None);

        fs::rename(&here, &away).unwrap();
        log.reopen();
        wait_for("the error", || log.status().error.is_some());
        line(&log);
        wait_for("the second line", || log.status().written == 2);
        assert!(log.status().error.is_some(), "the old file is not what was asked for");
        assert_eq!(fs::read_to_string(away.join("log")).unwrap(), "line\nline\n");

        fs::create_dir(&here).unwrap();
        wait_for("the new file, without another request", || {
            line(&log);
            log.status().error.is_none()
        });
        log.close();
        assert_eq!(log.status().dropped, 0);
        assert!(fs::read_to_string(here.join("log")).unwrap().starts_with("line\n"));
    }

    #[test]
    fn what_waits_is_written_before_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let log = writer(&path);
        (0..500).for_each(|_| log.push(b"line\n".to_vec(), 1));
        log.close();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 500);
        log.push(b"too late\n".to_vec(), 1);
        assert_eq!((log.status().written, log.status().dropped), (500, 1));
    }

    #[test]
    fn reopening_pauses_after_a_failure() {
        let now = Instant::now();
        let failed = Reopening::Failed {
            error: "no".to_owned(),
            at: now,
        };
        let check = |state: &Reopening, after, expected| assert_eq!(state.is_due(now + after), expected, "{state:?}");
        check(&Reopening::No, Duration::ZERO, false);
        check(&Reopening::Now, Duration::ZERO, true);
        check(&failed, Duration::ZERO, false);
        check(&failed, REOPEN_PAUSE, true);
    }
}
