//! Which of one host's rules takes a path?
//!
//! The texts of all patterns lie sorted, each with a link to the longest other text that it begins with. Every text
//! with which a path begins is then either the last one that sorts no later than the path, or found from that one
//! along the links: whatever sorts between such a text and the path begins with the text too. So the longest match
//! costs one binary search and a walk over links, and it does not matter how many different lengths there are.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::PathPattern;

/// The rules of one host.
#[derive(Debug)]
pub(super) struct Paths {
    /// Ascending by text; each text once.
    nodes: Box<[Node]>,
    any: Option<usize>,
}

/// The rules whose patterns have one text. Of rules with the same pattern the first written is kept.
#[derive(Debug)]
struct Node {
    text: Box<[u8]>,
    exact: Option<usize>,
    segments: Option<usize>,
    prefix: Option<usize>,
    /// The position of the longest other text that this one begins with.
    parent: Option<usize>,
}

impl Paths {
    /// The rules of one host, each with the position it answers with, in the order written.
    pub(super) fn new(mut rules: Vec<(usize, &PathPattern)>) -> Self {
        let any = rules
            .iter()
            .find(|(_, pattern)| **pattern == PathPattern::Any)
            .map(|&(rule, _)| rule);
        // The sort is stable: the order written stays the order among equal texts.
        rules.sort_by_key(|(_, pattern)| text_of(pattern));
        let of_one_text = |same: &[(usize, &PathPattern)]| Node::new(same);
        let mut nodes: Box<[Node]> = rules
            .chunk_by(|(_, a), (_, b)| text_of(a) == text_of(b))
            .filter_map(of_one_text)
            .collect();
        link(&mut nodes);
        Self { nodes, any }
    }

    /// The rule that takes the path.
    pub(super) fn find(&self, path: &[u8]) -> Option<usize> {
        let after = self.nodes.partition_point(|node| *node.text <= *path);
        let mut next = after.checked_sub(1).and_then(|last| self.nodes.get(last));
        // Every text on the way is the beginning of the first one: whether the path begins with it is a matter of
        // its length alone.
        let shared = next.map_or(0, |node| common_prefix(&node.text, path));
        while let Some(node) = next {
            if node.text.len() <= shared
                && let Some(rule) = node.find(path)
            {
                return Some(rule);
            }
            next = node.parent.and_then(|parent| self.nodes.get(parent));
        }
        self.any
    }
}

impl Node {
    /// The rules of one text; none for those of [`PathPattern::Any`], which has no text.
    fn new(same: &[(usize, &PathPattern)]) -> Option<Self> {
        let text = text_of(same.first()?.1)?.into();
        let mut node = Self {
            text,
            exact: None,
            segments: None,
            prefix: None,
            parent: None,
        };
        for &(rule, pattern) in same {
            let kind = match pattern {
                PathPattern::Any => continue,
                PathPattern::Exact(_) => &mut node.exact,
                PathPattern::Segments(_) => &mut node.segments,
                PathPattern::Prefix(_) => &mut node.prefix,
            };
            kind.get_or_insert(rule);
        }
        Some(node)
    }

    /// The rule that takes a path which begins with the text.
    fn find(&self, path: &[u8]) -> Option<usize> {
        let (exact, segments) = match path.get(self.text.len()) {
            None => (self.exact, self.segments),
            Some(b'/') => (None, self.segments),
            Some(_) => (None, None),
        };
        exact.or(segments).or(self.prefix)
    }
}

/// Sets every node's parent. The texts that the next in order may begin with are those that the last one began with.
fn link(nodes: &mut [Node]) {
    let mut beginnings: Vec<usize> = Vec::new();
    for position in 0..nodes.len() {
        while let Some(&last) = beginnings.last()
            && !nodes[position].text.starts_with(&nodes[last].text)
        {
            beginnings.pop();
        }
        nodes[position].parent = beginnings.last().copied();
        beginnings.push(position);
    }
}

fn text_of(pattern: &PathPattern) -> Option<&[u8]> {
    match pattern {
        PathPattern::Any => None,
        PathPattern::Exact(text) | PathPattern::Segments(text) | PathPattern::Prefix(text) => Some(text.as_bytes()),
    }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
