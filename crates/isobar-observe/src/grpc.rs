//! What did a call of gRPC come to?
//!
//! *Source*: "gRPC over HTTP2", section Responses, and the list of codes in the documentation of gRPC
//! (`doc/statuscodes.md`). It knows nothing of trailers and messages.

use alloc::vec::Vec;

use crate::Counter;
use crate::catalogue::{Cell, Reading};

macro_rules! statuses {
    ($($status:ident $text:literal $meaning:literal;)*) => {
        /// How a call ended, as its server says. The discriminant is the number on the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum GrpcStatus {
            $(#[doc = $meaning] $status,)*
        }

        impl GrpcStatus {
            /// Every status, by its number.
            pub const ALL: [Self; [$($text,)*].len()] = [$(Self::$status,)*];

            /// The word for it in logs, metrics and settings.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$status => $text,)*
                }
            }
        }
    };
}

statuses! {
    Ok "ok" "It went well.";
    Cancelled "cancelled" "It was given up, mostly by its client.";
    Unknown "unknown" "It failed, and nothing is known of why: an exception that nobody caught.";
    InvalidArgument "invalid_argument" "What the client asked for makes no sense.";
    DeadlineExceeded "deadline_exceeded" "It took longer than its client gave it.";
    NotFound "not_found" "What the client asked for is not there.";
    AlreadyExists "already_exists" "What the client wanted to make is there.";
    PermissionDenied "permission_denied" "The client may not do that.";
    ResourceExhausted "resource_exhausted" "A quota, or some memory, is used up.";
    FailedPrecondition "failed_precondition" "The state of things is not what the call needs.";
    Aborted "aborted" "Another call got in its way.";
    OutOfRange "out_of_range" "It went past the end of something.";
    Unimplemented "unimplemented" "The server knows no such method.";
    Internal "internal" "Something that must not happen did.";
    Unavailable "unavailable" "The server cannot work now; another try may do better.";
    DataLoss "data_loss" "Data is lost for good, or broken.";
    Unauthenticated "unauthenticated" "The client did not say who it is, or not credibly.";
}

impl GrpcStatus {
    /// What stands for a call that ended without a status.
    pub const MISSING: &'static str = "missing";

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The status of a word.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.text() == text)
    }

    /// The status in a `grpc-status` field. A number that stands for none is [`Unknown`](Self::Unknown), as it is for gRPC's own clients.
    #[must_use]
    pub fn read(value: &[u8]) -> Self {
        let digit = |code: Option<usize>, byte: &u8| {
            let digit = byte.is_ascii_digit().then(|| usize::from(byte - b'0'))?;
            Some(code? * 10 + digit)
        };
        let code = match value {
            [_] | [_, _] => value.iter().fold(Some(0), digit),
            _ => None,
        };
        code.and_then(|code| Self::ALL.get(code).copied())
            .unwrap_or(Self::Unknown)
    }

    /// Whether it says that the server is not well, as a 5xx does.
    ///
    /// As in Envoy, which translates a status into one of HTTP and takes 5xx for failures, without two of those: a deadline
    /// is the client's own, and so is the method that it asks for; anybody could take servers out with either.
    #[must_use]
    pub const fn blames_server(self) -> bool {
        matches!(
            self,
            Self::Unknown | Self::Internal | Self::Unavailable | Self::DataLoss
        )
    }
}

/// Calls counted by their status, written by one thread.
#[derive(Debug, Default)]
pub struct ByGrpcStatus([Counter; PARTS]);

/// The statuses, and their absence.
const PARTS: usize = GrpcStatus::ALL.len() + 1;

impl ByGrpcStatus {
    /// Counts a call; none: it ended without a status.
    pub fn count(&self, status: Option<GrpcStatus>) {
        let place = status.map_or(GrpcStatus::ALL.len(), |status| status as usize);
        if let Some(counter) = self.0.get(place) {
            counter.increment();
        }
    }
}

/// The sum of one or more [`ByGrpcStatus`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GrpcTotals([u64; PARTS]);

impl Cell for ByGrpcStatus {
    type Total = GrpcTotals;
    const SPLIT: Option<&'static str> = Some("grpc_status");

    fn add_to(&self, total: &mut GrpcTotals) {
        for (total, count) in total.0.iter_mut().zip(&self.0) {
            *total = total.wrapping_add(count.value());
        }
    }

    /// Nothing where there was no call: most routes and servers have none.
    fn reading(total: &GrpcTotals) -> Reading<'_> {
        if total.0.iter().all(|&count| count == 0) {
            return Reading::Split(Vec::new());
        }
        let words = GrpcStatus::ALL.into_iter().map(GrpcStatus::text);
        Reading::Split(words.chain([GrpcStatus::MISSING]).zip(total.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::{ByGrpcStatus, GrpcStatus, GrpcTotals, Reading};
    use crate::catalogue::Cell;

    #[test]
    fn statuses_are_read_as_clients_read_them() {
        let check = |value: &str, expected: GrpcStatus| {
            assert_eq!(GrpcStatus::read(value.as_bytes()), expected, "{value}");
        };
        for (number, status) in GrpcStatus::ALL.into_iter().enumerate() {
            check(&std::format!("{number}"), status);
            assert_eq!(usize::from(status.code()), number);
            assert_eq!(GrpcStatus::of(status.text()), Some(status));
        }
        for odd in ["", "17", "99", "x", "1x", "-1", "+1", "016", "4294967296"] {
            check(odd, GrpcStatus::Unknown);
        }
        assert_eq!(GrpcStatus::of("UNAVAILABLE"), None);
    }

    /// The numbers of `doc/statuscodes.md`, of which the order of the table is the source here.
    #[test]
    fn numbers_are_those_of_grpc() {
        let known = [
            (GrpcStatus::DeadlineExceeded, 4),
            (GrpcStatus::ResourceExhausted, 8),
            (GrpcStatus::Unimplemented, 12),
            (GrpcStatus::Unavailable, 14),
            (GrpcStatus::Unauthenticated, 16),
        ];
        for (status, code) in known {
            assert_eq!(status.code(), code, "{status:?}");
        }
    }

    #[test]
    fn each_status_is_counted_apart_and_nothing_where_there_is_none() {
        let (shard, mut total) = (ByGrpcStatus::default(), GrpcTotals::default());
        assert_eq!(ByGrpcStatus::reading(&total), Reading::Split(Vec::new()));
        shard.count(Some(GrpcStatus::Ok));
        shard.count(Some(GrpcStatus::Unauthenticated));
        shard.count(None);
        shard.count(None);
        shard.add_to(&mut total);
        let Reading::Split(parts) = ByGrpcStatus::reading(&total) else {
            panic!("a split");
        };
        assert_eq!(parts.len(), 18);
        let counted: Vec<_> = parts.into_iter().filter(|&(_, count)| count > 0).collect();
        assert_eq!(counted, [("ok", 1), ("unauthenticated", 1), ("missing", 2)]);
    }
}
