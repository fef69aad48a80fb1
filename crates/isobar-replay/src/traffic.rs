//! In which order did requests come?
//!
//! Several logs become one stream in the order of time. A log has its lines in the order in which requests ended, or nearly so; they
//! are brought into the order in which they came by a window of so many requests. What is further out of order than that comes late,
//! and is counted; limits let time stand still for it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::rc::Rc;

use isobar_observe::recorded::{Entry, LineFormat, MAX_LINE_BYTES};

use crate::detect::FormatChoice;
use crate::input::{InputError, Lines, Source};
use crate::recorded::{Defaults, Lacks, Layout, Recorded};

/// Requests within which lines are brought into order.
const WINDOW: usize = 65_536;

/// Lines that could not be read and are shown.
const SHOWN: usize = 5;

/// Bytes of such a line that are shown.
const SHOWN_BYTES: usize = 100;

/// What is read, and how.
#[derive(Debug, Clone)]
pub struct TrafficSettings {
    /// The logs.
    pub sources: Vec<Source>,
    /// Their format.
    pub format: FormatChoice,
    /// What holds where they do not say it.
    pub defaults: Defaults,
}

/// Why there is no traffic to replay.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// A log cannot be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Nobody knows how to read a log.
    #[error(
        "failed to find out the format of {name}: its first line is neither JSON, nor combined, nor common: {line}"
    )]
    UnknownFormat {
        /// Which log.
        name: String,
        /// Its first line, in part.
        line: String,
    },
}

/// A line that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The log.
    pub name: String,
    /// The number of the line, from 1.
    pub line: u64,
    /// Why.
    pub why: &'static str,
    /// What it begins with.
    pub text: String,
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The logs, and what their formats are called.
    pub logs: Vec<(String, String)>,
    /// Lines that are not empty.
    pub lines: u64,
    /// Lines that could not be read.
    pub unreadable: u64,
    /// The first of them.
    pub shown: Vec<Unreadable>,
    /// Requests that came later in the logs than could be made good.
    pub late: u64,
    /// Requests whose duration is known.
    pub timed: u64,
    /// Whether any time had a part of a second.
    pub has_fractions: bool,
}

/// Requests of one log.
struct Log {
    lines: Lines,
    format: LineFormat,
    layout: Rc<Layout>,
    next: Option<Recorded>,
}

/// A request that waits for its turn.
struct Waiting {
    request: Recorded,
    number: u64,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    /// The earliest is the greatest, of those at one time the first that was read.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.request.at, other.number).cmp(&(self.request.at, self.number))
    }
}

/// The requests of all logs.
pub struct Traffic {
    logs: Vec<Log>,
    waiting: BinaryHeap<Waiting>,
    defaults: Defaults,
    reading: Reading,
    read: u64,
    /// The time of the last request that was given out.
    last: u64,
    spare: Vec<Entry>,
    window: usize,
}

impl Traffic {
    /// Opens all logs.
    ///
    /// *Errors*: one cannot be opened, or nobody knows its format.
    pub fn open(settings: &TrafficSettings) -> Result<Self, TrafficError> {
        let mut traffic = Self {
            logs: Vec::new(),
            waiting: BinaryHeap::new(),
            defaults: settings.defaults.clone(),
            reading: Reading::default(),
            read: 0,
            last: 0,
            spare: Vec::new(),
            window: WINDOW,
        };
        for source in &settings.sources {
            let mut lines = Lines::open(source)?;
            let beginning = lines.beginning()?;
            let Some(first) = beginning.first() else {
                traffic.reading.logs.push((source.name(), "empty".to_owned()));
                continue;
            };
            let format = settings
                .format
                .of(&beginning)
                .ok_or_else(|| TrafficError::UnknownFormat {
                    name: source.name(),
                    line: shown(first),
                })?;
            traffic.reading.logs.push((source.name(), format.name()));
            traffic.logs.push(Log {
                layout: Rc::new(Layout::of(format.columns())),
                lines,
                format,
                next: None,
            });
        }
        for index in 0..traffic.logs.len() {
            traffic.advance(index)?;
        }
        Ok(traffic)
    }

    /// The next request in the order of time; none: there is no more.
    ///
    /// *Errors*: a log cannot be read to its end.
    pub fn next_request(&mut self) -> Result<Option<Recorded>, TrafficError> {
        while self.waiting.len() < self.window {
            let first = |log: &Log| log.next.as_ref().map(|request| request.at);
            let times = self
                .logs
                .iter()
                .enumerate()
                .filter_map(|(index, log)| Some((first(log)?, index)));
            let Some((_, index)) = times.min() else {
                break;
            };
            if let Some(request) = self.logs.get_mut(index).and_then(|log| log.next.take()) {
                self.read += 1;
                let number = self.read;
                self.waiting.push(Waiting { request, number });
            }
            self.advance(index)?;
        }
        let Some(Waiting { request, .. }) = self.waiting.pop() else {
            return Ok(None);
        };
        self.reading.late += u64::from(request.at < self.last);
        self.last = self.last.max(request.at);
        Ok(Some(request))
    }

