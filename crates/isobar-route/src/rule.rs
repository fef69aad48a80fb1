//! What does a rule ask of a request?

use crate::{HostPattern, PathError, PathPattern};

/// What a request must look like to fall under a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The hosts it takes.
    pub host: HostPattern,
    /// The paths it takes.
    pub path: PathPattern,
}

/// Why a pattern is not one. All are mistakes in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing is written.
    #[error("the host is empty; `*` takes every host")]
    HostEmpty,
    /// A port follows the name.
    #[error("a host is matched on every port; leave out `{0}`")]
    HostPort(alloc::boxed::Box<str>),
    /// A character that no host name holds.
    #[error("`{0}` cannot stand in a host name")]
    HostCharacter(char),
    /// A character outside ASCII, which travels in another form.
    #[error("`{0}` is outside ASCII; write the name in its `xn--` form, as browsers send it")]
    HostNotAscii(char),
    /// Two dots in a row, a dot in front, or a label that is too long.
    #[error("a label of a host name has 1 to 63 characters, `{0}` has {len}", len = .0.len())]
    HostLabel(alloc::boxed::Box<str>),
    /// A name that no DNS server could hold.
    #[error("a host name has at most 253 characters, this one has {0}")]
    HostTooLong(usize),
    /// An asterisk that is not the whole first label.
    #[error("`*` stands for whole labels in front, as in `*.example.com`, or alone for every host")]
    HostWildcard,
    /// Brackets around something else than an IPv6 address.
    #[error("`{0}` is not an IPv6 address in brackets")]
    HostAddress(alloc::boxed::Box<str>),
    /// A path that does not begin with a slash.
    #[error("a path begins with `/`; `*` alone takes every path")]
    PathStart,
    /// An asterisk that is not the last character.
    #[error("`*` may only end a path, as in `/v1/*`")]
    PathWildcard,
    /// A character with which the path of a URL ends.
    #[error("`{0}` ends the path of a URL and cannot be matched")]
    PathEnd(char),
    /// A path that a request could not have.
    #[error(transparent)]
    Path(#[from] PathError),
}
