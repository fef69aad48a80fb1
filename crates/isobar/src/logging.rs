//! Where do the control plane's sentences go?
//!
//! To the standard error: time, level, sentence. The data plane writes nothing here; its access log is its own.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The variable that sets what is logged, such as `debug` or `isobar_control=debug,info`.
const VARIABLE: &str = "ISOBAR_LOG";

/// Begins to log. The first call counts.
pub(crate) fn start() {
    let default = || {
        Targets::new()
            .with_target("isobar", tracing::Level::INFO)
            .with_default(tracing::Level::ERROR)
    };
    let asked = std::env::var(VARIABLE).ok();
    let filter = asked.as_deref().and_then(|text| text.parse().ok());
    let understood = asked.is_none() || filter.is_some();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(use_colors(&io::stderr()));
    // Only a second call fails, and the first one's settings stay.
    let _ = tracing_subscriber::registry()
        .with(filter.unwrap_or_else(default))
        .with(lines)
        .try_init();
    if !understood {
        tracing::warn!("{VARIABLE} is not understood; expected a level, or pairs such as isobar_control=debug");
    }
}

/// Whether text for a stream may have colours: on a terminal, unless `NO_COLOR` is set (no-color.org).
pub(crate) fn use_colors(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !refused
}

/// The same for rendered diagnostics.
pub(crate) fn diagnostics_color(stream: &impl IsTerminal) -> isobar_config::Color {
    if use_colors(stream) {
        isobar_config::Color::Always
    } else {
        isobar_config::Color::Never
    }
}
