//! How is a number of bytes written?

use std::fmt;
use std::str::FromStr;

use super::{UnitError, from_text};
use crate::problem::{Path, Problems};
use crate::setting::shape::WordShape;
use crate::setting::word::decode_word;
use crate::setting::{Detail, Misfit, Setting, Shape, Word, Written};
use crate::suggest::did_you_mean;
use crate::tree::Node;

/// A number of bytes from `LEAST` to `GREATEST`, written `65536`, `64KiB`, `1MiB`, `10MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize<const LEAST: u64, const GREATEST: u64>(u64);

/// The units from the greatest to the least; those of two come first, as what is written back uses them.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];

impl<const LEAST: u64, const GREATEST: u64> ByteSize<LEAST, GREATEST> {
    /// The number of bytes; none: it lies outside the range.
    #[must_use]
    pub const fn new(bytes: u64) -> Option<Self> {
        if LEAST <= bytes && bytes <= GREATEST {
            Some(Self(bytes))
        } else {
            None
        }
    }

    /// The number of bytes, moved to the nearer end of the range where it lies outside: for constants.
    pub(crate) const fn of(bytes: u64) -> Self {
        match Self::new(bytes) {
            Some(size) => size,
            None if bytes < LEAST => Self(LEAST),
            None => Self(GREATEST),
        }
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl<const LEAST: u64, const GREATEST: u64> Word for ByteSize<LEAST, GREATEST> {
    fn read(text: &str) -> Result<Self, Misfit> {
        let Some(bytes) = bytes(text) else {
            return Err(Misfit {
                message: None,
                help: help(text),
            });
        };
        Self::new(bytes).ok_or_else(|| {
            let (least, greatest) = (write(LEAST), write(GREATEST));
            Misfit::because(format!(
                "expected a size from {least} to {greatest}, found `{}`",
                crate::tree::shorten(text)
            ))
        })
    }

    fn write(&self) -> String {
        write(self.0)
    }

    fn stand_in() -> Self {
        Self(LEAST)
    }

    fn describe() -> WordShape {
        WordShape {
            name: "size",
            expected: "a size such as `64KiB`".to_owned(),
            pattern: Some("^[0-9]+(?:B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?$"),
            examples: &["65536", "64KiB", "10MB"],
            range: (GREATEST != u64::MAX).then(|| format!("{} to {}", write(LEAST), write(GREATEST))),
            number: true,
        }
    }
}

impl<const LEAST: u64, const GREATEST: u64> Setting for ByteSize<LEAST, GREATEST> {
    fn decode(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> Self {
        decode_word(node, at, problems)
    }

    fn placeholder() -> Self {
        Self::stand_in()
    }

    fn encode(&self, _: Detail) -> Written {
        Written::Text(Word::write(self))
    }

    fn shape() -> Shape {
        Shape::Word(Self::describe())
    }
}

impl<const LEAST: u64, const GREATEST: u64> FromStr for ByteSize<LEAST, GREATEST> {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        from_text(text)
    }
}

impl<const LEAST: u64, const GREATEST: u64> fmt::Display for ByteSize<LEAST, GREATEST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&write(self.0))
    }
}

fn write(bytes: u64) -> String {
    let unit = UNITS
        .iter()
        .take(4)
        .find(|(_, size)| bytes != 0 && bytes.is_multiple_of(*size));
    unit.map_or_else(|| format!("{bytes}B"), |(name, size)| format!("{}{name}", bytes / size))
}

/// The bytes of a text; none: it is no size. A number too great for the type is the greatest one.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let size = match unit {
        "" => 1,
        "KB" => 1000,
        _ => UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    (digits > 0).then(|| number.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(size))
}

/// What was probably meant: nginx's and Docker's `10m`, another case, a space before the unit.
fn help(text: &str) -> Option<String> {
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let digits = compact.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = compact.split_at_checked(digits)?;
    let unit = match unit.to_ascii_lowercase().as_str() {
        "k" | "kib" | "ki" => "KiB",
        "m" | "mib" | "mi" => "MiB",
        "g" | "gib" | "gi" => "GiB",
        "t" | "tib" | "ti" => "TiB",
        "kb" => "kB",
        "mb" => "MB",
        "gb" => "GB",
        "tb" => "TB",
        "b" | "byte" | "bytes" => "B",
        _ => return None,
    };
    (digits > 0).then(|| did_you_mean(&format!("{number}{unit}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    type Any = super::ByteSize<0, { u64::MAX }>;
    type Head = super::ByteSize<1024, 65_535>;

    #[test]
    fn reads() {
        let check =
            |text: &str, bytes| assert_eq!(text.parse(), Ok(super::ByteSize::<0, { u64::MAX }>(bytes)), "{text}");
        check("0", 0);
        check("65536", 65_536);
        check("1B", 1);
        check("64KiB", 65_536);
        check("1MiB", 1 << 20);
        check("10MB", 10_000_000);
        check("1kB", 1000);
        check("1KB", 1000);
        check("2GiB", 2 << 30);
        check("99999999999999999999999", u64::MAX);
    }

    #[test]
    fn refuses() {
        let check = |text: &str, help: Option<&str>| {
            let error = text.parse::<Any>().unwrap_err();
            assert_eq!(
                error.message,
                format!("expected a size such as `64KiB`, found `{text}`")
            );
            assert_eq!(error.help.as_deref(), help, "{text}");
        };
        check("10m", Some("did you mean `10MiB`?"));
        check("10 MiB", Some("did you mean `10MiB`?"));
        check("1mb", Some("did you mean `1MB`?"));
        check("8Ki", Some("did you mean `8KiB`?"));
        check("KiB", None);
        check("1.5MiB", None);
        check("-1", None);
        check("", None);
        let error = "64KiB".parse::<Head>().unwrap_err();
        assert_eq!(error.message, "expected a size from 1KiB to 65535B, found `64KiB`");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_the_same(bytes: u64) {
            let size = super::ByteSize::<0, { u64::MAX }>(bytes);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,12}|[0-9]{0,25}[a-zA-Z ]{0,8}") {
            let _ = text.parse::<Any>();
        }
    }
}
