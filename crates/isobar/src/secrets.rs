//! What stands in the files with secrets that a plan names?
//!
//! The data plane knows nothing of secrets' files, so the plan is completed here before it is served. A file is read again with every
//! reload; errors name it and never what stands in it.

use std::fs::File;
use std::io::{self, Read};

use isobar_plan::{Plan, Secret, StickyBy};

use crate::failure::io_reason;

/// Bytes of a secret at least: as many as its signatures have.
const MIN_BYTES: usize = 16;

/// Bytes of a file at most. More is a mistake in the path.
const MAX_BYTES: u64 = 4096;

/// Reads the secrets into the plan.
///
/// *Errors*: a file cannot be read, or holds no secret; in a line.
pub(crate) fn fill_in(plan: &mut Plan) -> Result<(), String> {
    for upstream in &mut plan.upstreams {
        let Some(StickyBy::Cookie(cookie)) = upstream.sticky.as_mut().map(|sticky| &mut sticky.by) else {
            continue;
        };
        let secret = |file: &str| {
            let read = secret(file);
            read.map_err(|why| format!("failed to read the secret {file} of upstream {}: {why}", upstream.name))
        };
        let secrets: Result<_, _> = cookie.secret_files.iter().map(|file| secret(file)).collect();
        cookie.secrets = secrets?;
    }
    Ok(())
}

/// The secret in a file, without the line end behind it.
fn secret(file: &str) -> Result<Secret, String> {
    let help = format!("make one with `openssl rand -hex 32 > {file}`");
    let bytes = bytes(file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("{}; {help}", io_reason(&error)),
        _ => io_reason(&error),
    })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it has more than {MAX_BYTES} bytes"));
    }
    let secret = bytes.trim_ascii_end();
    if secret.len() < MIN_BYTES {
        return Err(format!(
            "a secret has {MIN_BYTES} bytes at least, this one {}; {help}",
            secret.len()
        ));
    }
    Ok(Secret(secret.into()))
}

fn bytes(file: &str) -> io::Result<Vec<u8>> {
    let opened = File::open(file)?;
    if !opened.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    opened.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
