//! Why is it this server that a request was given to?

/// How a server was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Picked {
    /// By the algorithm.
    Balance,
    /// It is the server of the request's session.
    Sticky,
    /// By the algorithm, because the server of its session could not be given the request, or failed it.
    Reassigned,
}

impl Picked {
    /// As written in logs.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Balance => "balance",
            Self::Sticky => "sticky",
            Self::Reassigned => "reassigned",
        }
    }
}
