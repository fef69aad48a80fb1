//! Where are finished requests written down?

use alloc::boxed::Box;

/// An access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Where its lines go.
    pub destination: LogDestination,
    /// What a line looks like.
    pub format: LogFormat,
    /// Lines that wait for the writer at most; further ones are dropped and counted.
    pub queue: u32,
}

/// Where the lines of a log go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogDestination {
    /// The standard output.
    Stdout,
    /// A file, appended to; opened again on SIGUSR1.
    File(Box<str>),
}

/// What a line of an access log looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line with every field.
    Json,
    /// The combined format of Apache and nginx.
    Combined,
    /// A template with `{field}` placeholders, known to compile.
    Template(Box<str>),
}
