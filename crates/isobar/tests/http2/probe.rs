//! What does everybody else notice?

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use isobar_testkit::Client;

/// Below this, a difference says more of the machine that runs the tests than of what is tested.
const FLOOR: Duration = Duration::from_millis(150);

/// A client that asks all the time, on a connection of its own.
pub(crate) struct Probe {
    stops: Arc<AtomicBool>,
    asking: JoinHandle<Vec<Duration>>,
}

impl Probe {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let stops = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stops);
        let asking = std::thread::spawn(move || {
            let mut client = Client::connect(address).unwrap();
            let mut took = Vec::new();
            while !seen.load(Ordering::Relaxed) {
                let began = Instant::now();
                let answer = client.get("/probe").expect("others are served");
                assert_eq!(answer.status, 200);
                took.push(began.elapsed());
                std::thread::sleep(Duration::from_millis(2));
            }
            took
        });
        Self { stops, asking }
    }

    /// The 99th percentile of how long answers took: the median of those of ten windows.
    pub(crate) fn finish(self) -> Duration {
        self.stops.store(true, Ordering::Relaxed);
        let took = self.asking.join().expect("every request was answered");
        let mut windows: Vec<_> = took
            .chunks(took.len().div_ceil(10).max(1))
            .map(|window| {
                let mut window = window.to_vec();
                window.sort_unstable();
                window[(window.len() * 99 / 100).min(window.len() - 1)]
            })
            .collect();
        windows.sort_unstable();
        windows[windows.len() / 2]
    }
}

/// Whether others notice of it no more than they do of twice the normal.
#[track_caller]
pub(crate) fn is_unnoticed(normal: Duration, during: Duration) {
    assert!(during <= FLOOR.max(normal * 2), "{during:?} in place of {normal:?}");
}
