//! Which bytes may stand where? One table for the classes of bytes that the grammar of HTTP/1 is made of; does not
//! know where in a message they stand.

/// A class of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class(u8);

impl Class {
    /// `tchar`: what methods and field names are made of. RFC 9110 section 5.6.2.
    pub(crate) const TOKEN: Self = Self(1);
    /// `HTAB`, `SP`, `VCHAR` and `obs-text`: what field values and reason phrases are made of. RFC 9110 section 5.5.
    pub(crate) const TEXT: Self = Self(2);
    /// `VCHAR` without `#`: what request targets are made of. RFC 9112 section 3.2.
    pub(crate) const TARGET: Self = Self(4);
    /// `unreserved` and `sub-delims`: what a `reg-name` is made of, escapes aside. RFC 3986 section 3.2.2.
    pub(crate) const HOST_NAME: Self = Self(8);

    /// Whether this byte is of the class.
    #[inline(always)]
    pub(crate) fn has(self, byte: u8) -> bool {
        CLASSES[usize::from(byte)] & self.0 != 0
    }

    /// How many bytes at the front are of the class.
    #[inline(always)]
    pub(crate) fn prefix(self, bytes: &[u8]) -> usize {
        bytes.iter().position(|&byte| !self.has(byte)).unwrap_or(bytes.len())
    }
}

/// Whether this is a word, given in lower case, whatever the case it is written in.
#[inline(always)]
pub(crate) fn is_word<const N: usize>(bytes: &[u8], word: &[u8; N]) -> bool {
    // Written in lower case, as it usually is, it takes a few instructions; else a look at every byte.
    bytes == word || (bytes.len() == N && is_word_in_other_case(bytes, word))
}

#[inline(never)]
fn is_word_in_other_case(bytes: &[u8], word: &[u8]) -> bool {
    bytes.eq_ignore_ascii_case(word)
}

/// The classes of every byte.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    loop {
        classes[byte as usize] = classes_of(byte);
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

const fn classes_of(byte: u8) -> u8 {
    let token = matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.')
        || matches!(byte, b'^' | b'_' | b'`' | b'|' | b'~');
    let text = matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    let target = matches!(byte, b'!'..=b'~') && byte != b'#';
    let host_name = matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~')
        || matches!(byte, b'!' | b'$' | b'&'..=b',' | b';' | b'=');
    let mut classes = 0;
    if token {
        classes |= Class::TOKEN.0;
    }
    if text {
        classes |= Class::TEXT.0;
    }
    if target {
        classes |= Class::TARGET.0;
    }
    if host_name {
        classes |= Class::HOST_NAME.0;
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::Class;

    #[test]
    fn classes_are_those_of_the_grammar() {
        for byte in 0..=u8::MAX {
            let check = |class: Class, expected| assert_eq!(class.has(byte), expected, "{:?}", char::from(byte));
            check(
                Class::TOKEN,
                byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte),
            );
            check(Class::TEXT, byte == b'\t' || !byte.is_ascii_control());
            check(Class::TARGET, byte.is_ascii_graphic() && byte != b'#');
            check(
                Class::HOST_NAME,
                byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte),
            );
        }
    }

    #[test]
    fn prefixes() {
        let check = |bytes: &[u8], expected| assert_eq!(Class::TOKEN.prefix(bytes), expected);
        check(b"", 0);
        check(b":a", 0);
        check(b"abc", 3);
        check(b"a_b:c", 3);
    }
}
