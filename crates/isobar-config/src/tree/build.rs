//! How do parser events become a tree, within bounds?

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::{Called, Entry, MAX_DEPTH, MAX_NODES, MAX_TEXT_BYTES, Node, Scalar, Style, Value, shorten, syntax};
use crate::problem::{Path, Place, Problem, Problems};

/// Reads a text that holds one document.
///
/// *Errors*: what makes the text unreadable as a whole ends the reading and is the one error returned. Keys written
/// twice go to `problems`; the first value stays.
pub(crate) fn parse<'s>(text: &'s str, called: &Called, problems: &mut Problems) -> Result<Node<'s>, Box<Problem>> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(whole(0..0, format!("the text is longer than {} MiB", MAX_TEXT_BYTES >> 20)).into());
    }
    let mut builder = Builder {
        problems,
        stack: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        root: None,
        text,
    };
    for event in Parser::new_from_str_with_options(text, options()) {
        let (event, span) = event.map_err(|error| broken(&error, text))?;
        builder.take(event, span)?;
    }
    let says_something = |root: &Node<'_>| {
        let null = matches!(root.plain(), Some("~" | "null" | "Null" | "NULL"));
        !null && root.value != Value::Nothing
    };
    let empty = || {
        whole(0..0, format!("the {} is empty", called.name))
            .help(called.smallest)
            .into()
    };
    builder.root.filter(says_something).ok_or_else(empty)
}

fn options() -> granit_parser::Options {
    let mut options = granit_parser::options! {
        disallow_directives: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    options.set_emit_comments(false);
    options
}

/// A collection that is not finished.
struct Frame<'s> {
    start: usize,
    /// Its anchor; 0: none.
    anchor: usize,
    /// How many nodes there were before it.
    nodes_before: usize,
    /// How many levels its deepest descendant lies below it.
    height: usize,
    content: Content<'s>,
}

enum Content<'s> {
    List(Vec<Node<'s>>),
    Mapping {
        entries: Vec<Entry<'s>>,
        seen: HashMap<Cow<'s, str>, Range<usize>>,
        key: Option<(Cow<'s, str>, Range<usize>)>,
    },
}

/// What an alias stands for.
struct Anchored<'s> {
    node: Node<'s>,
    nodes: usize,
    height: usize,
}

struct Builder<'p, 's> {
    problems: &'p mut Problems,
    stack: Vec<Frame<'s>>,
    anchors: HashMap<usize, Anchored<'s>>,
    nodes: usize,
    root: Option<Node<'s>>,
    text: &'s str,
}

