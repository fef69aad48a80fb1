//! What is written down about a finished exchange?
//!
//! A [`Template`] is compiled when a configuration is loaded and turns each [`Record`] into one line. This module
//! knows nothing of files, queues or writers.

pub(crate) mod digits;
mod escape;
mod field;
mod nearest;
mod record;
mod template;

pub use escape::MAX_VALUE_BYTES;
pub use field::{Field, fields_markdown};
pub use record::{Record, Secured};
pub use template::{MAX_TEMPLATE_BYTES, Template, TemplateError};
