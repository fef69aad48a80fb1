//! Which fields does everybody know without having been told?
//!
//! *Source*: RFC 7541 appendix A.

use super::{Class, Decoded};

/// How many there are, which is the last index as well.
pub(super) const LEN: u32 = 61;

/// The field at an index, which begins at 1.
#[inline]
pub(super) fn at(index: u32) -> Option<&'static Decoded<'static>> {
    FIELDS.get((index as usize).wrapping_sub(1))
}

/// The index of the first field of this name, given in any case; none: there is none.
///
/// *Cost*: a look into a table, and a comparison with the one name it leaves.
#[inline]
pub(super) fn of_name(name: &[u8]) -> Option<u8> {
    let (&first, &last) = (name.first()?, name.last()?);
    let index = SLOTS[slot(name.len(), first, last)];
    let found = at(index.into())?.name;
    is_but_for_case(name, found).then_some(index)
}

/// Whether a name is this one, which is in lower case, when its case is not looked at.
#[inline]
fn is_but_for_case(name: &[u8], lower: &[u8]) -> bool {
    if name.len() != lower.len() {
        return false;
    }
    // What is looked at twice does no harm.
    if let (Some(last), Some(lower_last)) = (name.last_chunk(), lower.last_chunk()) {
        let mut other = difference(u64::from_le_bytes(*last), u64::from_le_bytes(*lower_last));
        for (block, lower) in name.as_chunks().0.iter().zip(lower.as_chunks().0) {
            other |= difference(u64::from_le_bytes(*block), u64::from_le_bytes(*lower));
        }
        return other == 0;
    }
    let (first, last) = short_ends(name);
    let (lower_first, lower_last) = short_ends(lower);
    difference(first, lower_first) | difference(last, lower_last) == 0
}

/// All of up to seven bytes, as two numbers.
#[inline(always)]
pub(super) fn short_ends(bytes: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into());
    }
    match *bytes {
        [a, b, c] => (a.into(), u16::from_le_bytes([b, c]).into()),
        [a, b] => (a.into(), b.into()),
        [a] => (a.into(), 0),
        _ => (0, 0),
    }
}

/// What is different in eight bytes but for case. Of the bytes of these names only letters have the bit 0x40, and in lower case they have
/// 0x20.
#[inline(always)]
fn difference(bytes: u64, lower: u64) -> u64 {
    (bytes ^ lower) & !((lower & u64::from_le_bytes([0x40; 8])) >> 1)
}

/// Where in [`SLOTS`] a name is, whatever its case. The factors are ones for which no two names meet, found by trying.
const fn slot(len: usize, first: u8, last: u8) -> usize {
    (len * 3 + (first & 0x1f) as usize * 54 + (last & 0x1f) as usize * 59) % 128
}

/// The index of the only field whose name can be there, or 0.
static SLOTS: [u8; 128] = {
    let mut slots = [0; 128];
    let mut index = 1_u8;
    while index as u32 <= LEN {
        let name = FIELDS[index as usize - 1].name;
        let slot = slot(name.len(), name[0], name[name.len() - 1]);
        // The first of a name.
        if slots[slot] == 0 {
            slots[slot] = index;
        }
        index += 1;
    }
    slots
};

const fn field(name: &'static str, value: &'static str, class: Class) -> Decoded<'static> {
    Decoded {
        name: name.as_bytes(),
        value: value.as_bytes(),
        class,
        never_indexed: false,
    }
}

static FIELDS: [Decoded<'static>; LEN as usize] = [
    field(":authority", "", Class::Authority),
    field(":method", "GET", Class::Method),
    field(":method", "POST", Class::Method),
    field(":path", "/", Class::Path),
    field(":path", "/index.html", Class::Path),
    field(":scheme", "http", Class::Scheme),
    field(":scheme", "https", Class::Scheme),
    field(":status", "200", Class::Status),
    field(":status", "204", Class::Status),
    field(":status", "206", Class::Status),
    field(":status", "304", Class::Status),
    field(":status", "400", Class::Status),
    field(":status", "404", Class::Status),
    field(":status", "500", Class::Status),
    field("accept-charset", "", Class::Plain),
    field("accept-encoding", "gzip, deflate", Class::Plain),
    field("accept-language", "", Class::Plain),
    field("accept-ranges", "", Class::Plain),
    field("accept", "", Class::Plain),
    field("access-control-allow-origin", "", Class::Plain),
    field("age", "", Class::Plain),
    field("allow", "", Class::Plain),
    field("authorization", "", Class::Plain),
    field("cache-control", "", Class::Plain),
    field("content-disposition", "", Class::Plain),
    field("content-encoding", "", Class::Plain),
    field("content-language", "", Class::Plain),
    field("content-length", "", Class::ContentLength),
    field("content-location", "", Class::Plain),
    field("content-range", "", Class::Plain),
    field("content-type", "", Class::Plain),
    field("cookie", "", Class::Cookie),
    field("date", "", Class::Plain),
    field("etag", "", Class::Plain),
    field("expect", "", Class::Plain),
    field("expires", "", Class::Plain),
    field("from", "", Class::Plain),
    field("host", "", Class::Host),
    field("if-match", "", Class::Plain),
    field("if-modified-since", "", Class::Plain),
    field("if-none-match", "", Class::Plain),
    field("if-range", "", Class::Plain),
    field("if-unmodified-since", "", Class::Plain),
    field("last-modified", "", Class::Plain),
    field("link", "", Class::Plain),
    field("location", "", Class::Plain),
    field("max-forwards", "", Class::Plain),
    field("proxy-authenticate", "", Class::Plain),
    field("proxy-authorization", "", Class::Plain),
    field("range", "", Class::Plain),
    field("referer", "", Class::Plain),
    field("refresh", "", Class::Plain),
    field("retry-after", "", Class::Plain),
    field("server", "", Class::Plain),
    field("set-cookie", "", Class::Plain),
    field("strict-transport-security", "", Class::Plain),
    field("transfer-encoding", "", Class::ConnectionSpecific),
    field("user-agent", "", Class::Plain),
    field("vary", "", Class::Plain),
    field("via", "", Class::Plain),
    field("www-authenticate", "", Class::Plain),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_the_names_and_values() {
        for field in &FIELDS {
            assert_eq!(
                field.class,
                Class::of_name(field.name).with_value(field.value),
                "{field:?}"
            );
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        for (index, field) in FIELDS.iter().enumerate() {
            let first = FIELDS.iter().position(|other| other.name == field.name).unwrap();
            let expected = u8::try_from(first + 1).ok();
            assert_eq!(of_name(field.name), expected, "{}", index + 1);
            assert_eq!(of_name(&field.name.to_ascii_uppercase()), expected, "{}", index + 1);
            assert_eq!(of_name(&field.name[1..]), None);
            assert_eq!(of_name(&[field.name, b"x"].concat()), None);
        }
        assert_eq!(of_name(b""), None);
    }

    #[test]
    fn indices_begin_at_one() {
        assert!(at(0).is_none());
        assert_eq!(at(1).unwrap().name, b":authority");
        assert_eq!(at(61).unwrap().name, b"www-authenticate");
        assert!(at(62).is_none());
        assert!(at(u32::MAX).is_none());
    }
}
