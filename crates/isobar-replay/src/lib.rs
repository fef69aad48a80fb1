//! What would a configuration have made of recorded traffic?
//!
//! [`Traffic`] reads access logs, several of them as one in the order of time, as a stream: memory does not grow with the
//! logs. A [`Replay`] takes each request through the routes and limits of a plan, at the time of the log, by the code that takes live
//! requests through them (`isobar-l7`), and sums up what came of it in a [`Report`]. [`Measure`] finds out how much clients
//! ask for, and proposes limits.
//!
//! It knows no terminal and no page, and not where a plan came from.
#![forbid(unsafe_code)]

mod books;
mod demand;
mod detect;
mod input;
mod keys;
mod measure;
mod origin;
mod recorded;
mod replay;
mod report;
mod suggestion;
mod tally;
mod timeline;
mod traffic;

pub use detect::FormatChoice;
pub use input::{InputError, Source};
pub use keys::{KeyReport, Peaks};
pub use measure::{Measure, MeasureSettings, Measured, Span};
pub use origin::{Care, NAMED_AGENTS, NAMED_PATHS};
pub use recorded::{Defaults, Recorded, Stamp};
pub use replay::{Enforce, Replay, ReplayError, ReplaySettings};
pub use report::{LimitReport, Moved, Report, RouteReport};
pub use suggestion::{Suggestion, key_text, part_of, period_text, proposals, rate_text, yaml};
pub use tally::Hits;
pub use timeline::{Bucket, Timeline};
pub use traffic::{Reading, Traffic, TrafficError, TrafficSettings, Unreadable};
