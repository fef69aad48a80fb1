//! Which worker should have a new connection?
//!
//! The kernel hashes a connection's addresses to a socket, and so to a worker. For many connections that is even
//! enough; of a few, some workers get several and others none.

/// The worker that should have a connection that `mine` accepted, given the open connections of each.
///
/// `mine` keeps it unless it has over a quarter more than the one with the fewest, so that a hand-off, which wakes
/// another thread, is rare where it gains little.
pub(crate) fn choose(mine: usize, open: impl Iterator<Item = u32>) -> usize {
    let mut fewest = (u32::MAX, mine);
    let mut own = 0;
    for (worker, count) in open.enumerate() {
        if worker == mine {
            own = count;
        }
        if count < fewest.0 {
            fewest = (count, worker);
        }
    }
    let (least, worker) = fewest;
    if own <= least.saturating_add(least / 4) {
        mine
    } else {
        worker
    }
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn the_emptiest_worker_is_preferred_where_it_matters() {
        let check = |mine, open: &[u32], expected| {
            assert_eq!(choose(mine, open.iter().copied()), expected, "{mine} {open:?}");
        };
        check(0, &[0], 0);
        check(0, &[7], 0);
        check(1, &[0, 0, 0], 1);
        check(1, &[0, 1, 0], 0);
        check(2, &[3, 3, 4, 3], 0);
        check(2, &[8, 8, 10, 8], 2);
        check(2, &[8, 8, 11, 8], 0);
        check(0, &[5, 9], 0);
    }

    #[test]
    fn few_connections_are_spread_evenly_whoever_accepts_them() {
        for workers in 1..=8 {
            let mut open = vec![0; workers];
            for connection in 0..4 * workers {
                // The worst hash: one worker accepts everything.
                let worker = choose(connection % 2 % workers, open.iter().copied());
                open[worker] += 1;
            }
            assert!(open.iter().all(|&count| count <= 8), "{open:?}");
            assert!(open.iter().all(|&count| count >= 3), "{open:?}");
        }
    }
}
