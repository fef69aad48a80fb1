//! How are the fields of a head copied, changed and added?
//!
//! Neighbouring fields that stay are copied as one run of bytes, exactly as they were received: the parser has
//! refused every spelling that two readers could take for different things.

use isobar_plan::HeaderOp;
use isobar_wire::{Field, write};

/// Copies the fields of `head` for which `keeps` says yes.
pub(crate) fn copy(output: &mut Vec<u8>, head: &[u8], fields: &[Field], mut keeps: impl FnMut(&Field) -> bool) {
    let mut run: Option<(usize, usize)> = None;
    for field in fields {
        let (start, end) = line(field);
        if !keeps(field) {
            flush(output, head, run.take());
            continue;
        }
        run = match run {
            // The lines of two fields are neighbours unless a field between them was left out.
            Some((first, _)) => Some((first, end)),
            None => Some((start, end)),
        };
    }
    flush(output, head, run);
}

/// Where a field's line begins, and where its value ends.
fn line(field: &Field) -> (usize, usize) {
    (
        usize::from(field.name.start),
        usize::from(field.value.start) + usize::from(field.value.len),
    )
}

/// Whitespace behind the last value of a run is left behind with its line end, which is written anew.
fn flush(output: &mut Vec<u8>, head: &[u8], run: Option<(usize, usize)>) {
    if let Some(bytes) = run.and_then(|(start, end)| head.get(start..end)) {
        output.extend_from_slice(bytes);
        write::end(output);
    }
}

/// Whether a change removes or replaces a field of this name.
pub(crate) fn is_replaced(ops: &[HeaderOp], name: &[u8]) -> bool {
    ops.iter().any(|op| match op {
        HeaderOp::Set(other, _) | HeaderOp::Remove(other) => name.eq_ignore_ascii_case(other.as_bytes()),
        HeaderOp::Add(..) => false,
    })
}

/// Writes the fields that the changes set and add. A later change of the same name takes back an earlier one.
pub(crate) fn apply(output: &mut Vec<u8>, ops: &[HeaderOp]) {
    for (position, op) in ops.iter().enumerate() {
        let (HeaderOp::Set(name, value) | HeaderOp::Add(name, value)) = op else {
            continue;
        };
        let later = ops.get(position + 1..).unwrap_or_default();
        if !is_replaced(later, name.as_bytes()) {
            write::field(output, name.as_bytes(), value.as_bytes());
        }
    }
}

/// The values of all fields that `wanted` says yes to, in order.
pub(crate) fn values<'h>(
    head: &'h [u8],
    fields: &'h [Field],
    wanted: isobar_wire::Known,
) -> impl DoubleEndedIterator<Item = &'h [u8]> {
    fields
        .iter()
        .filter(move |field| field.known == wanted)
        .map(|field| field.value.of(head))
}

/// The values of all fields of this name, in order.
pub(crate) fn named<'h>(head: &'h [u8], fields: &'h [Field], name: &'h [u8]) -> impl Iterator<Item = &'h [u8]> {
    fields
        .iter()
        .filter(move |field| field.name.of(head).eq_ignore_ascii_case(name))
        .map(|field| field.value.of(head))
}

#[cfg(test)]
mod tests {
    use super::{apply, copy};
    use isobar_plan::HeaderOp;
    use isobar_wire::{HeadLimits, Known, RequestHead};

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost:  a \r\nA: 1\r\nB:2\r\nC: 3  \r\nD: 4\r\n\r\n";

    #[test]
    fn runs_are_copied_as_received() {
        let mut head = RequestHead::new();
        head.parse(
            HEAD,
            HeadLimits {
                max_bytes: 1000,
                max_fields: 10,
            },
        )
        .unwrap();
        let check = |dropped: &[&[u8]], expected: &str| {
            let mut output = Vec::new();
            copy(&mut output, HEAD, &head.fields, |field| {
                !dropped.contains(&field.name.of(HEAD))
            });
            assert_eq!(String::from_utf8(output).unwrap(), expected, "{dropped:?}");
        };
        check(&[], "Host:  a \r\nA: 1\r\nB:2\r\nC: 3  \r\nD: 4\r\n");
        check(&[b"A"], "Host:  a\r\nB:2\r\nC: 3  \r\nD: 4\r\n");
        check(&[b"D"], "Host:  a \r\nA: 1\r\nB:2\r\nC: 3\r\n");
        check(&[b"Host", b"B"], "A: 1\r\nC: 3  \r\nD: 4\r\n");
        check(&[b"Host", b"A", b"B", b"C", b"D"], "");
        assert_eq!(
            super::values(HEAD, &head.fields, Known::Host).collect::<Vec<_>>(),
            [b"a"]
        );
    }

    #[test]
    fn later_changes_take_back_earlier_ones() {
        let set = |name: &str, value: &str| HeaderOp::Set(name.into(), value.into());
        let add = |name: &str, value: &str| HeaderOp::Add(name.into(), value.into());
        let check = |ops: &[HeaderOp], expected: &str| {
            let mut output = Vec::new();
            apply(&mut output, ops);
            assert_eq!(String::from_utf8(output).unwrap(), expected, "{ops:?}");
        };
        check(&[], "");
        check(&[set("a", "1"), set("a", "2")], "a: 2\r\n");
        check(&[set("a", "1"), add("a", "2")], "a: 1\r\na: 2\r\n");
        check(&[add("a", "1"), HeaderOp::Remove("a".into())], "");
    }
}
