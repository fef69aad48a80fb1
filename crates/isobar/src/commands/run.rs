//! `isobar run`: serves what a file says.

use std::io;

use anyhow::Result;
use isobar_control::{load, read};

use crate::arguments::RunOptions;
use crate::logging;
use crate::serve::{Origin, Service, serve};

/// Serves a configuration file until a signal asks to stop.
pub(crate) fn run(options: &RunOptions) -> Result<()> {
    logging::start();
    let (path, color) = (options.file.clone(), logging::diagnostics_color(&io::stderr()));
    let text = read(&path)?;
    let configuration = load(&path.display().to_string(), text.clone(), color)?;
    if !configuration.warnings.is_empty() {
        tracing::warn!(
            "{} is valid, but:\n{}",
            path.display(),
            configuration.warnings.trim_end()
        );
    }
    serve(Service {
        plan: configuration.plan,
        origin: Origin::File { path, text },
        workers: options.workers.options()?,
        color,
    })
}
