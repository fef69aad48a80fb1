//! `isobar run`: serves what a file says.

use std::io;

use anyhow::Result;
use isobar_control::{Reading, load, read};

use crate::arguments::RunOptions;
use crate::serve::{Origin, Service, serve};
use crate::{files, logging};

/// Serves a configuration file until a signal asks to stop.
pub(crate) fn run(options: &RunOptions) -> Result<()> {
    logging::start();
    let path = options.file.clone();
    let reading = Reading {
        look: files::look_to_serve,
        color: logging::diagnostics_color(&io::stderr()),
    };
    let text = read(&path)?;
    let configuration = load(&path.display().to_string(), text.clone(), reading)?;
    if !configuration.warnings.is_empty() {
        tracing::warn!(
            "{} is valid, but:\n{}",
            path.display(),
            configuration.warnings.trim_end()
        );
    }
    serve(Service {
        plan: configuration.plan,
        origin: Origin::File { path, text, reading },
        workers: options.workers.options()?,
    })
}