impl<'s> Builder<'_, 's> {
    fn take(&mut self, event: Event<'s>, span: Span) -> Result<(), Box<Problem>> {
        let bytes = byte_range(&span, self.text);
        let tag_bytes = span
            .tag_span()
            .map_or(bytes.clone(), |span| byte_range(&span, self.text));
        match event {
            Event::DocumentStart(..) if self.root.is_some() => Err(whole(bytes, "a second document begins here")
                .help("a configuration is one document; remove the `---` or put the rest into a file of its own")
                .into()),
            Event::Alias(id) => self.alias(id, bytes),
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.as_deref(), &tag_bytes)?;
                self.scalar(text, style, anchor, bytes)
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), &tag_bytes)?;
                self.open(Content::List(Vec::new()), anchor, bytes)
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), &tag_bytes)?;
                let content = Content::Mapping {
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    key: None,
                };
                self.open(content, anchor, bytes)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(bytes),
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: Cow<'s, str>,
        style: ScalarStyle,
        anchor: usize,
        span: Range<usize>,
    ) -> Result<(), Box<Problem>> {
        self.count(1, &span)?;
        let style = if style == ScalarStyle::Plain {
            Style::Plain
        } else {
            Style::Quoted
        };
        // The parser stands a `~` of no width in for a value that was not written.
        let value = match style {
            Style::Plain if span.is_empty() => Value::Nothing,
            _ => Value::Scalar(Scalar { text, style }),
        };
        self.add(Node { span, value }, anchor, 1, 0)
    }

    fn alias(&mut self, id: usize, span: Range<usize>) -> Result<(), Box<Problem>> {
        let Some((nodes, height)) = self.anchors.get(&id).map(|anchored| (anchored.nodes, anchored.height)) else {
            return Err(whole(span, "the alias stands within what it stands for").into());
        };
        if self.stack.len() + height > MAX_DEPTH {
            return Err(too_deep(span).into());
        }
        self.count(nodes, &span)?;
        match self.anchors.get(&id).map(|anchored| anchored.node.clone()) {
            Some(node) => self.add(node, 0, nodes, height),
            None => Ok(()),
        }
    }

    fn open(&mut self, content: Content<'s>, anchor: usize, span: Range<usize>) -> Result<(), Box<Problem>> {
        let nodes_before = self.nodes;
        self.count(1, &span)?;
        if self.stack.len() >= MAX_DEPTH {
            return Err(too_deep(span).into());
        }
        if let Some(Frame {
            content: Content::Mapping { key: None, .. },
            ..
        }) = self.stack.last()
        {
            return Err(whole(span, "a key must be a word, not a list or a mapping")
                .help("if this is a text, put it in quotes; `{` and `[` have a meaning of their own")
                .into());
        }
        self.stack.push(Frame {
            start: span.start,
            anchor,
            nodes_before,
            height: 0,
            content,
        });
        Ok(())
    }

    fn close(&mut self, end: Range<usize>) -> Result<(), Box<Problem>> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let (value, last) = match frame.content {
            Content::List(items) => {
                let last = items.last().map(|item| item.span.end);
                (Value::List(items), last)
            }
            Content::Mapping { entries, .. } => {
                let last = entries.last().map(|entry| entry.value.span.end.max(entry.key_span.end));
                (Value::Mapping(entries), last)
            }
        };
        // A block ends, for the parser, where the next one begins; for a reader, where its last line ends.
        let end = if end.is_empty() {
            last.unwrap_or(end.end)
        } else {
            end.end
        };
        let node = Node {
            span: frame.start..end.max(frame.start),
            value,
        };
        self.add(node, frame.anchor, self.nodes - frame.nodes_before, frame.height + 1)
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node<'s>, anchor: usize, nodes: usize, height: usize) -> Result<(), Box<Problem>> {
        if anchor != 0 {
            // The copy counts, or anchors around anchors would hold the same nodes many times.
            self.count(nodes, &node.span)?;
            self.anchors.insert(
                anchor,
                Anchored {
                    node: node.clone(),
                    nodes,
                    height,
                },
            );
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.height = frame.height.max(height);
        match &mut frame.content {
            Content::List(items) => items.push(node),
            Content::Mapping { entries, seen, key } => match key.take() {
                None => *key = Some(as_key(node)?),
                Some((key, key_span)) => match seen.get(&key) {
                    Some(first) => {
                        let first = first.clone();
                        let problem = twice(self.path_problem(&key), key_span, first);
                        self.problems.push(problem);
                    }
                    None => {
                        seen.insert(key.clone(), key_span.clone());
                        entries.push(Entry {
                            key,
                            key_span,
                            value: node,
                        });
                    }
                },
            },
        }
        Ok(())
    }

    /// An error about a key of the mapping on top of the stack.
    fn path_problem(&self, key: &str) -> Problem {
        fn walk(frames: &[Frame<'_>], path: Path<'_>, key: &str) -> Problem {
            match frames.split_first() {
                Some((
                    Frame {
                        content: Content::List(items),
                        ..
                    },
                    rest,
                )) => walk(rest, path.index(items.len()), key),
                Some((
                    Frame {
                        content:
                            Content::Mapping {
                                key: Some((open, _)), ..
                            },
                        ..
                    },
                    rest,
                )) => walk(rest, path.key(open), key),
                _ => Problem::error(path.key(key), format!("the key `{}` is written twice", shorten(key))),
            }
        }
        walk(&self.stack, Path::ROOT, key)
    }

    fn count(&mut self, nodes: usize, span: &Range<usize>) -> Result<(), Box<Problem>> {
        self.nodes += nodes;
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        Err(whole(
            span.clone(),
            format!("the configuration has more than {MAX_NODES} values"),
        )
        .help("what an alias (`*name`) stands for counts each time")
        .into())
    }
}

fn as_key(node: Node<'_>) -> Result<(Cow<'_, str>, Range<usize>), Box<Problem>> {
    match node.value {
        Value::Scalar(scalar) => Ok((scalar.text, node.span)),
        Value::Nothing => Err(whole(node.span, "a key is missing before the `:`").into()),
        Value::List(_) | Value::Mapping(_) => {
            Err(whole(node.span, "a key must be a word, not a list or a mapping").into())
        }
    }
}

fn twice(problem: Problem, span: Range<usize>, first: Range<usize>) -> Problem {
    let mut problem = problem.on_key().at(span).label("written again");
    problem.related = Some((Place::Bytes(first), "first written here".to_owned()));
    problem
}

fn refuse_tag(tag: Option<&Tag>, span: &Range<usize>) -> Result<(), Box<Problem>> {
    match tag {
        None => Ok(()),
        Some(tag) => Err(whole(
            span.clone(),
            format!("tags such as `{}` are not supported", shorten(&tag.original())),
        )
        .help("remove the tag; if the `!` is part of a text, put the text in quotes")
        .into()),
    }
}

fn too_deep(span: Range<usize>) -> Problem {
    whole(span, format!("lists and mappings nest deeper than {MAX_DEPTH} levels"))
}

/// An error that ends the reading.
fn whole(span: Range<usize>, message: impl Into<String>) -> Problem {
    Problem::error(Path::ROOT, message).at(span)
}

fn broken(error: &ScanError, text: &str) -> Problem {
    let at = error.marker().byte_offset().unwrap_or(text.len());
    let at = text.floor_char_boundary(at.min(text.len()));
    let (message, help) = syntax::explain(error.kind());
    whole(at..at, message).maybe_help(help.map(str::to_owned))
}

fn byte_range(span: &Span, text: &str) -> Range<usize> {
    let range = span.byte_range().unwrap_or(text.len()..text.len());
    let start = text.floor_char_boundary(range.start.min(text.len()));
    start..text.floor_char_boundary(range.end.min(text.len())).max(start)
}
