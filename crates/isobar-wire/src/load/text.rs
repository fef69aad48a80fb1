//! Reports as `name=number, name=number`.

use super::LoadReportError;
use super::metrics::{Metrics, tell};

/// Reads what follows `TEXT `. Envoy parts names and numbers by `:`, the design document by `=`.
pub(super) fn read(value: &[u8]) -> Result<Metrics, LoadReportError> {
    let mut metrics = Metrics::default();
    let parts = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    for part in parts.filter(|part| !part.is_empty()) {
        let separator = if part.contains(&b'=') { b'=' } else { b':' };
        let (name, told) = pair(part, separator)?;
        match name.strip_prefix(b"named_metrics.") {
            Some(name) => metrics.tell_named(name, told)?,
            None => tell(metrics.place(name), told)?,
        }
    }
    Ok(metrics)
}

/// The two sides of the first such byte.
pub(super) fn pair(part: &[u8], separator: u8) -> Result<(&[u8], &[u8]), LoadReportError> {
    let at = part.iter().position(|&byte| byte == separator);
    let sides = at.and_then(|at| Some((part.get(..at)?.trim_ascii(), part.get(at + 1..)?.trim_ascii())));
    match sides {
        Some((name, told)) if !name.is_empty() && !told.is_empty() => Ok((name, told)),
        _ => Err(LoadReportError::BadMetric),
    }
}
