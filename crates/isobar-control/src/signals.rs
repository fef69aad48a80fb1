//! What does the operator ask of the process?
//!
//! Signals become three wishes. What is done about them is decided elsewhere.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: open log files again.
    ReopenLogs,
    /// SIGTERM or SIGINT: finish what is there and end; the second time: end at once.
    Stop,
}

/// The signals of this process, taken from the moment this is made: none ends the process by itself any more.
#[derive(Debug)]
pub struct Signals {
    hangup: Stream,
    user: Stream,
    terminate: Stream,
    interrupt: Stream,
}

impl Signals {
    /// Takes over the signals. Needs a tokio runtime.
    ///
    /// *Errors*: the kernel refuses the handler.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next signal. Cancel-safe: a signal that came is kept for the next call.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
            _ = self.user.recv() => Signal::ReopenLogs,
        }
    }
}
