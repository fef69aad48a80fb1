//! Between whom is an upstream divided?

use std::sync::Arc;

use isobar_plan::{FairWeight, LimitKey};

use super::limit::bytes::Place;
use super::limit::values;
use crate::document::{FairShare, LimitKeyPart, OrNone};
use crate::problem::{Path, Problem, Problems};
use crate::setting::Word;

/// The largest weight.
const MOST: u32 = 10_000;

pub(super) fn fair_share(
    written: &OrNone<FairShare>,
    at: Path<'_>,
    problems: &mut Problems,
) -> Option<Arc<isobar_plan::FairShare>> {
    let FairShare {
        key,
        weights,
        weights_file,
    } = written.0.as_ref()?;
    if key.0.is_empty() {
        problems.push(Problem::error(at.key("key"), "a key has one part at least").help("key: client_ip"));
    }
    let lacking = |part: &LimitKeyPart| Some((part.write(), Place::Http.lacks(&part.part())?));
    if let Some((part, why)) = key.0.iter().find_map(lacking) {
        problems.push(Problem::error(at.key("key"), format!("no request has `{part}`: {why}")));
    }
    let key: Vec<_> = key.0.iter().map(LimitKeyPart::part).collect();
    let at = at.key("weights");
    let mut planned = Vec::with_capacity(weights.0.len());
    for (written, weight) in weights.iter() {
        match values(written.as_str(), &key) {
            Ok(key) => planned.push(FairWeight {
                key,
                weight: weight.value(),
            }),
            Err(message) => problems.push(Problem::error(at.key(written.as_str()), message).on_key()),
        }
    }
    Some(Arc::new(isobar_plan::FairShare {
        key,
        weights: planned,
        weights_file: weights_file.as_ref().map(|file| file.as_str().into()),
        weights_read: [].into(),
    }))
}

/// Reads the file of a fair share: a key and a weight on each line.
///
/// *Errors*: the first line that cannot be read, and why; the writer's fault.
pub fn read_weights(text: &str, key: &[LimitKey]) -> Result<Vec<FairWeight>, String> {
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let read = lines.map(|(number, line)| self::line(line, key).map_err(|why| format!("line {number}: {why}")));
    read.collect()
}

/// Whether a fair share that is written so can read the file.
///
/// *Errors*: as for [`read_weights`].
pub fn check_weights(text: &str, key: &[LimitKeyPart]) -> Result<(), String> {
    let key: Vec<_> = key.iter().map(LimitKeyPart::part).collect();
    read_weights(text, &key).map(drop)
}

fn line(line: &str, key: &[LimitKey]) -> Result<FairWeight, String> {
    let Some((value, weight)) = line.rsplit_once([' ', '\t']) else {
        return Err("a line has a key and a weight, as in `acme 3`".to_owned());
    };
    let read = weight.parse().ok().filter(|weight| (1..=MOST).contains(weight));
    Ok(FairWeight {
        weight: read.ok_or_else(|| format!("`{}` is no weight from 1 to {MOST}", weight.escape_debug()))?,
        key: values(value.trim_end(), key)?,
    })
}

#[cfg(test)]
mod tests {
    use isobar_plan::HashPart;

    use super::*;

    #[test]
    fn files_of_weights() {
        let header = LimitKey::Part(HashPart::Header("x-customer".into()));
        let check = |text: &str, parts: usize, expected: Result<&[u32], &str>| {
            let key: Vec<_> = std::iter::repeat_n(header.clone(), parts).collect();
            let read = read_weights(text, &key);
            let weights = read.map(|read| read.iter().map(|weight| weight.weight).collect::<Vec<_>>());
            assert_eq!(weights, expected.map(<[u32]>::to_vec).map_err(str::to_owned), "{text}");
        };
        check("", 1, Ok(&[]));
        check("# some\n\nacme 3\n  two words\t10000\n", 1, Ok(&[3, 10_000]));
        check("a|b 2", 2, Ok(&[2]));
        check("acme", 1, Err("line 1: a line has a key and a weight, as in `acme 3`"));
        check("acme 1\nglobex 0", 1, Err("line 2: `0` is no weight from 1 to 10000"));
        check("acme 10001", 1, Err("line 1: `10001` is no weight from 1 to 10000"));
        check("acme 1.5", 1, Err("line 1: `1.5` is no weight from 1 to 10000"));
        let parts = "line 1: the key has 2 parts, with `|` between them, and this value has 1";
        check("acme 3", 2, Err(parts));
    }
}
