//! What must hold of header blocks, whatever their bytes, and of fields, whatever they are? Written once, for the fuzz target and for the
//! tests. Another implementation has a say in both.

use isobar_wire::http2::hpack::{Class, Decoder, Encoder, HpackError};
use loona_hpack::Decoder as Other;
use loona_hpack::decoder::DecoderError;

/// What a peer is allowed that was told nothing.
const USUAL_TABLE: u32 = 4_096;

/// The name and the value of a field.
type Field = (Vec<u8>, Vec<u8>);

/// The first bit says what the others are: header blocks, or fields.
pub(crate) fn hpack(input: &[u8]) {
    match input.split_first() {
        Some((&first, rest)) if first & 1 == 0 => blocks(u32::from(first) * 64, rest),
        Some((_, rest)) => fields(rest),
        None => {}
    }
}

/// The same decoders on either side of one connection.
struct Decoders {
    ours: Decoder,
    theirs: Other<'static>,
}

impl Decoders {
    fn new(max_table: u32) -> Self {
        let mut theirs = Other::new();
        theirs.set_max_allowed_table_size(max_table as usize);
        let ours = Decoder::new(max_table);
        Self { ours, theirs }
    }

    /// What both say of a block.
    fn decode(&mut self, block: &[u8]) -> Result<Vec<Field>, HpackError> {
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        let done = self.ours.decode(block, |field| {
            let (name, value) = (field.name.to_vec(), field.value.to_vec());
            assert_eq!(field.class, class_of_literal(&name, &value), "{name:?}: {value:?}");
            found.push((name, value));
        });
        let judged = self.theirs.decode_with_cb(block, |name, value| {
            expected.push((name.into_owned(), value.into_owned()));
        });
        match (done, judged) {
            // It does not mind where the size of a table is changed, but for the end.
            (Err(HpackError::LateTableSize), _) => assert!(expected.starts_with(&found)),
            (Ok(()), Err(DecoderError::SizeUpdateAtEnd)) => assert!(found.is_empty() && expected.is_empty()),
            (done, judged) => {
                assert_eq!(done.is_ok(), judged.is_ok(), "{done:?} {judged:?}");
                assert_eq!(found, expected);
            }
        }
        done.map(|()| found)
    }
}

/// Each block has its length in front.
fn blocks(max_table: u32, mut rest: &[u8]) {
    let mut decoders = Decoders::new(max_table);
    while let [len, behind @ ..] = rest {
        let (block, next) = behind.split_at(behind.len().min((*len).into()));
        if decoders.decode(block).is_err() {
            return;
        }
        rest = next;
    }
}

/// What a field is when it comes as a literal, which is what it has to be from any table.
fn class_of_literal(name: &[u8], value: &[u8]) -> Class {
    let mut block = vec![0];
    for text in [name, value] {
        // A number with a prefix of 7 bits and of four bytes, whatever it is.
        let rest = u32::try_from(text.len()).expect("a short text").wrapping_sub(127);
        match u8::try_from(text.len()) {
            Ok(len) if len < 127 => block.push(len),
            _ => block.extend([
                127,
                (rest & 0x7f) as u8 | 0x80,
                (rest >> 7 & 0x7f) as u8 | 0x80,
                (rest >> 14 & 0x7f) as u8,
            ]),
        }
        block.extend(text);
    }
    let mut class = None;
    Decoder::new(0)
        .decode(&block, |field| class = Some(field.class))
        .expect("a literal");
    class.expect("a field")
}

/// Names that are written in different ways.
const NAMES: [&[u8]; 8] = [
    b"Content-Type",
    b"content-length",
    b"X-Request-Id",
    b"x-request-id",
    b"Cookie",
    b"accept-encoding",
    b"Vary",
    b"x",
];

/// Takes so many bytes, or those that are left.
fn take<'a>(rest: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, behind) = rest.split_at(rest.len().min(len));
    *rest = behind;
    taken
}

/// What is to be written, one step after the other.
fn fields(mut rest: &[u8]) {
    let mut decoders = Decoders::new(USUAL_TABLE);
    let mut encoder = Encoder::new();
    let (mut block, mut expected) = (Vec::new(), Vec::<Field>::new());
    encoder.begin(&mut block);
    while let [step, behind @ ..] = rest {
        rest = behind;
        match step {
            0..16 => {
                encoder.status(200, &mut block);
                expected.push((b":status".to_vec(), b"200".to_vec()));
                assert_eq!(decoders.decode(&block).as_ref(), Ok(&expected));
                block.clear();
                expected.clear();
                if *step == 0
                    && let [high, low] = *take(&mut rest, 2)
                {
                    encoder.limit_table(u16::from_be_bytes([high, low]).into());
                }
                encoder.begin(&mut block);
            }
            16..24 => {
                let status = 100 + u16::from(*take(&mut rest, 1).first().unwrap_or(&0)) * 2;
                encoder.status(status, &mut block);
                expected.push((b":status".to_vec(), status.to_string().into_bytes()));
            }
            24..64 => {
                let (class, name) = [
                    (Class::Method, ":method"),
                    (Class::Scheme, ":scheme"),
                    (Class::Authority, ":authority"),
                    (Class::Path, ":path"),
                    (Class::Protocol, ":protocol"),
                ][usize::from(step % 5)];
                let value = take(&mut rest, usize::from(step / 5) - 4);
                encoder.pseudo(class, value, &mut block);
                expected.push((name.into(), value.to_vec()));
            }
            64.. => {
                let name = match step % 16 {
                    known @ 0..8 => NAMES[usize::from(known)],
                    len => take(&mut rest, usize::from(len)),
                };
                let len = usize::from(*take(&mut rest, 1).first().unwrap_or(&0));
                // Some are larger than the table, and some than what may go into it.
                let value = take(&mut rest, len).repeat(if *step >= 240 { 32 } else { 1 });
                encoder.field(name, &value, &mut block);
                expected.push((name.to_ascii_lowercase(), value));
            }
        }
    }
    encoder.status(204, &mut block);
    expected.push((b":status".to_vec(), b"204".to_vec()));
    assert_eq!(decoders.decode(&block), Ok(expected));
}
