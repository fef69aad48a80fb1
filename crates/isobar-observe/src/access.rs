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
#[cfg(test)]
pub(crate) use template::tests::record as sample;
pub use template::{MAX_TEMPLATE_BYTES, Template, TemplateError};

/// The field whose name is nearest to one that is none.
pub(crate) fn nearest_field(name: &str) -> Option<&'static str> {
    nearest::nearest(name, Field::ALL.into_iter().map(Field::name))
}
