//! Skeleton.
use crate::Outcome;
use anyhow::Result;
#[derive(clap::Args)]
pub(crate) struct BenchOptions {}
#[derive(clap::Args)]
pub(crate) struct FloorOptions {}
pub(crate) fn run(_: &BenchOptions) -> Result<Outcome> {
    Ok(Outcome::Passed)
}
pub(crate) fn run_origin() -> Result<Outcome> {
    Ok(Outcome::Passed)
}
pub(crate) fn run_floor(_: &FloorOptions) -> Result<Outcome> {
    Ok(Outcome::Passed)
}
