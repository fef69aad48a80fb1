//! Which format does a log have?

use std::rc::Rc;

use isobar_observe::recorded::{Entry, Keys, LineFormat, Pattern};

use crate::recorded::{Defaults, Layout, Recorded};

/// What was said about the format.
#[derive(Debug, Clone, PartialEq)]
pub enum FormatChoice {
    /// It is to be found out, file by file; these are tried besides those that are known anyway.
    Detect(Vec<LineFormat>),
    /// It is this.
    Given(LineFormat),
}

impl FormatChoice {
    /// The format of a log that begins with these lines: the one that reads most of them, of several the first.
    ///
    /// None: no format reads any.
    pub(crate) fn of(&self, lines: &[Vec<u8>]) -> Option<LineFormat> {
        let others = match self {
            Self::Given(format) => return Some(format.clone()),
            Self::Detect(others) => others,
        };
        let known = [
            LineFormat::Json(Keys::isobar()),
            LineFormat::Pattern(Pattern::combined()),
            LineFormat::Pattern(Pattern::vhost_combined()),
            LineFormat::Pattern(Pattern::common()),
        ];
        let mut entry = Entry::default();
        let mut read_by = |format: &LineFormat| {
            let layout = Rc::new(Layout::of(format.columns()));
            let mut reads = |line: &&Vec<u8>| {
                format.read(line, &mut entry) && {
                    let entry = std::mem::take(&mut entry);
                    Recorded::new(Rc::clone(&layout), entry, &Defaults::default()).is_ok()
                }
            };
            lines.iter().filter(|line| reads(line)).count()
        };
        let mut best: Option<(usize, LineFormat)> = None;
        for format in others.iter().chain(&known) {
            let count = read_by(format);
            if count > best.as_ref().map_or(0, |(count, _)| *count) {
                best = Some((count, format.clone()));
            }
        }
        best.map(|(_, format)| format)
    }
}

#[cfg(test)]
mod tests {
    use super::{FormatChoice, LineFormat, Pattern};

    #[test]
    fn formats_are_told_apart() {
        let check = |choice: &FormatChoice, line: &str, expected: Option<&str>| {
            let found = choice.of(&[b"rubbish".to_vec(), line.as_bytes().to_vec()]);
            assert_eq!(found.map(|format| format.name()).as_deref(), expected, "{line}");
        };
        let known = FormatChoice::Detect(Vec::new());
        let common = "192.0.2.7 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.1\" 200 12";
        check(&known, common, Some("common"));
        check(&known, &format!("{common} \"-\" \"x [y\""), Some("combined"));
        check(
            &known,
            &format!("a.example:80 {common} \"-\" \"x\""),
            Some("vhost_combined"),
        );
        let json = "{\"time\":\"2000-10-10T13:55:36Z\",\"client\":\"192.0.2.7\"}";
        check(&known, json, Some("json"));
        check(&known, "192.0.2.7 2000-10-10T13:55:36Z GET /", None);
        let template = "{client} {time} {method} {target}";
        let own = LineFormat::Pattern(Pattern::compile(template).unwrap());
        let both = FormatChoice::Detect(vec![own]);
        check(&both, "192.0.2.7 2000-10-10T13:55:36Z GET /", Some(template));
        check(&both, common, Some("common"));
    }
}
