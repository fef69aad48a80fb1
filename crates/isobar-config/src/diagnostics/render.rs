//! How do diagnostics look in a terminal?

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};

use super::{Diagnostic, Diagnostics, Position, Severity};
use crate::Source;

/// Whether text is coloured for a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// Never: plain text.
    Never,
    /// Always, with ANSI escape sequences.
    Always,
}

/// Diagnostics that are shown with their source line; the rest is counted.
const MAX_SHOWN: usize = 100;

/// Bytes of a line that are shown at most on either side of the place.
const MAX_LINE_BYTES: usize = 512;

pub(super) fn render(diagnostics: &Diagnostics, source: &Source, color: Color) -> String {
    let renderer = match color {
        Color::Never => Renderer::plain(),
        Color::Always => Renderer::styled(),
    };
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let mut text = String::new();
    for diagnostic in diagnostics.iter().take(MAX_SHOWN) {
        text.push_str(&renderer.render(&report(diagnostic, source)));
        text.push_str("\n\n");
    }
    let hidden = diagnostics.len().saturating_sub(MAX_SHOWN) + diagnostics.left_out();
    if hidden > 0 {
        text.push_str(&format!("and {hidden} more\n\n"));
    }
    text.push_str(&summary(diagnostics, source));
    text
}

fn summary(diagnostics: &Diagnostics, source: &Source) -> String {
    let count = |number: usize, noun: &str| match number {
        0 => None,
        1 => Some(format!("1 {noun}")),
        _ => Some(format!("{number} {noun}s")),
    };
    let errors = count(diagnostics.count(Severity::Error) + diagnostics.left_out(), "error");
    let warnings = count(diagnostics.count(Severity::Warning), "warning");
    match (errors, warnings) {
        (None, None) => String::new(),
        (Some(one), None) | (None, Some(one)) => format!("{}: {one}\n", source.name),
        (Some(errors), Some(warnings)) => format!("{}: {errors}, {warnings}\n", source.name),
    }
}

fn report<'d>(diagnostic: &'d Diagnostic, source: &'d Source) -> Vec<Group<'d>> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = level
        .primary_title(diagnostic.message.as_str())
        .elements(Vec::<Element<'_>>::new());
    if let Some(position) = &diagnostic.position {
        let primary = Mark {
            position,
            label: diagnostic.label.as_deref(),
            kind: AnnotationKind::Primary,
        };
        let related = diagnostic.related.as_ref().map(|related| Mark {
            position: &related.position,
            label: Some(related.message.as_str()),
            kind: AnnotationKind::Context,
        });
        group = group.elements(snippets(primary, related, source));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    vec![group]
}

/// A marked place.
#[derive(Clone, Copy)]
struct Mark<'d> {
    position: &'d Position,
    label: Option<&'d str>,
    kind: AnnotationKind,
}

/// One snippet with the lines of both marks where these are near each other, otherwise one for each.
fn snippets<'d>(primary: Mark<'d>, related: Option<Mark<'d>>, source: &'d Source) -> Vec<Element<'d>> {
    const NEAR_LINES: usize = 40;
    const NEAR_BYTES: usize = 8 * MAX_LINE_BYTES;
    let (line, start) = (primary.position.line, primary.position.span.start);
    let is_near = |mark: &Mark<'_>| {
        let (other_line, other_start) = (mark.position.line, mark.position.span.start);
        line.abs_diff(other_line) <= NEAR_LINES && start.abs_diff(other_start) <= NEAR_BYTES
    };
    match related {
        None => snippet(&[primary], source),
        Some(mark) if is_near(&mark) => snippet(&[primary, mark], source),
        Some(mark) => [snippet(&[primary], source), snippet(&[mark], source)].concat(),
    }
}

/// The lines of some marks, cut out of the text: the renderer's cost grows with what it is given.
fn snippet<'d>(marks: &[Mark<'d>], source: &'d Source) -> Vec<Element<'d>> {
    let text = source.text.as_str();
    let starts = || marks.iter().map(|mark| mark.position.span.start);
    let (first, last) = (starts().min().unwrap_or(0), starts().max().unwrap_or(0));
    let window = line_start(text, first)..line_end(text, last);
    let line = marks.iter().map(|mark| mark.position.line).min().unwrap_or(1);
    let mut snippet = Snippet::source(text.get(window.clone()).unwrap_or_default()).line_start(line);
    for mark in marks {
        let span = within(&mark.position.span, &window, text);
        snippet = snippet.annotation(mark.kind.span(span).label(mark.label));
    }
    let whole_line = window.start == 0 || text.as_bytes().get(window.start - 1) == Some(&b'\n');
    match marks.first() {
        // The renderer counts columns from where the text it is given begins.
        Some(mark) if !whole_line => {
            let Position { line, column, .. } = *mark.position;
            let origin = Origin::path(source.name.as_str()).line(line).char_column(column);
            vec![origin.into(), snippet.into()]
        }
        _ => vec![snippet.path(source.name.as_str()).into()],
    }
}

fn line_start(text: &str, at: usize) -> usize {
    let floor = text.ceil_char_boundary(at.saturating_sub(MAX_LINE_BYTES));
    text.get(floor..at)
        .and_then(|before| before.rfind('\n'))
        .map_or(floor, |found| floor + found + 1)
}

fn line_end(text: &str, at: usize) -> usize {
    let ceiling = text.floor_char_boundary(at.saturating_add(MAX_LINE_BYTES).min(text.len()));
    text.get(at..ceiling)
        .and_then(|after| after.find('\n'))
        .map_or(ceiling, |found| at + found)
}

/// A span in the coordinates of a window, kept on its first line.
fn within(span: &Range<usize>, window: &Range<usize>, text: &str) -> Range<usize> {
    let end = span.end.min(line_end(text, span.start)).max(span.start);
    span.start.saturating_sub(window.start)..end.saturating_sub(window.start).min(window.len())
}
