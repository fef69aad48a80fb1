//! How is written what a limit lets pass: so many requests, or so many bytes, in a time?

use std::time::Duration;

use super::{ByteSize, Rate, text_traits};
use crate::setting::shape::WordShape;
use crate::setting::{Misfit, Word};

/// Any number of bytes that a rate can have.
type Size = ByteSize<1, { isobar_plan::Rate::MOST_UNITS }>;

/// So many in a time: `100/min`, `20/10s`; or bytes: `10MB/s`, `512KiB/s`, `10GB/day`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pace {
    units: u64,
    time: Rate,
    is_of_bytes: bool,
}

/// How many at once: a number, or bytes such as `1MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Burst {
    units: u64,
    is_of_bytes: bool,
}

impl Pace {
    /// How many, or how many bytes.
    #[must_use]
    pub const fn units(self) -> u64 {
        self.units
    }

    /// In how long.
    #[must_use]
    pub const fn period(self) -> Duration {
        self.time.period()
    }

    /// Whether bytes are meant.
    #[must_use]
    pub const fn is_of_bytes(self) -> bool {
        self.is_of_bytes
    }

    /// All of it at once.
    #[must_use]
    pub const fn burst(self) -> Burst {
        Burst {
            units: self.units,
            is_of_bytes: self.is_of_bytes,
        }
    }
}

impl Burst {
    /// How many, or how many bytes.
    #[must_use]
    pub const fn units(self) -> u64 {
        self.units
    }

    /// Whether bytes are meant.
    #[must_use]
    pub const fn is_of_bytes(self) -> bool {
        self.is_of_bytes
    }
}

/// Whether a number has a unit behind it.
fn has_unit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && text.ends_with(|c: char| c.is_ascii_alphabetic())
}

/// A unit that is of bits.
fn is_of_bits(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    matches!(unit, "b" | "kb" | "Kb" | "Mb" | "Gb") || unit.to_ascii_lowercase().ends_with("bit")
}

fn behind(text: &str) -> &str {
    text.split_once('/').unwrap_or_default().1
}

fn size(text: &str) -> Result<u64, Misfit> {
    if is_of_bits(text) {
        return Err(Misfit::because("bytes are counted, and not bits").help("write it as in `10MB`"));
    }
    Size::read(text).map(Size::bytes)
}

impl Word for Pace {
    fn read(text: &str) -> Result<Self, Misfit> {
        match text.split_once('/') {
            Some((bytes, time)) if has_unit(bytes) => {
                let time = Rate::read(&format!("1/{time}")).map_err(|_| Misfit {
                    message: None,
                    help: Some("the units of time are `s`, `min`, `h` and `day`".to_owned()),
                })?;
                if bytes.trim_start_matches('0').starts_with(|c: char| !c.is_ascii_digit()) {
                    return Rate::read("0/s").map(|_| Self::stand_in());
                }
                match size(bytes) {
                    Ok(units) => Ok(Self {
                        units,
                        time,
                        is_of_bytes: true,
                    }),
                    Err(Misfit { message: None, help }) => Err(Misfit {
                        message: None,
                        // What is meant is the whole of it.
                        help: help
                            .map(|help| help.replace("`?", &format!("/{}`?", behind(text))))
                            .or_else(|| Rate::read(text).err()?.help),
                    }),
                    Err(misfit) => Err(misfit),
                }
            }
            _ => Rate::read(text).map(|time| Self {
                units: time.units(),
                time,
                is_of_bytes: false,
            }),
        }
    }

    fn write(&self) -> String {
        match self.is_of_bytes {
            true => {
                let time = self.time.write();
                let (_, time) = time.split_once('/').unwrap_or_default();
                format!("{}/{time}", Size::of(self.units).write())
            }
            false => self.time.write(),
        }
    }

    fn stand_in() -> Self {
        let time = Rate::stand_in();
        Self {
            units: time.units(),
            time,
            is_of_bytes: false,
        }
    }

