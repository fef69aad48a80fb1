//! How is a set of status codes written?

use isobar_plan::StatusRanges;

use super::text_traits;
use crate::problem::{Path, Problems};
use crate::setting::shape::WordShape;
use crate::setting::word::decode_word;
use crate::setting::{Detail, Misfit, Setting, Shape, Word, Written};
use crate::tree::{Node, Value};

/// One or more status codes, written `200`, `200-399`, or a list of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(Vec<Range>);

/// Status codes from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    low: u16,
    high: u16,
}

impl Statuses {
    /// The codes from one to another, both included, moved into 100 to 599: for constants.
    pub(crate) fn from_to(low: u16, high: u16) -> Self {
        let low = low.clamp(100, 599);
        Self(vec![Range {
            low,
            high: high.clamp(low, 599),
        }])
    }

    /// The codes in the form the plan has.
    #[must_use]
    pub fn ranges(&self) -> StatusRanges {
        StatusRanges(self.0.iter().map(|range| (range.low, range.high)).collect())
    }

    /// The codes written as one word.
    pub(crate) fn read_one(text: &str) -> Result<Self, Misfit> {
        Range::read(text).map(|range| Self(vec![range]))
    }

    /// The one word that says it all; none: a list is needed.
    pub(crate) fn as_word(&self) -> Option<String> {
        match self.0.as_slice() {
            [range] => Some(range.write()),
            _ => None,
        }
    }

    /// Whether there are none, which nothing could match.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Setting for Statuses {
    fn decode(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> Self {
        match &node.value {
            Value::List(_) => Self(Vec::decode(node, at, problems)),
            _ => Self(vec![decode_word(node, at, problems)]),
        }
    }

    fn placeholder() -> Self {
        Self(vec![Range::stand_in()])
    }

    fn encode(&self, detail: Detail) -> Written {
        match self.0.as_slice() {
            [range] => range.encode(detail),
            ranges => Written::List(ranges.iter().map(|range| range.encode(detail)).collect()),
        }
    }

    fn shape() -> Shape {
        let one = Shape::Word(Range::describe());
        Shape::Either(vec![one.clone(), Shape::List { element: Box::new(one) }])
    }
}

impl Word for Range {
    fn read(text: &str) -> Result<Self, Misfit> {
        let class = text.len() == 3 && text.to_ascii_lowercase().ends_with("xx");
        if let (true, Some(digit @ '1'..='5')) = (class, text.chars().next()) {
            return Err(Misfit::OTHER.help(format!("did you mean `{digit}00-{digit}99`?")));
        }
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let (low, high) = (code(low.trim())?, code(high.trim())?);
        if low > high {
            let help = format!("did you mean `{high}-{low}`?");
            return Err(Misfit::because("a range runs from the lower to the higher status").help(help));
        }
        Ok(Self { low, high })
    }

    fn write(&self) -> String {
        if self.low == self.high {
            self.low.to_string()
        } else {
            format!("{}-{}", self.low, self.high)
        }
    }

    fn stand_in() -> Self {
        Self { low: 200, high: 200 }
    }

    fn describe() -> WordShape {
        WordShape {
            name: "status",
            expected: "a status or a range of them such as `200-399`".to_owned(),
            pattern: Some("^[1-5][0-9]{2}(?: *- *[1-5][0-9]{2})?$"),
            examples: &["200", "200-399"],
            range: Some("100 to 599".to_owned()),
            number: true,
        }
    }
}

text_traits!(Range);

fn code(text: &str) -> Result<u16, Misfit> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Misfit::OTHER);
    }
    let code = text.parse().ok().filter(|code| (100..=599).contains(code));
    code.ok_or_else(|| {
        Misfit::because(format!(
            "a status lies between 100 and 599, found `{}`",
            crate::tree::shorten(text)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::Range;

    #[test]
    fn ranges() {
        let check = |text: &str, expected: &str| {
            let found = text
                .parse::<Range>()
                .map_or_else(|error| error.to_string(), |range| range.to_string());
            assert_eq!(found, expected, "{text}");
        };
        let expected = "expected a status or a range of them such as `200-399`, found";
        check("200", "200");
        check("200-399", "200-399");
        check("200 - 399", "200-399");
        check("204-204", "204");
        check("2xx", &format!("{expected} `2xx`; did you mean `200-299`?"));
        check("9xx", &format!("{expected} `9xx`"));
        check(
            "399-200",
            "a range runs from the lower to the higher status; did you mean `200-399`?",
        );
        check("99", "a status lies between 100 and 599, found `99`");
        check("200-600", "a status lies between 100 and 599, found `600`");
        check("99999999", "a status lies between 100 and 599, found `99999999`");
        check("ok", &format!("{expected} `ok`"));
        check("200-", &format!("{expected} `200-`"));
        check("", &format!("{expected} ``"));
    }
}
