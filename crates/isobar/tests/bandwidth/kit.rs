//! What do tests of limits on bytes share?

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use isobar_testkit::{Configuration, Isobar, Nginx, PATIENCE, binary};

/// More than any test fetches.
const BIG: usize = 96 << 20;

/// An instance before a real nginx with a large file, `/big`.
pub(crate) struct Held {
    pub(crate) isobar: Isobar,
    pub(crate) nginx: Nginx,
    pub(crate) configuration: Configuration,
}

/// One limit `band`, by user, that holds for everything.
pub(crate) fn held(limit: &str) -> Held {
    with(limit, "")
}

/// The same with more lines of the listener.
pub(crate) fn with(limit: &str, listener: &str) -> Held {
    let nginx = Nginx::start("dav_methods PUT; client_max_body_size 0;");
    nginx.put("big", &vec![b'x'; BIG]);
    let configuration = Configuration::to(&[nginx.address()])
        .listener(format!("request_limits: [band]\n{listener}"))
        .top(format!(
            "limits: {{ band: {{ algorithm: bandwidth, key: \"header:x-user\", {limit} }} }}\n\
             access_log: {{ path: access.log, format: json }}"
        ));
    Held {
        isobar: binary!().run(&configuration),
        nginx,
        configuration,
    }
}

impl Held {
    /// curl, which says at its end what it received, and how long that took.
    pub(crate) fn curl(&self, user: &str, arguments: &[&str]) -> Fetching {
        Fetching::begin(
            &[
                &[
                    "-H",
                    &format!("x-user: {user}"),
                    &format!("http://{}/big", self.isobar.address()),
                ],
                arguments,
            ]
            .concat(),
        )
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.isobar.metrics().sum(name, &[("limit", "band")]).unwrap()
    }

    pub(crate) fn reload(&self, from: &str, into: &str) -> String {
        let text = self.configuration.yaml();
        assert!(text.contains(from), "{text}");
        self.isobar.reload(&text.replace(from, into))
    }
}

/// A curl at work.
pub(crate) struct Fetching(Child);

/// What curl says of a transfer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetched {
    pub(crate) exit: i32,
    pub(crate) status: u16,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) seconds: f64,
}

impl Fetching {
    pub(crate) fn begin(arguments: &[&str]) -> Self {
        let mut command = Command::new("curl");
        let said = "%{http_code} %{size_download} %{size_upload} %{time_total}\n";
        command.args([
            "--silent",
            "--max-time",
            "30",
            "--write-out",
            said,
            "--output",
            "/dev/null",
        ]);
        let child = command.args(arguments).stdout(Stdio::piped()).spawn();
        Self(child.expect("curl is installed"))
    }

    /// What it came to; of several transfers the sums, and the longest time.
    pub(crate) fn end(self) -> Fetched {
        let output = self.0.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut all = Fetched {
            exit: output.status.code().unwrap_or(-1),
            status: 0,
            received: 0,
            sent: 0,
            seconds: 0.0,
        };
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            all.status = words[0].parse().unwrap();
            all.received += words[1].parse::<u64>().unwrap();
            all.sent += words[2].parse::<u64>().unwrap();
            all.seconds = all.seconds.max(words[3].parse().unwrap());
        }
        all
    }
}

/// A client that reads all that comes, and counts it.
pub(crate) struct Reader {
    count: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    stream: TcpStream,
}

impl Reader {
    /// Sends these bytes and reads from then on.
    pub(crate) fn begin(mut stream: TcpStream, request: &str) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let (count, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let own = stream.try_clone().unwrap();
        let (counted, ends) = (Arc::clone(&count), Arc::clone(&over));
        let thread = thread::spawn(move || {
            let mut bytes = vec![0; 64 * 1024];
            while !ends.load(Ordering::Relaxed)
                && let Ok(read @ 1..) = stream.read(&mut bytes)
            {
                counted.fetch_add(read as u64, Ordering::Relaxed);
            }
        });
        Self {
            count,
            over,
            thread: Some(thread),
            stream: own,
        }
    }

    pub(crate) fn of(address: SocketAddr, user: &str) -> Self {
        let request = format!("GET /big HTTP/1.1\r\nhost: a\r\nx-user: {user}\r\n\r\n");
        Self::begin(TcpStream::connect(address).unwrap(), &request)
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // It may have closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// What each reads in a second, by a look at all of them at the beginning and at the end of some.
pub(crate) fn rates(readers: &[Reader], seconds: u64) -> Vec<f64> {
    let look = || readers.iter().map(Reader::count).collect::<Vec<_>>();
    let (began, before) = (Instant::now(), look());
    // What is measured is what goes in this time.
    thread::sleep(Duration::from_secs(seconds));
    let (after, lasted) = (look(), began.elapsed().as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "bytes of seconds")]
    let rate = |(after, before): (&u64, &u64)| (after - before) as f64 / lasted;
    after.iter().zip(&before).map(rate).collect()
}

/// Whether all have the same part of a rate.
#[track_caller]
pub(crate) fn share(rates: &[f64], whole: f64) {
    let total: f64 = rates.iter().sum();
    assert!((total / whole - 1.0).abs() < 0.05, "{total} of {whole}: {rates:?}");
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    let part = total / rates.len() as f64;
    assert!(rates.iter().all(|rate| (rate / part - 1.0).abs() < 0.15), "{rates:?}");
}
