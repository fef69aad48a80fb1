//! Does another implementation find the same fields?

use std::format;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Something in a block.
#[derive(Debug, Clone)]
enum Step {
    Indexed(u8),
    /// How it begins, the index of its name, or 0 and a name; its value; and whether they are compressed.
    Literal(u8, u8, String, String, Compressed),
}

/// A block: the sizes it begins with, and what comes then.
type Block = (Vec<u8>, Vec<Step>);

fn step() -> impl Strategy<Value = Step> {
    let literal = (
        prop_oneof![Just(0x00_u8), Just(0x10), Just(0x40), Just(0x40)],
        prop_oneof![Just(0_u8), 1_u8..70],
        "[a-c]{0,3}|[ -~]{0,20}",
        "[a-c]{0,3}|[ -~]{0,60}|\\PC{0,10}",
        prop_oneof![Just(Compressed::No), Just(Compressed::Yes)],
    );
    prop_oneof![
        (1_u8..75).prop_map(Step::Indexed),
        literal.prop_map(|(kind, index, name, value, compressed)| Step::Literal(kind, index, name, value, compressed)),
    ]
}

fn block() -> impl Strategy<Value = Block> {
    (vec(any::<u8>(), 0..2), vec(step(), 1..12))
}

fn write((sizes, steps): &Block) -> Vec<u8> {
    let mut out = Vec::new();
    for &size in sizes {
        match size {
            0..31 => out.push(0x20 | size),
            _ => out.extend([0x3f, (size - 31) & 0x7f | 0x80, (size - 31) >> 7]),
        }
    }
    for step in steps {
        match step {
            Step::Indexed(index) => out.push(0x80 | index),
            Step::Literal(kind, index, name, value, compressed) => {
                let most = if *kind == 0x40 { 63 } else { 15 };
                if *index < most {
                    out.push(kind | index);
                } else {
                    out.extend([kind | most, index - most]);
                }
                if *index == 0 {
                    string(name, *compressed, &mut out);
                }
                string(value, *compressed, &mut out);
            }
        }
    }
    out
}

/// What the other one says.
fn theirs(decoder: &mut loona_hpack::Decoder<'_>, block: &[u8]) -> Result<Vec<String>, String> {
    let text = |text| String::from_utf8(text).unwrap();
    match decoder.decode(block) {
        Ok(fields) => Ok(fields
            .into_iter()
            .map(|(name, value)| format!("{}: {}", text(name), text(value)))
            .collect()),
        Err(error) => Err(format!("{error:?}")),
    }
}

proptest! {
    // The other implementation makes a table for each string that it decodes.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn blocks_mean_the_same(blocks in vec(block(), 1..12)) {
        let mut decoder = Decoder::new(USUAL_TABLE);
        let mut other = loona_hpack::Decoder::new();
        for block in &blocks {
            let block = write(block);
            let (found, expected) = (fields(&mut decoder, &block), theirs(&mut other, &block));
            prop_assert_eq!(found.is_ok(), expected.is_ok(), "{:?} {:?}", found, expected);
            match (found, expected) {
                (Ok(found), Ok(expected)) => prop_assert_eq!(found, expected),
                _ => break,
            }
        }
    }

    #[test]
    fn what_is_encoded_is_understood(
        messages in vec(vec((0_u8..12, 0_u8..8), 1..20), 1..20),
        limits in vec(prop_oneof![Just(4_096_u32), Just(0), 0_u32..600, 0_u32..10_000], 20),
        limit in any::<u8>(),
    ) {
        let mut encoder = Encoder::new();
        let mut decoder = Decoder::new(USUAL_TABLE);
        let mut other = loona_hpack::Decoder::new();
        for (turn, message) in messages.iter().enumerate() {
            if limit & 1 << (turn % 8) != 0 {
                encoder.limit_table(limits[turn]);
            }
            let mut out = Vec::new();
            encoder.begin(&mut out);
            let mut expected = Vec::new();
            for &(name, value) in message {
                let name = ["Server", "x-a", "X-A", "X-b", "cookie", "date", "vary", "accept", "via", "link", "allow", "Te"]
                    [usize::from(name)];
                let value = "v".repeat(usize::from(value) * 23);
                encoder.field(name.as_bytes(), value.as_bytes(), &mut out);
                expected.push(format!("{}: {value}", name.to_ascii_lowercase()));
            }
            prop_assert_eq!(theirs(&mut other, &out), Ok(expected.clone()));
            prop_assert_eq!(fields(&mut decoder, &out), Ok(expected));
        }
    }

    #[test]
    fn what_another_encodes_is_understood(messages in vec(vec(("[a-c]{1,2}", "[a-d]{0,2}"), 1..20), 1..20)) {
        let mut encoder = loona_hpack::Encoder::new();
        let mut decoder = Decoder::new(USUAL_TABLE);
        for message in &messages {
            let block = encoder.encode(message.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
            let expected: Vec<_> = message.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            prop_assert_eq!(fields(&mut decoder, &block), Ok(expected));
        }
    }
}
