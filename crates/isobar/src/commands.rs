//! The commands that end in one answer, and those that serve.

mod check;
mod proxy;
mod run;
mod server;

pub(crate) use check::{check, open};
pub(crate) use proxy::proxy;
pub(crate) use run::run;
pub(crate) use server::server;

use std::io::{self, Write};

use anyhow::{Context, Result};

use crate::arguments::SchemaOptions;

/// Prints the JSON Schema of configuration files, or of scenarios.
pub(crate) fn schema(options: &SchemaOptions) -> Result<()> {
    let schema = if options.scenario {
        isobar_config::scenario_schema()
    } else {
        isobar_config::json_schema()
    };
    let schema = serde_json::to_string_pretty(&schema).context("failed to write the schema")?;
    print(&format!("{schema}\n"))
}

/// Writes to the standard output; a reader that went away, such as `head`, is no error.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("failed to write to the standard output")
        }
        _ => Ok(()),
    }
}
