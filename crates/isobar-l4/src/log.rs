//! How do the lines of the access log leave the worker?

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use isobar_observe::access::{Record, Template};

/// Past this many bytes a worker's lines are handed over at once; otherwise at the next tick.
const BATCH_BYTES: usize = 32 * 1024;

/// What takes the lines; it must not block.
pub trait LineSink: Send + Sync {
    /// Takes a batch of whole lines, or drops it where too much is waiting; what it does not take, it counts.
    fn push(&self, lines: Vec<u8>, count: u32);
}

/// An access log, as workers see it.
pub struct LogHandle {
    /// What a line looks like.
    pub template: Template,
    /// Where it goes.
    pub sink: Arc<dyn LineSink>,
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogHandle").finish_non_exhaustive()
    }
}

/// The lines one worker has not handed over yet.
#[derive(Debug, Default)]
pub struct Lines {
    batch: RefCell<Batch>,
}

#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    count: u32,
}

impl Lines {
    /// Writes a line for `record`.
    pub fn write(&self, log: &LogHandle, record: &Record<'_>) {
        let full = {
            let mut batch = self.batch.borrow_mut();
            log.template.render(record, &mut batch.bytes);
            batch.count += 1;
            batch.bytes.len() >= BATCH_BYTES
        };
        if full {
            self.flush(log);
        }
    }

    /// Hands over what is there.
    pub fn flush(&self, log: &LogHandle) {
        let batch = {
            let mut batch = self.batch.borrow_mut();
            if batch.count == 0 {
                return;
            }
            let size = batch.bytes.len();
            std::mem::replace(
                &mut *batch,
                Batch {
                    bytes: Vec::with_capacity(size),
                    count: 0,
                },
            )
        };
        log.sink.push(batch.bytes, batch.count);
    }
}