    fn describe() -> WordShape {
        WordShape {
            name: "number, or bytes, in a time",
            expected: "a rate such as `100/min`".to_owned(),
            pattern: Some("^[0-9]+(?:B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?/[0-9]*(?:s|min|h|day)$"),
            examples: &["100/min", "3/s", "20/10s", "10MB/s", "10GB/day"],
            range: Some("1 to 1000000000, or 1B to 1TiB, in 1s to 365day".to_owned()),
            number: false,
        }
    }
}

impl Word for Burst {
    fn read(text: &str) -> Result<Self, Misfit> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let units = match is_number {
            true => text.parse().ok().filter(|units| (1..=1_000_000_000).contains(units)),
            false => {
                return size(text).map(|units| Self {
                    units,
                    is_of_bytes: true,
                });
            }
        };
        let units =
            units.ok_or_else(|| Misfit::because("expected a number from 1 to 1000000000, or bytes up to 1TiB"))?;
        Ok(Self {
            units,
            is_of_bytes: false,
        })
    }

    fn write(&self) -> String {
        match self.is_of_bytes {
            true => Size::of(self.units).write(),
            false => self.units.to_string(),
        }
    }

    fn stand_in() -> Self {
        Self {
            units: 1,
            is_of_bytes: false,
        }
    }

    fn describe() -> WordShape {
        WordShape {
            name: "number, or bytes",
            expected: "a number such as `20`, or bytes such as `1MB`".to_owned(),
            pattern: Some("^[0-9]+(?:B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?$"),
            examples: &["20", "1MB"],
            range: Some("1 to 1000000000, or 1B to 1TiB".to_owned()),
            number: true,
        }
    }
}

text_traits!(Pace);
text_traits!(Burst);

#[cfg(test)]
mod tests {
    use super::{Burst, Pace};

    #[test]
    fn reads_and_writes() {
        let check = |text: &str, units, seconds, of_bytes, written: &str| {
            let pace: Pace = text.parse().unwrap();
            let found = (pace.units(), pace.period().as_secs(), pace.is_of_bytes());
            assert_eq!(found, (units, seconds, of_bytes), "{text}");
            assert_eq!(pace.to_string(), written);
            assert_eq!(written.parse(), Ok(pace));
        };
        check("100/min", 100, 60, false, "100/min");
        check("10MB/s", 10_000_000, 1, true, "10000000B/s");
        check("512KiB/10s", 512 << 10, 10, true, "512KiB/10s");
        check("10GiB/day", 10 << 30, 86_400, true, "10GiB/day");
        check("1B/h", 1, 3_600, true, "1B/h");
        let check = |text: &str, expected: (u64, bool), written: &str| {
            let burst: Burst = text.parse().unwrap();
            assert_eq!((burst.units(), burst.is_of_bytes()), expected);
            assert_eq!(burst.to_string(), written);
            assert_eq!(written.parse(), Ok(burst));
        };
        check("20", (20, false), "20");
        check("1MiB", (1 << 20, true), "1MiB");
    }

    #[test]
    fn refuses() {
        let check = |text: &str, expected: &str| {
            let error = text.parse::<Pace>().unwrap_err();
            assert!(error.to_string().contains(expected), "{text}: {error}");
        };
        check("10Mbit/s", "bytes are counted, and not bits");
        check("10Mb/s", "bytes are counted, and not bits");
        check("10MB", "expected a rate such as `100/min`");
        check("0MB/s", "a rate must be more than nothing");
        check("10MB/fortnight", "the units of time are");
        check("2000TB/s", "expected a size from 1B to 1TiB");
        check("10m/s", "did you mean `10MiB/s`?");
        check("0/s", "a rate must be more than nothing");
        for text in ["0", "2000TB", "many", "-1", "8Mbit"] {
            assert!(text.parse::<Burst>().is_err(), "{text}");
        }
    }
}
