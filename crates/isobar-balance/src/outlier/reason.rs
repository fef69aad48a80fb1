//! Why was a server ejected, in a word and in words?

use core::fmt;

/// Why a server was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It failed this many requests in a row.
    ConsecutiveErrors(u32),
    /// It could not be reached this many times in a row.
    ConsecutiveUnreachable(u32),
    /// It failed this many requests within the time of the simple mode.
    MaxFails(u32),
    /// Its success rate was far below the mean.
    SuccessRate,
    /// It failed most of its requests.
    FailurePercentage,
    /// Its answers took far longer than those of most.
    Latency,
}

impl Reason {
    /// The words for reasons, each that of the setting, by [`index`](Self::index).
    pub const WORDS: [&'static str; 6] = [
        "consecutive_errors",
        "consecutive_connect_failures",
        "max_fails",
        "success_rate",
        "failure_percentage",
        "latency",
    ];

    /// Its position in [`WORDS`](Self::WORDS), whatever its number.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::ConsecutiveErrors(_) => 0,
            Self::ConsecutiveUnreachable(_) => 1,
            Self::MaxFails(_) => 2,
            Self::SuccessRate => 3,
            Self::FailurePercentage => 4,
            Self::Latency => 5,
        }
    }

    /// The word for it, whatever its number.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS.get(self.index()).copied().unwrap_or_default()
    }

    /// Whether it is that the server could not be reached, and nothing else.
    #[must_use]
    pub const fn is_unreachable(self) -> bool {
        matches!(self, Self::ConsecutiveUnreachable(_))
    }
}

/// As a fragment that completes "ejected: …".
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsecutiveErrors(1) => f.write_str("it failed a request"),
            Self::ConsecutiveErrors(count) => write!(f, "it failed {count} requests in a row"),
            Self::ConsecutiveUnreachable(1) => f.write_str("it could not be reached"),
            Self::ConsecutiveUnreachable(count) => write!(f, "it could not be reached {count} times in a row"),
            Self::MaxFails(1) => f.write_str("it failed a request (max_fails)"),
            Self::MaxFails(count) => write!(f, "it failed {count} requests (max_fails)"),
            Self::SuccessRate => f.write_str("its success rate is far below that of the other servers"),
            Self::FailurePercentage => f.write_str("it fails most of its requests"),
            Self::Latency => f.write_str("its answers take far longer than those of most servers"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;
    use std::string::ToString;

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let check = |reason: Reason, word, words: &str| {
            assert_eq!((reason.word(), &*reason.to_string()), (word, words));
        };
        check(
            Reason::ConsecutiveErrors(5),
            "consecutive_errors",
            "it failed 5 requests in a row",
        );
        check(
            Reason::ConsecutiveUnreachable(2),
            "consecutive_connect_failures",
            "it could not be reached 2 times in a row",
        );
        check(Reason::MaxFails(3), "max_fails", "it failed 3 requests (max_fails)");
        check(
            Reason::SuccessRate,
            "success_rate",
            "its success rate is far below that of the other servers",
        );
        check(
            Reason::FailurePercentage,
            "failure_percentage",
            "it fails most of its requests",
        );
        check(
            Reason::Latency,
            "latency",
            "its answers take far longer than those of most servers",
        );
    }
}
