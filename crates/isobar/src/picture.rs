//! How are lines with tones and bars written, on a terminal and elsewhere?
//!
//! Shared by the demonstration and the simulator; knows neither.

use std::fmt::Write as _;

/// How a piece of text is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    Plain,
    /// A heading.
    Strong,
    /// Beside the point.
    Faint,
    /// As it should be.
    Good,
    /// Not known yet.
    Unsure,
    /// Broken.
    Bad,
}

impl Tone {
    /// The parameters of the terminal's "select graphic rendition" (ECMA-48, 8.3.117).
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Strong => "1",
            Self::Faint => "2",
            Self::Good => "32",
            Self::Unsure => "33",
            Self::Bad => "31",
        }
    }
}

/// A line of the picture: pieces of text, side by side.
pub(crate) type Line = Vec<(Tone, String)>;

/// A bar in eighths of a cell, and what is left of its length.
pub(crate) fn bar(share: f64, cells: usize) -> (String, String) {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 8 times the cells"
    )]
    let eighths = (share.clamp(0.0, 1.0) * cells as f64 * 8.0).round() as usize;
    let filled = "█".repeat(eighths / 8) + EIGHTHS[eighths % 8];
    let rest = cells - eighths.div_ceil(8);
    (filled, "·".repeat(rest))
}

/// Lines as text for a stream; without colours only the words.
// tidy: allow(boolean-parameter): the parameter is what `logging::use_colors` answers
pub(crate) fn text(lines: &[Line], colors: bool) -> String {
    let mut text = String::new();
    for line in lines {
        for (tone, piece) in line {
            // Writing to a string never fails.
            let _ = match (colors, tone) {
                (true, Tone::Strong | Tone::Faint | Tone::Good | Tone::Unsure | Tone::Bad) => {
                    write!(text, "\x1b[{}m{piece}\x1b[0m", tone.code())
                }
                _ => write!(text, "{piece}"),
            };
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fill_their_length() {
        let check = |share, expected: &str| {
            let (filled, rest) = bar(share, 4);
            assert_eq!(format!("{filled}{rest}"), expected, "{share}");
        };
        check(0.0, "····");
        check(0.25, "█···");
        check(0.5 + 1.0 / 32.0, "██▏·");
        check(1.0, "████");
        check(1.5, "████");
    }

    #[test]
    fn tones_are_for_those_who_want_them() {
        let lines = [
            vec![(Tone::Plain, " a ".to_owned()), (Tone::Bad, "b".to_owned())],
            vec![],
        ];
        assert_eq!(text(&lines, false), " a b\n\n");
        assert_eq!(text(&lines, true), " a \x1b[31mb\x1b[0m\n\n");
    }
}
