//! The buckets against the paper's own structure, through the same history; and the history of members.

use super::{Bucket, Changing, Memento, jump};
use crate::mix::mix;
use crate::policy::keyed::tests::reference;
use crate::policy::testing::members;
use alloc::vec::Vec;
use proptest::prelude::*;

/// The answers of the Python package `jump-consistent-hash` 3.6.0 (a C extension), `jump.hash(key, buckets)`.
#[test]
fn jump_is_jump() {
    let check = |key, buckets, expected| assert_eq!(jump(key, buckets), expected, "{key} in {buckets}");
    check(0, 1, 0);
    check(0, 10, 0);
    check(1, 10, 6);
    check(42, 57, 43);
    check(3_735_883_980, 1, 0);
    check(3_735_883_980, 666, 361);
    check(256, 1024, 520);
    check(11_400_714_819_323_198_485, 1000, 838);
    check(18_446_744_073_709_551_615, 1_000_000, 589_430);
    check(10_863_919_174_838_991, 11, 6);
    check(12_345_678_901_234_567_890, 100_000, 46_485);
    assert_eq!(jump(1, 0), 0);
}

proptest! {
    /// Any history of removals and additions, never of the last: every key is where the paper's structure has it.
    #[test]
    fn buckets_are_the_papers(start in 2u32..40, history in prop::collection::vec(any::<Option<u32>>(), 0..60)) {
        let buckets: Vec<Bucket> = (0..start).map(|age| Bucket::Of { position: age, age }).collect();
        let mut changing = Changing::from(&buckets);
        let mut paper = reference::Memento::new(u64::from(start));
        for step in history {
            match step {
                Some(which) if changing.working > 1 => {
                    let working = changing.by_age();
                    let bucket = working[which as usize % working.len()];
                    changing.remove(bucket);
                    paper.remove(u64::from(bucket));
                }
                _ => {
                    let added = u32::try_from(paper.add()).unwrap();
                    changing.add(added);
                    let is_there = matches!(changing.buckets[added as usize], Bucket::Of { position, .. } if position == added);
                    prop_assert!(is_there, "bucket {}", added);
                }
            }
            // What is made of the buckets alone goes on as the original does.
            changing = Changing::from(&changing.buckets);
            // Members are named by their buckets.
            for (position, bucket) in (0..).zip(&mut changing.buckets) {
                if let Bucket::Of { position: known, .. } = bucket {
                    *known = position;
                }
            }
            let memento = Memento { buckets: changing.buckets.clone().into() };
            for key in (0..100).map(|number| mix(number, 5)) {
                prop_assert_eq!(memento.lookup(key) as u64, paper.lookup(key));
            }
        }
    }
}

/// Who is replaced hands its keys over, all of them and no others.
#[test]
fn a_successor_takes_over() {
    let before = members(&[1, 1, 1, 1]);
    let first = Memento::new(&before);
    let mut after = members(&[1, 1, 1, 1]);
    after[1].id = 77;
    let second = first.following(&before, &after);
    for key in (0..1000).map(|number| mix(number, 5)) {
        assert_eq!(first.lookup(key), second.lookup(key));
    }
}

/// With nobody left of those before, history begins anew.
#[test]
fn nobody_stays() {
    let before = members(&[1, 2]);
    let mut after = members(&[3, 1, 1]);
    after.iter_mut().for_each(|member| member.id += 500);
    let next = Memento::new(&before).following(&before, &after);
    assert_eq!(next.buckets, Memento::new(&after).buckets);
    let empty = next.following(&after, &[]);
    assert!(empty.buckets.is_empty());
    assert_eq!(empty.following(&[], &before).buckets, Memento::new(&before).buckets);
}

/// Years of change leave no more behind than the most there ever were at once.
#[test]
fn memory_is_bounded_by_the_most_there_were() {
    let mut last = members(&[1; 10]);
    let mut memento = Memento::new(&last);
    for change in 0..500u64 {
        let mut next = last.clone();
        let at = usize::try_from(mix(change, 1) % 10).unwrap();
        next[at].id = 1_000_000 + change;
        memento = memento.following(&last, &next);
        last = next;
    }
    assert_eq!(memento.buckets.len(), 10);
}
