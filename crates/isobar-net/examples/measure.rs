//! What do the ways to move bytes cost on this machine?
//!
//! `measure bulk` relays 1 MiB messages over loopback by splicing and by copying, and prints the processor time of the
//! relaying thread. `measure serve N` answers N one-shot connections, to be run under `strace -c`, and prints its address;
//! `measure visit ADDRESS N` is their client. `measure sizes` prints what a connection weighs, `measure timers` what
//! deadlines cost. With two cores or more the
//! relaying thread has the first to itself.

use std::error::Error;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use isobar_net::listen::{ListenOptions, Listener, listen};
use isobar_net::runtime::{WorkerRuntime, cores, pin, run};
use isobar_net::scratch::Scratch;
use isobar_net::splice::{Pipe, Pipes};
use isobar_net::stream::Stream;
use isobar_net::wheel::{Timer, Wheel};
use rustix::time::{ClockId, clock_gettime};

const MESSAGE_BYTES: usize = 1024 * 1024;
const MESSAGES: u32 = 2_000;
const ROUNDS: usize = 5;
const QUESTION: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// How a message gets across.
#[derive(Debug, Clone, Copy)]
enum Way {
    Splice,
    Copy,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["bulk"] => bulk()?,
        ["serve", count] => serve(count.parse()?)?,
        ["visit", address, count] => visit(address.parse()?, count.parse()?)?,
        ["sizes"] => sizes()?,
        ["timers"] => timers()?,
        _ => return Err("usage: measure bulk | serve COUNT | visit ADDRESS COUNT | sizes | timers".into()),
    }
    Ok(())
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Relays from a thread that writes to a thread that reads, both on the last core.
fn bulk() -> io::Result<()> {
    for round in 0..ROUNDS {
        for way in [Way::Splice, Way::Copy] {
            let begun = Instant::now();
            let (spent, elapsed) = (relay(way)? / MESSAGES, begun.elapsed() / MESSAGES);
            writeln!(
                io::stdout(),
                "round {round} {way:?}: {spent:?} of processor time a MiB, {elapsed:?} elapsed"
            )?;
        }
    }
    Ok(())
}

fn relay(way: Way) -> io::Result<Duration> {
    let entrance = listen(any_port(), ListenOptions::default())?;
    let exit = TcpListener::bind(any_port())?;
    let (entrance_address, exit_address) = (entrance.local_addr()?, exit.local_addr()?);
    let peers_core = cores().last().copied().unwrap_or(0);
    let sender = thread::spawn(move || -> io::Result<()> {
        pin(peers_core)?;
        let mut socket = TcpStream::connect(entrance_address)?;
        let message = vec![7; MESSAGE_BYTES];
        (0..MESSAGES).try_for_each(|_| socket.write_all(&message))
    });
    let receiver = thread::spawn(move || -> io::Result<()> {
        pin(peers_core)?;
        let (mut socket, mut buffer) = (exit.accept()?.0, vec![0; 256 * 1024]);
        while socket.read(&mut buffer)? > 0 {}
        Ok(())
    });
    let worker = thread::spawn(move || {
        run(
            WorkerRuntime {
                core: cores().first().copied(),
                ..WorkerRuntime::default()
            },
            || async move {
                let (mut from, _) = Listener::from_std(entrance)?.accept().await?;
                let mut to = Stream::connect(exit_address).await?;
                let before = clock_gettime(ClockId::ThreadCPUTime);
                match way {
                    Way::Splice => splice_across(&mut from, &mut to).await?,
                    Way::Copy => copy_across(&mut from, &mut to).await?,
                }
                let spent = clock_gettime(ClockId::ThreadCPUTime) - before;
                Duration::try_from(spent).map_err(io::Error::other)
            },
        )?
    });
    let spent = worker.join().map_err(|_| io::Error::other("the worker panicked"))?;
    for peer in [sender, receiver] {
        peer.join().map_err(|_| io::Error::other("a peer panicked"))??;
    }
    spent
}

async fn splice_across(from: &mut Stream, to: &mut Stream) -> io::Result<()> {
    let pipes = Pipes::new(1);
    for _ in 0..MESSAGES {
        let (mut pipe, mut left) = (pipes.acquire()?, MESSAGE_BYTES as u64);
        while left > 0 || pipe.buffered() > 0 {
            left -= poll_fn(|cx| pipe.poll_splice(cx, from, to, left)).await?.read;
        }
    }
    Ok(())
}

