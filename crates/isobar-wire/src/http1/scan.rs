//! How far does a name, a value or a target reach? Looks at eight bytes at a time; does not know what comes after.
//!
//! A block knows the bytes that nearly all names, values and targets are made of. For the others, and for the bytes
//! after the last whole block of the buffer, there is the table.

use super::bytes::Class;

mod block;

use block::Block;

/// What follows the token at the front.
#[inline(always)]
pub(crate) fn after_token(bytes: &[u8]) -> &[u8] {
    after(bytes, Block::word, Class::TOKEN)
}

/// What follows the text at the front.
#[inline(always)]
pub(crate) fn after_text(bytes: &[u8]) -> &[u8] {
    after(bytes, Block::text, Class::TEXT)
}

/// What follows the bytes at the front that may stand in a request target.
#[inline(always)]
pub(crate) fn after_target(bytes: &[u8]) -> &[u8] {
    after(bytes, Block::target, Class::TARGET)
}

/// What follows the bytes of a class at the front, of which `usual` says how many a block begins with.
#[inline(always)]
fn after(bytes: &[u8], usual: impl Fn(Block) -> Option<usize>, class: Class) -> &[u8] {
    let mut rest = bytes;
    while let Some((block, after)) = rest.split_first_chunk() {
        if let Some(len) = usual(Block::load(block)) {
            return match rest.split_at_checked(len) {
                Some((_, [byte, ..])) if class.has(*byte) => bytewise(rest, class),
                Some((_, rest)) => rest,
                None => &[],
            };
        }
        rest = after;
    }
    bytewise(rest, class)
}

/// [`after`], without blocks.
#[inline(never)]
fn bytewise(bytes: &[u8], class: Class) -> &[u8] {
    bytes.get(class.prefix(bytes)..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place of a few blocks, between others that pass.
    #[test]
    fn what_blocks_say_is_what_the_table_says() {
        let check = |after: fn(&[u8]) -> &[u8], class: Class, filling: &[u8]| {
            for (byte, &fill) in (0..=u8::MAX).flat_map(|byte| filling.iter().map(move |fill| (byte, fill))) {
                for place in 0..40 {
                    let mut bytes = [fill; 40];
                    bytes[place] = byte;
                    assert_eq!(after(&bytes), bytewise(&bytes, class), "{byte:#x} at {place}");
                    let last = &bytes[..=place];
                    assert_eq!(after(last), bytewise(last, class), "{byte:#x} last at {place}");
                }
            }
        };
        check(after_token, Class::TOKEN, b"a-Z9_");
        check(after_text, Class::TEXT, b"a \t\xff~");
        check(after_target, Class::TARGET, b"/~!\"$");
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
