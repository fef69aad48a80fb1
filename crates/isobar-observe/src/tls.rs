//! Why could a connection to a server not be secured?

use crate::Counter;
use crate::catalogue::{Cell, Reading};

/// Why a connection to a server could not be secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsReason {
    /// Its certificate has expired.
    Expired,
    /// Its certificate is not valid yet.
    NotValidYet,
    /// No authority that is trusted vouches for its certificate.
    UnknownIssuer,
    /// Its certificate is for others.
    WrongName,
    /// Its certificate is of no use for another reason.
    BadCertificate,
    /// It refused what it was offered, or the certificate it was shown.
    Refused,
    /// It does not speak TLS.
    NotTls,
    /// It closed the connection.
    Closed,
    /// It was not done in time.
    Timeout,
    /// It does not keep to the protocol, or has nothing in common with what is spoken.
    Protocol,
}

impl TlsReason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::Expired,
        Self::NotValidYet,
        Self::UnknownIssuer,
        Self::WrongName,
        Self::BadCertificate,
        Self::Refused,
        Self::NotTls,
        Self::Closed,
        Self::Timeout,
        Self::Protocol,
    ];

    /// The word for it in metrics.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotValidYet => "not_valid_yet",
            Self::UnknownIssuer => "unknown_issuer",
            Self::WrongName => "wrong_name",
            Self::BadCertificate => "bad_certificate",
            Self::Refused => "refused",
            Self::NotTls => "not_tls",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
        }
    }
}

/// Failed handshakes with a server counted by their reason, written by one thread.
#[derive(Debug, Default)]
pub struct ByTlsReason([Counter; TlsReason::ALL.len()]);

impl ByTlsReason {
    /// Counts a failure.
    pub fn count(&self, reason: TlsReason) {
        if let Some(counter) = self.0.get(reason as usize) {
            counter.increment();
        }
    }
}

/// The sum of one or more [`ByTlsReason`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TlsReasonTotals([u64; TlsReason::ALL.len()]);

impl Cell for ByTlsReason {
    type Total = TlsReasonTotals;
    const SPLIT: Option<&'static str> = Some("reason");

    fn add_to(&self, total: &mut TlsReasonTotals) {
        for (total, count) in total.0.iter_mut().zip(&self.0) {
            *total = total.wrapping_add(count.value());
        }
    }

    fn reading(total: &TlsReasonTotals) -> Reading<'_> {
        let reasons = TlsReason::ALL.into_iter().map(TlsReason::text);
        Reading::Split(reasons.zip(total.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{ByTlsReason, Reading, TlsReason, TlsReasonTotals};
    use crate::catalogue::Cell;

    #[test]
    fn each_reason_is_counted_apart() {
        let (shard, mut total) = (ByTlsReason::default(), TlsReasonTotals::default());
        for (times, reason) in TlsReason::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| shard.count(reason));
        }
        shard.add_to(&mut total);
        let expected = TlsReason::ALL.into_iter().map(TlsReason::text).zip(0..).collect();
        assert_eq!(ByTlsReason::reading(&total), Reading::Split(expected));
    }
}
