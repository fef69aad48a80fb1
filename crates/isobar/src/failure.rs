//! How does a person learn that it failed?
//!
//! In one line that begins with the program's name, or as the rendered problems of a configuration.

use std::io::{self, Write};
use std::process::ExitCode;

use isobar_control::LoadError;
use isobar_engine::ApplyError;
pub(crate) use isobar_engine::named_file::reason as io_reason;

use crate::replay::Exceeded;

/// Writes an error to the standard error; *returns* the exit code that goes with it.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(exceeded) = error.downcast_ref::<Exceeded>() {
        let _ = writeln!(io::stderr(), "isobar: {exceeded}");
        return ExitCode::from(Exceeded::CODE);
    }
    let text = match error.downcast_ref() {
        // Ends with a line of its own that names the file and counts the errors.
        Some(LoadError::Invalid { rendered, .. }) if !rendered.is_empty() => format!("{}\n", rendered.trim_end()),
        _ => format!("isobar: {error:#}\n"),
    };
    // When the standard error is gone there is nobody left to tell.
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::FAILURE
}

/// Why an engine did not take a plan, in one line without error numbers.
pub(crate) fn apply_reason(error: &ApplyError) -> String {
    match error {
        ApplyError::Listen { name, address, source } => {
            format!("failed to listen on {address} ({name}): {}", io_reason(source))
        }
        ApplyError::AccessLog { path, source } => {
            format!("failed to open the access log {path}: {}", io_reason(source))
        }
        ApplyError::Template(_) | ApplyError::Draining | ApplyError::Authorities { .. } | ApplyError::Tls { .. } => {
            error.to_string()
        }
        ApplyError::Worker(source) => format!("failed to start a thread: {}", io_reason(source)),
    }
}
