//! Who writes the access log, so that no worker ever waits for a disk?

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use isobar_l7::LineSink;
use isobar_observe::access::{Template, TemplateError};
use isobar_plan::{AccessLog, Event, LogDestination, LogFormat, LogStatus};

use crate::{ApplyError, EventSink};

/// Batches in the queue at most; the number of lines in them is bounded by the log's settings.
const MAX_BATCHES: usize = 1024;

/// The writer of one access log: a thread behind a queue with a bound.
pub(crate) struct LogWriter {
    queue: Mutex<Option<SyncSender<Lines>>>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
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
        let body = move || writer.run(&receiver, output, &destination);
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(body);
        let thread = thread.map_err(ApplyError::Worker)?;
        Ok(Arc::new(Self {
            queue: Mutex::new(Some(sender)),
            shared,
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// Opens the file anew, before the next batch.
    pub(crate) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        // An empty batch makes the writer look; if the queue is full it looks anyway.
        self.send(Lines::default());
    }

    /// Writes what waits, and ends.
    pub(crate) fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A writer that panicked has said so on its own.
            let _ = thread.join();
        }
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
        while let Ok(Lines { bytes, count }) = queue.recv() {
            if self.reopen.swap(false, Ordering::AcqRel) {
                match Output::open(destination) {
                    Ok(opened) => output = opened,
                    // Better the old file than none.
                    Err(error) => self.note(Some(error)),
                }
            }
            if count == 0 {
                continue;
            }
            let result = output.write(&bytes);
            self.waiting.fetch_sub(count, Ordering::Relaxed);
            let counter = if result.is_ok() { &self.written } else { &self.dropped };
            counter.fetch_add(count.into(), Ordering::Relaxed);
            self.note(result.err());
        }
    }

    /// Keeps the last error until something works again, and reports the first of a series.
    fn note(&self, error: Option<io::Error>) {
        let error = error.map(|error| error.to_string());
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
