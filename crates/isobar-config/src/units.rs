//! How are quantities and addresses written?
//!
//! Each has one type with `FromStr` and `Display`, and what is displayed reads as the same value. The command line
//! uses them as well.

mod address;
mod bytes;
mod cidr;
mod pace;
mod per_second;
mod percent;
mod rate;
mod span;
mod status;
mod timestamp;

pub use address::{ListenAddress, Target};
pub use bytes::ByteSize;
pub use cidr::Network;
pub use pace::{Burst, Pace};
pub use per_second::PerSecond;
pub use percent::Percent;
pub use rate::Rate;
pub use span::Span;
pub use status::Statuses;
pub use timestamp::Timestamp;

use crate::setting::{Misfit, Word};

/// Why a text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", .help.as_ref().map(|help| format!("; {help}")).unwrap_or_default())]
pub struct UnitError {
    /// Why: a lower-case fragment.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Reads a text as a word and says in full what is wrong with it.
fn from_text<T: Word>(text: &str) -> Result<T, UnitError> {
    T::read(text).map_err(|Misfit { message, help }| UnitError {
        message: message.unwrap_or_else(|| {
            format!(
                "expected {}, found `{}`",
                T::describe().expected,
                crate::tree::shorten(text)
            )
        }),
        help,
    })
}

/// Gives a word the standard library's traits for texts.
macro_rules! text_traits {
    ($($Word:ty),+ $(,)?) => { $(
        impl std::str::FromStr for $Word {
            type Err = $crate::units::UnitError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::units::from_text(text)
            }
        }

        impl std::fmt::Display for $Word {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&$crate::setting::Word::write(self))
            }
        }

        $crate::setting::word::word_setting!($Word);
    )+ };
}
use text_traits;