async fn copy_across(from: &mut Stream, to: &mut Stream) -> io::Result<()> {
    let mut buffer = vec![0; Scratch::INPUT_BYTES];
    loop {
        let read = poll_fn(|cx| from.poll_read(cx, &mut buffer)).await?;
        if read == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            rest = &rest[poll_fn(|cx| to.poll_write(cx, rest)).await?..];
        }
    }
}

fn serve(count: usize) -> io::Result<()> {
    let socket = listen(any_port(), ListenOptions::default())?;
    writeln!(io::stdout(), "{}", socket.local_addr()?)?;
    run(WorkerRuntime::default(), || async move {
        let (listener, scratch) = (Listener::from_std(socket)?, Scratch::new());
        for _ in 0..count {
            let (mut stream, _) = listener.accept().await?;
            poll_fn(|cx| scratch.with_input(|input| stream.poll_read(cx, input))).await?;
            poll_fn(|cx| stream.poll_write(cx, ANSWER)).await?;
        }
        Ok(())
    })?
}

fn visit(address: SocketAddr, count: usize) -> io::Result<()> {
    let mut answer = Vec::new();
    for _ in 0..count {
        let mut socket = TcpStream::connect(address)?;
        socket.write_all(QUESTION)?;
        socket.read_to_end(&mut answer)?;
        answer.clear();
    }
    Ok(())
}

/// Memory is measured, not reckoned, as the growth of the process by idle connections whose peers are sockets and nothing more.
fn sizes() -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(
        out,
        "Stream {} B, Timer {} B, Pipe {} B",
        size_of::<Stream>(),
        size_of::<Timer>(),
        size_of::<Pipe>()
    )?;
    isobar_net::limits::raise_descriptor_limit()?;
    run(WorkerRuntime::default(), || async {
        let listener = Listener::from_std(listen(any_port(), ListenOptions::default())?)?;
        let wheel = Wheel::new(Instant::now());
        const CONNECTIONS: usize = 4_000;
        let (mut peers, mut streams) = (Vec::with_capacity(CONNECTIONS), Vec::with_capacity(CONNECTIONS));
        let before = resident_bytes()?;
        for _ in 0..CONNECTIONS {
            peers.push(TcpStream::connect(listener.local_addr()?)?);
            let (mut stream, _) = listener.accept().await?;
            let timer = wheel.timer();
            timer.set(wheel.now() + Duration::from_secs(60));
            // Waits once, so that the reactor knows it.
            poll_fn(|cx| Poll::Ready(stream.poll_read(cx, &mut [0]).is_pending())).await;
            streams.push((stream, timer));
        }
        let each = resident_bytes()?.saturating_sub(before) / CONNECTIONS;
        writeln!(
            io::stdout(),
            "{each} B resident a registered stream with its timer, both ends' handles included"
        )
    })?
}

/// A thousand timers, as a busy worker has, moved in turn.
fn timers() -> io::Result<()> {
    const MOVES: u32 = 10_000_000;
    let wheel = Wheel::new(Instant::now());
    let timers: Vec<Timer> = (0..1_000).map(|_| wheel.timer()).collect();
    let measure = |name: &str, waits: [Duration; 2]| {
        let (base, begun) = (Instant::now(), Instant::now());
        for (wait, timer) in waits
            .iter()
            .cycle()
            .zip(timers.iter().cycle().flat_map(|timer| [timer; 2]))
            .take(MOVES as usize)
        {
            timer.set(base + *wait);
        }
        writeln!(io::stdout(), "{name}: {:?} a move", begun.elapsed() / MOVES)
    };
    measure(
        "to a later time and further",
        [Duration::from_secs(60), Duration::from_secs(70)],
    )?;
    measure(
        "to a later time and back",
        [Duration::from_secs(60), Duration::from_millis(100)],
    )?;
    let begun = Instant::now();
    let last = (0..MOVES).map(|_| wheel.now()).max();
    writeln!(io::stdout(), "reading the clock: {:?}", begun.elapsed() / MOVES)?;
    debug_assert!(last > Some(begun));
    Ok(())
}

fn resident_bytes() -> io::Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kibibytes
        .map(|kibibytes| kibibytes * 1024)
        .ok_or_else(|| io::Error::other("no VmRSS in /proc/self/status"))
}
