//! How far does a name, a value or a target reach? Looks at eight bytes at a time; does not know what they mean.
//!
//! A block knows the bytes that nearly all names, values and targets are made of. For the others, and for the bytes
//! after the last whole block of the buffer, there is the table.

use super::bytes::Class;

mod block;

use block::Block;

/// Where the token that begins at `start` ends, and may be empty; none: no colon follows.
#[inline(always)]
pub(crate) fn colon_after_token(bytes: &[u8], start: usize) -> Option<usize> {
    end(bytes, start, Block::word, Class::TOKEN, b':')
}

/// Where the text that begins at `start` ends, and may be empty; none: no CR follows.
#[inline(always)]
pub(crate) fn cr_after_text(bytes: &[u8], start: usize) -> Option<usize> {
    end(bytes, start, Block::text, Class::TEXT, b'\r')
}

/// Where the bytes that may stand in a request target end, the first of which is at `start`; there may be none of
/// them. None: no space follows.
#[inline(always)]
pub(crate) fn space_after_target(bytes: &[u8], start: usize) -> Option<usize> {
    end(bytes, start, Block::target, Class::TARGET, b' ')
}

/// Where the bytes of a class end, the first of which is at `start`; none: no delimiter, which is not of the class,
/// follows. `usual` says how many bytes of the class a block begins with, or fewer.
#[inline(always)]
fn end(
    bytes: &[u8],
    start: usize,
    usual: impl Fn(Block) -> Option<usize>,
    class: Class,
    delimiter: u8,
) -> Option<usize> {
    let (blocks, _) = bytes.get(start..)?.as_chunks();
    let mut at = start;
    for block in blocks {
        if let Some(len) = usual(Block::load(block)) {
            at += len;
            if bytes.get(at) == Some(&delimiter) {
                return Some(at);
            }
            break;
        }
        at += Block::LEN;
    }
    end_bytewise(bytes, at, class, delimiter)
}

/// [`end`], without blocks.
#[inline(never)]
fn end_bytewise(bytes: &[u8], start: usize, class: Class, delimiter: u8) -> Option<usize> {
    let rest = bytes.get(start..)?;
    let len = class.prefix(rest);
    (rest.get(len) == Some(&delimiter)).then_some(start + len)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place of a few blocks, between others that pass, with the delimiter and without.
    #[test]
    fn what_blocks_say_is_what_the_table_says() {
        let check = |end: fn(&[u8], usize) -> Option<usize>, class: Class, delimiter: u8, filling: &[u8]| {
            for (byte, &fill) in (0..=u8::MAX).flat_map(|byte| filling.iter().map(move |fill| (byte, fill))) {
                for place in 0..40 {
                    let mut bytes = [fill; 41];
                    bytes[place] = byte;
                    bytes[40] = delimiter;
                    for (start, len) in [
                        (0, 41),
                        (0, 40),
                        (0, place + 1),
                        (place / 2, 41),
                        (place, 41),
                        (place + 1, 41),
                    ] {
                        let bytes = &bytes[..len];
                        assert_eq!(
                            end(bytes, start),
                            end_bytewise(bytes, start, class, delimiter),
                            "{byte:#x} at {place} of {len} from {start}"
                        );
                    }
                }
            }
        };
        check(colon_after_token, Class::TOKEN, b':', b"a-Z9_");
        check(cr_after_text, Class::TEXT, b'\r', b"a \t\xff~");
        check(space_after_target, Class::TARGET, b' ', b"/~!\"$");
    }

    #[test]
    fn a_block_is_not_misled_by_the_bytes_beside() {
        for pair in 0..=u16::MAX {
            let [first, second] = pair.to_le_bytes();
            for fill in [b'a', 0xff] {
                let bytes = [fill, first, second, fill, first, fill, second, second];
                let block = Block::load(&bytes);
                let before = |is_usual: fn(&u8) -> bool| bytes.iter().position(|byte| !is_usual(byte));
                assert_eq!(block.text(), before(|byte| !byte.is_ascii_control()), "{bytes:x?}");
                assert_eq!(block.target(), before(|&byte| Class::TARGET.has(byte)), "{bytes:x?}");
                let word = before(|&byte| byte.is_ascii_alphabetic() || byte == b'-');
                assert_eq!(block.word(), word, "{bytes:x?}");
            }
        }
    }
}
