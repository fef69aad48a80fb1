//! Between whom is an upstream divided when not everybody can be served?

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::LimitKey;

/// How what an upstream can do is divided while requests wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FairShare {
    /// What makes up the key, in order; not empty.
    pub key: Vec<LimitKey>,
    /// The weights of keys that do not have 1; of several for one key the last counts.
    pub weights: Vec<FairWeight>,
    /// The file with further ones, which is read when the plan is taken into service; none: there is none.
    pub weights_file: Option<Box<str>>,
    /// What stood in it.
    pub weights_read: Arc<[FairWeight]>,
}

/// The weight of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FairWeight {
    /// The value of each part of the key.
    pub key: Box<[Box<str>]>,
    /// How large its share is in proportion to others: from 1 to 10,000.
    pub weight: u32,
}

/// How what there is is divided just now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FairStatus {
    /// Keys with requests that wait, or that waited and are in flight.
    pub keys: u32,
    /// Requests that wait, of the key with most of them.
    pub most_waiting: u32,
    /// Requests in flight that had waited, of the key with most of them.
    pub most_in_flight: u32,
}