    /// Takes back a request that was dealt with, so that its memory is used again.
    pub fn recycle(&mut self, request: Recorded) {
        if self.spare.len() < 64 {
            self.spare.push(request.entry);
        }
    }

    /// What was read so far.
    #[must_use]
    pub const fn reading(&self) -> &Reading {
        &self.reading
    }

    /// How much of all logs was read, 0 to 1; none: nobody knows how long they are.
    #[must_use]
    pub fn progress(&self) -> Option<f64> {
        let parts = self.logs.iter().map(|log| log.lines.progress());
        let (read, length) = parts.fold((0, Some(0)), |(read, length), (more, longer)| {
            (read + more, length.zip(longer).map(|(length, longer)| length + longer))
        });
        length
            .filter(|length| *length > 0)
            .map(|length| read as f64 / length as f64)
    }

    /// Reads on in a log to its next request.
    fn advance(&mut self, index: usize) -> Result<(), InputError> {
        let Self {
            logs,
            defaults,
            reading,
            spare,
            ..
        } = self;
        let Some(log) = logs.get_mut(index) else {
            return Ok(());
        };
        loop {
            let Some(line) = log.lines.next()? else {
                return Ok(());
            };
            reading.lines += 1;
            let mut entry = spare.pop().unwrap_or_default();
            let why = if line.len() > MAX_LINE_BYTES {
                "the line is too long"
            } else if log.format.read(line, &mut entry) {
                match Recorded::new(Rc::clone(&log.layout), entry, defaults) {
                    Ok(request) => {
                        reading.timed += u64::from(request.took.is_some());
                        reading.has_fractions |= request.has_fraction;
                        log.next = Some(request);
                        return Ok(());
                    }
                    Err((lacks, entry)) => {
                        spare.push(entry);
                        match lacks {
                            Lacks::Time => "it has no time that can be read",
                            Lacks::Client => "its client is no address",
                        }
                    }
                }
            } else {
                "it is not of this format"
            };
            let text = shown(line);
            reading.unreadable += 1;
            if reading.shown.len() < SHOWN {
                reading.shown.push(Unreadable {
                    name: log.lines.name().to_owned(),
                    line: log.lines.number(),
                    why,
                    text,
                });
            }
        }
    }
}

/// The beginning of a line, fit for a terminal.
fn shown(line: &[u8]) -> String {
    let part = line.get(..SHOWN_BYTES).unwrap_or(line);
    let more = if part.len() < line.len() { "…" } else { "" };
    format!("{}{more}", part.escape_ascii())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{Defaults, FormatChoice, Source, Traffic, TrafficSettings};
    use crate::recorded::Stamp;

    /// The times of requests in the order in which they come, for lines with an end and a duration in seconds.
    fn times(logs: &[&[(u64, u64)]], window: usize, stamp: Stamp) -> (Vec<u64>, u64) {
        let files: Vec<_> = logs
            .iter()
            .map(|log| {
                let mut file = tempfile::NamedTempFile::new().unwrap();
                for (end, took) in *log {
                    let took = took * 1_000;
                    writeln!(
                        file,
                        "{{\"time\":{end},\"client\":\"192.0.2.1\",\"duration_ms\":{took}}}"
                    )
                    .unwrap();
                }
                file
            })
            .collect();
        let sources = files.iter().map(|file| Source::File(file.path().to_owned()));
        let mut traffic = Traffic::open(&TrafficSettings {
            sources: sources.collect(),
            format: FormatChoice::Detect(Vec::new()),
            defaults: Defaults {
                stamp,
                ..Defaults::default()
            },
        })
        .unwrap();
        traffic.window = window;
        let mut times = Vec::new();
        while let Some(request) = traffic.next_request().unwrap() {
            times.push(request.at() / 1_000_000_000);
            traffic.recycle(request);
        }
        assert!(logs.is_empty() || traffic.progress() == Some(1.0));
        (times, traffic.reading().late)
    }

    #[test]
    fn logs_become_one_in_the_order_of_time() {
        let check = |logs: &[&[(u64, u64)]], window, expected: (&[u64], u64)| {
            let (found, late) = times(logs, window, Stamp::End);
            assert_eq!((&*found, late), expected, "{logs:?}");
        };
        check(&[], 10, (&[], 0));
        check(
            &[&[(10, 0), (30, 0)], &[(20, 0), (40, 0)], &[]],
            1,
            (&[10, 20, 30, 40], 0),
        );
        // Those that took long came before those that ended before them.
        check(&[&[(10, 0), (11, 0), (12, 7)]], 10, (&[5, 10, 11], 0));
        // A window of one puts nothing in order, and says so.
        check(&[&[(10, 0), (11, 0), (12, 7)]], 1, (&[10, 11, 5], 1));
        check(&[&[(10, 0), (11, 0), (12, 7), (13, 0)]], 2, (&[10, 5, 11, 13], 1));
        assert_eq!(times(&[&[(10, 5)]], 10, Stamp::Start), (vec![10], 0));
    }
}
