//! What of a block that should not be there?

use super::*;

/// What a decoder says of the last of these blocks; the others are well-formed.
fn last(max_table: u32, blocks: &[&str]) -> Result<Vec<String>, HpackError> {
    let mut decoder = Decoder::new(max_table);
    let (last, first) = blocks.split_last().unwrap();
    for block in first {
        fields(&mut decoder, &bytes(block)).unwrap();
    }
    fields(&mut decoder, &bytes(last))
}

/// A literal that goes into the table, and counts for 34 bytes.
const AB: &str = "400161 0162";

#[test]
fn what_is_refused() {
    let check = |blocks: &[&str], error| assert_eq!(last(4_096, blocks), Err(error), "{blocks:?}");
    check(&["80"], HpackError::Index);
    check(&["be"], HpackError::Index);
    check(&["7e0162"], HpackError::Index);
    check(&["0f2f0162"], HpackError::Index);
    check(&[AB, "bf"], HpackError::Index);
    check(&["fffe7f"], HpackError::Index);
    check(&["ffffffff7f"], HpackError::Index);
    check(&["ffffffffff7f"], HpackError::Integer);
    check(&["ff8080808000"], HpackError::Integer);
    check(&["007fffffffffff7f"], HpackError::Integer);
    check(&["82 3e"], HpackError::LateTableSize);
    check(&["20 82 20"], HpackError::LateTableSize);
    check(&["00 84ffffffff 00"], HpackError::Huffman);
    check(&["00 81ff 00"], HpackError::Huffman);
    check(&["00 8100 00"], HpackError::Huffman);
}

#[test]
fn a_table_is_not_larger_than_was_allowed() {
    assert_eq!(last(4_096, &["3fe11f"]), Ok(Vec::new()));
    assert_eq!(last(4_096, &["3fe21f"]), Err(HpackError::TableSize));
    assert_eq!(last(0, &["20"]), Ok(Vec::new()));
    assert_eq!(last(0, &["21"]), Err(HpackError::TableSize));
    assert_eq!(last(65_536, &["3fe1ff03"]), Ok(Vec::new()));
    assert_eq!(last(65_536, &["3fe2ff03"]), Err(HpackError::TableSize));
}

/// A peer that has not heard of a smaller table has the usual one.
#[test]
fn a_table_is_usual_until_its_encoder_says_otherwise() {
    let ab = || Ok(Vec::from(["a: b".to_string()]));
    assert_eq!(last(0, &[AB, "be"]), ab());
    assert_eq!(last(0, &[AB, "20be"]), Err(HpackError::Index));
    assert_eq!(last(65_536, &[AB, "be"]), ab());
}

#[test]
fn a_size_makes_entries_go() {
    let ab = || Ok(Vec::from(["a: b".to_string()]));
    // 34 bytes, and one less.
    assert_eq!(last(4_096, &[AB, "3f03 be"]), ab());
    assert_eq!(last(4_096, &[AB, "3f02 be"]), Err(HpackError::Index));
    // The lowest counts, whatever the final one is.
    assert_eq!(last(4_096, &[AB, "3f02 3fe11f be"]), Err(HpackError::Index));
    assert_eq!(last(4_096, &[AB, "3f03 3fe11f be"]), ab());
    // An entry that is larger than the table leaves nothing there.
    assert_eq!(
        last(4_096, &["3f03", AB, "400161 026262", "be"]),
        Err(HpackError::Index)
    );
}

/// The name of an entry that has to go for the one that has its name.
#[test]
fn a_name_may_be_that_of_an_entry_that_goes() {
    let blocks = ["3f06", "4003616263 0131", "7e 0132", "be"];
    assert_eq!(last(4_096, &blocks), Ok(Vec::from(["abc: 2".to_string()])));
}

/// Every block that is cut short is refused, and so is every one with a byte behind that begins something.
#[test]
fn what_is_cut_short() {
    let blocks = [
        "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
        "4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        "0f01 0162",
        "1f01 7f00",
        "3fe101",
        "ff01",
    ];
    for block in blocks {
        let block = bytes(block);
        for len in 1..block.len() {
            let mut decoder = Decoder::new(4_096);
            let found = fields(&mut decoder, &block[..len]);
            assert_eq!(found, Err(HpackError::Truncated), "{:x?}", &block[..len]);
        }
    }
}

#[test]
fn the_lowest_and_the_final_size_are_told() {
    let check = |limits: &[u32], expected: &str| {
        let mut encoder = Encoder::new();
        limits.iter().for_each(|&limit| encoder.limit_table(limit));
        let mut out = Vec::new();
        encoder.begin(&mut out);
        assert_eq!(out, bytes(expected), "{limits:?}");
        encoder.begin(&mut out);
        assert_eq!(out, bytes(expected), "told once");
    };
    check(&[], "");
    check(&[4_096], "");
    check(&[65_536], "");
    check(&[0], "20");
    check(&[256], "3fe101");
    check(&[256, 4_096], "3fe101 3fe11f");
    check(&[512, 256, 1_024], "3fe101 3fe107");
    check(&[512, 256], "3fe101");
    check(&[0, 65_536], "20 3fe11f");
}

/// Fields that differ make nothing go that comes again, and secrets are in no table.
#[test]
fn what_goes_into_the_table() {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(4_096);
    for turn in 0..100 {
        let mut out = Vec::new();
        encoder.begin(&mut out);
        let id = turn.to_string();
        for (name, value) in [
            ("x-request-id", id.as_str()),
            ("authorization", "secret"),
            ("server", "a"),
            ("date", "now"),
        ] {
            encoder.field(name.as_bytes(), value.as_bytes(), &mut out);
        }
        encoder.pseudo(Class::Path, b"/a/b", &mut out);
        assert!(
            out.windows(9).any(|seen| seen == b"\x1f\x08\x06secret"),
            "never indexed"
        );
        fields(&mut decoder, &out).unwrap();
    }
    assert_eq!(table(&mut decoder), ["server: a"]);
}

/// A field that would make more than half of the table go is written each time.
#[test]
fn what_is_too_large_for_the_table() {
    let mut encoder = Encoder::new();
    let mut lens = [(); 4].map(|()| {
        let mut out = Vec::new();
        encoder.field(b"x", &[b'v'; 2_048 - 33 + 1], &mut out);
        out.len()
    });
    lens.sort_unstable();
    assert_eq!(lens, [lens[0]; 4]);
    let lens = [(); 3].map(|()| {
        let mut out = Vec::new();
        encoder.field(b"x", &[b'v'; 2_048 - 33], &mut out);
        out.len()
    });
    assert_eq!(lens[2], 1);
}

/// What a table holds is bounded, however many entries come and go.
#[test]
fn entries_come_and_go() {
    let mut decoder = Decoder::new(4_096);
    let mut newest = Vec::new();
    for turn in 0..2_000_usize {
        let value = "v".repeat(turn * 37 % 300);
        let mut block = Vec::from(*b"\x40\x01a");
        string(&value, Compressed::No, &mut block);
        fields(&mut decoder, &block).unwrap();
        newest.insert(0, std::format!("a: {value}"));
        // What a field counts for, without the colon and the space.
        while newest.iter().map(|field| field.len() - 2 + 32).sum::<usize>() > 4_096 {
            newest.pop();
        }
        assert_eq!(table(&mut decoder), newest);
    }
}
