//! What is wrong with text that is no YAML, in words for somebody who never read its specification?

use granit_parser::ErrorKind;

use super::MAX_DEPTH;

/// The message for an error of the parser, and what to do about it.
pub(super) fn explain(kind: &ErrorKind) -> (String, Option<&'static str>) {
    match kind {
        ErrorKind::RecursionLimitExceeded => (format!("lists and mappings nest deeper than {MAX_DEPTH} levels"), None),
        ErrorKind::UnclosedFlowCollection { open } => (format!("this `{open}` is never closed"), None),
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            (format!("`{open}` cannot be closed by `{close}`"), None)
        }
        ErrorKind::UnexpectedCharacter { character } => unexpected(*character),
        other => known(other).map_or_else(
            || (format!("not valid YAML: {}", lower_first(&other.to_string())), None),
            |(message, help)| (message.to_owned(), help),
        ),
    }
}

fn unexpected(character: char) -> (String, Option<&'static str>) {
    let message = format!("a text cannot begin with `{}`", character.escape_debug());
    (message, Some("put the text in quotes"))
}

fn known(kind: &ErrorKind) -> Option<(&'static str, Option<&'static str>)> {
    use ErrorKind as E;
    const SPACES: Option<&str> = Some("indent with spaces");
    const ALIGN: Option<&str> = Some("keys of one mapping begin in the same column, and so do the `-` of one list");
    const QUOTES: Option<&str> = Some("a text that holds `: ` or ` #` needs quotes");
    const COLON: Option<&str> =
        Some("a `:` may be missing after the key before it; a text that holds `: ` needs quotes");
    let known = match kind {
        E::TabNotAllowed | E::TabInBlockIndentation | E::TabInIndentation | E::TabAtBlockScalarStart => {
            ("a tab cannot be used as indentation", SPACES)
        }
        E::TabInPlainScalar => ("a tab cannot stand here", SPACES),
        E::ExpectedBlockMappingKey | E::InvalidIndentation | E::ExpectedBlockSequenceEntry => {
            ("the indentation fits nothing above", ALIGN)
        }
        E::MappingValueNotAllowed | E::MappingKeyNotAllowed | E::InvalidColonPlacement => {
            ("a key with a value cannot stand here", COLON)
        }
        E::SimpleKeyExpected | E::InvalidSimpleKey => ("expected a `:` after the key", ALIGN),
        E::BlockSequenceEntryNotAllowed | E::BlockEntryInFlowCollection => ("a list element cannot begin here", ALIGN),
        E::UnclosedQuotedScalar | E::DocumentIndicatorInQuotedScalar | E::InvalidQuotedScalarIndent => {
            ("the quote before this is not closed", None)
        }
        E::InvalidTrailingSingleQuotedScalar | E::InvalidTrailingDoubleQuotedScalar => (
            "text follows the closing quote",
            Some("put the whole text in one pair of quotes"),
        ),
        E::UnknownQuotedScalarEscape => (
            "unknown escape in a text in double quotes",
            Some("write `\\\\` for a backslash, or use single quotes"),
        ),
        E::ExpectedFlowMappingSeparator | E::UnexpectedEofFlowMapping => ("expected `,` or `}`", None),
        E::ExpectedFlowSequenceSeparator | E::UnexpectedEofFlowSequence => ("expected `,` or `]`", None),
        E::MisplacedFlowCollectionEnd => ("this bracket closes nothing", None),
        E::UnknownAnchor => (
            "the alias names no anchor before it",
            Some("a text that begins with `*` needs quotes"),
        ),
        E::MissingAnchorOrAliasName => (
            "a name is missing after `*` or `&`",
            Some("a text that begins with `*` or `&` needs quotes"),
        ),
        E::InvalidMappingValueWhitespace => ("expected a space after the `:`", None),
        E::CommentNotSeparated => ("expected a space before the `#`", QUOTES),
        E::CommentInterceptedScalar => ("a comment stands in the middle of a text", None),
        _ => return None,
    };
    Some(known)
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
