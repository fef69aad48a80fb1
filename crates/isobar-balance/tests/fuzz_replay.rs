//! Does everything that the fuzzer of stickiness tokens found still hold? Replays its corpus, and more of its kind.

use std::path::Path;

use proptest::prelude::*;

#[path = "../../../fuzz/src/tokens.rs"]
mod tokens;

#[test]
fn the_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/sticky_token");
    let files: Vec<_> = std::fs::read_dir(&corpus)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(files.len() >= 10, "the corpus is missing from {}", corpus.display());
    for file in files {
        let input = std::fs::read(&file).unwrap();
        if let Err(panic) = std::panic::catch_unwind(|| tokens::sticky_token(&input)) {
            panic!("{} fails: {:?}", file.display(), panic.downcast_ref::<String>());
        }
    }
}

proptest! {
    #[test]
    fn random_inputs(input in prop::collection::vec(any::<u8>(), 0..48)) {
        tokens::sticky_token(&input);
    }
}
