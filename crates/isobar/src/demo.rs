//! `isobar` without a command: what does balancing look like?
//!
//! Three servers of different speed, an engine in front of them, visitors, and a picture of what happens. Everything
//! shown is what the engine itself reports, but for the latencies, which are the visitors' own.

mod chapter;
mod compare;
mod limits;
mod model;
mod plan;
mod screen;
mod servers;
mod statistics;
mod view;
mod visitors;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use isobar_balance::Balance;
use isobar_engine::{Engine, EngineOptions, Io};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, interval_at};

use self::chapter::Chapter;
use self::model::Model;
use self::screen::{Key, Output, Plain, Surface};
use self::servers::{SERVERS, SLOWER, Servers};
use self::statistics::Statistics;
use crate::arguments::{DemoCommand, DemoOptions};
use crate::failure::apply_reason;
use crate::logging;
use crate::picture::{Line, Tone, text};

/// Time between two pictures on a terminal.
const FRAME: Duration = Duration::from_millis(125);
/// Time between two lines elsewhere.
const LINE: Duration = Duration::from_secs(1);
/// Two workers suffice for what the visitors ask, and show that workers share what they count.
const WORKERS: usize = 2;
/// News the picture has not shown yet; more are left out.
const MAX_NEWS: usize = 64;
/// Rows of the last table.
const MAX_CHAPTERS: usize = 64;
/// The server that key `s` makes slow: the fastest.
const SLOWED: usize = 0;
/// The server that key `f` makes fail: not the same.
const BROKEN: usize = 1;
/// How long the last requests have to finish.
const DRAIN: Duration = Duration::from_secs(1);

/// Runs the demonstration until it is ended.
///
/// *Errors*: no port is free, or a thread cannot be had.
pub(crate) fn run(options: &DemoOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("demo")
        .enable_all()
        .build()
        .context("failed to start the demonstration")?;
    let outcome = runtime.block_on(async {
        let compared = options.compared();
        if let Some(DemoCommand::Limits(options)) = &options.command {
            limits::show(options).await
        } else if options.servers_only {
            servers_only().await
        } else if !compared.is_empty() {
            compare::compare(options, &compared).await
        } else {
            demonstrate(options).await
        }
    });
    runtime.shutdown_timeout(DRAIN);
    outcome
}

fn pauses() -> [Duration; 3] {
    SERVERS.each_ref().map(|server| server.pause)
}

async fn servers_only() -> Result<()> {
    let addresses = [9001, 9002, 9003].map(|port| ([127, 0, 0, 1], port).into());
    let servers = Servers::start(addresses, pauses()).context("failed to start the servers")?;
    let mut output = Plain::new();
    for (server, address) in SERVERS.iter().zip(servers.addresses()) {
        output.line(&format!(
            "{} on http://{address}, about {} ms",
            server.name,
            server.pause.as_millis()
        ))?;
    }
    output.line("Ctrl-C ends them")?;
    tokio::signal::ctrl_c().await.context("failed to wait for Ctrl-C")
}

async fn demonstrate(options: &DemoOptions) -> Result<()> {
    let listen = plan::free_address(options.listen.0)?;
    let free = ([127, 0, 0, 1], 0).into();
    let servers = Servers::start([free; 3], pauses()).context("failed to start the servers")?;
    if let Some(slow) = options.slow {
        servers.toggle_slow(slow.index());
    }
    if let Some(failing) = options.failing {
        servers.toggle_failing(failing.index());
    }
    let (tell, mut news) = mpsc::channel(MAX_NEWS);
    let events = Box::new(move |event| drop(tell.try_send(event)));
    let first = plan::plan(listen, &servers.addresses(), options.balance)?;
    let engine = Engine::start(
        first,
        EngineOptions {
            workers: WORKERS,
            io: Io::Epoll,
        },
        events,
    );
    let engine = engine.map_err(|error| anyhow!(apply_reason(&error)))?;

    let statistics = Arc::new(Statistics::default());
    let visitors = visitors::start(listen, &statistics);
    let mut show = Show {
        model: Model::new(listen, options),
        balance: options.balance,
        listen,
        servers,
        engine,
        statistics,
        chapters: Vec::new(),
        end: None,
        switch: None,
    };
    if let Some(duration) = options.duration {
        let (now, duration) = (Instant::now(), duration.duration());
        show.end = Some(now + duration);
        show.switch = options.then.map(|balance| (now + duration / 2, balance));
    }
    let mut surface = Surface::open(output(), Key::meaning)?;
    let outcome = show.run(&mut surface, &mut news).await;
    show.end_chapter();
    drop(visitors);
    let Show {
        engine,
        model,
        chapters,
        ..
    } = show;
    tokio::task::spawn_blocking(move || engine.drain(DRAIN))
        .await
        .context("failed to drain")?;
    surface.close(&summary(&model, &chapters))?;
    outcome
}

/// What it came to, algorithm by algorithm.
fn summary(model: &Model, chapters: &[Chapter]) -> String {
    let mut lines = vec![chapter::head(SERVERS.each_ref().map(|server| server.name))];
    lines.extend(chapters.iter().map(Chapter::row));
    lines.push(Line::new());
    lines.push(vec![(Tone::Plain, model.summary())]);
    let text = text(&lines, logging::use_colors(&io::stdout()));
    text.trim_end_matches('\n').to_owned()
}

fn output() -> Output {
    match (io::stdout().is_terminal(), logging::use_colors(&io::stdout())) {
        (false, _) => Output::Stream,
        (true, false) => Output::Colorless,
        (true, true) => Output::Terminal,
    }
}

/// The demonstration at work.
struct Show {
    model: Model,
    balance: Balance,
    listen: std::net::SocketAddr,
    servers: Servers,
    engine: Engine,
    statistics: Arc<Statistics>,
    /// What came of the algorithms that chose before this one.
    chapters: Vec<Chapter>,
    end: Option<Instant>,
    /// When another algorithm is to choose, and which.
    switch: Option<(Instant, Balance)>,
}

impl Show {
    async fn run(&mut self, surface: &mut Surface<Key>, news: &mut mpsc::Receiver<isobar_plan::Event>) -> Result<()> {
        let mut tick = match surface {
            Surface::Screen(_) => interval(FRAME),
            // The first line has something to say.
            Surface::Plain(_) => interval_at(tokio::time::Instant::now() + LINE, LINE),
        };
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut stop = std::pin::pin!(stop_signal());
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    while let Ok(event) = news.try_recv() {
                        self.model.take_event(&event);
                    }
                    let (status, metrics) = (self.engine.status(), self.engine.metrics());
                    self.model.update(&status, &metrics, &self.statistics.take());
                    self.draw(surface)?;
                    if let Some((_, balance)) = self.switch.take_if(|(at, _)| Instant::now() >= *at) {
                        self.switch_to(balance)?;
                    }
                    if self.end.is_some_and(|end| Instant::now() >= end) {
                        return Ok(());
                    }
                }
                key = surface.key() => match key {
                    Key::Quit => return Ok(()),
                    key => self.press(key)?,
                },
                outcome = &mut stop => return outcome,
            }
        }
    }

    fn draw(&self, surface: &mut Surface<Key>) -> Result<()> {
        match surface {
            Surface::Screen(screen) => screen.draw(|width| view::picture(&self.model, width)),
            Surface::Plain(plain) => plain.line(&view::line(&self.model)),
        }
    }

    fn press(&mut self, key: Key) -> Result<()> {
        match key {
            Key::Toggle(server) => {
                let running = self.servers.toggle(server).context("failed to start a server again")?;
                let name = SERVERS[server].name;
                self.model.note(if running {
                    format!("{name} is started again")
                } else {
                    format!("{name} is stopped")
                });
            }
            Key::Slow => {
                let slow = self.servers.toggle_slow(SLOWED);
                let name = SERVERS[SLOWED].name;
                self.model.note(if slow {
                    format!("{name} takes {SLOWER} times as long")
                } else {
                    format!("{name} is as fast as before")
                });
            }
            Key::Fail => {
                let failing = self.servers.toggle_failing(BROKEN);
                let name = SERVERS[BROKEN].name;
                self.model.note(if failing {
                    format!("{name} fails every request at once; its health check succeeds")
                } else {
                    format!("{name} works again")
                });
            }
            Key::Balance => {
                let mut from_here = Balance::ALL
                    .iter()
                    .copied()
                    .cycle()
                    .skip_while(|&balance| balance != self.balance);
                self.switch_to(from_here.nth(1).unwrap_or(self.balance))?;
            }
            Key::Quit => {}
        }
        Ok(())
    }

    /// Has another algorithm choose from now on.
    fn switch_to(&mut self, balance: Balance) -> Result<()> {
        self.end_chapter();
        self.balance = balance;
        let next = plan::plan(self.listen, &self.servers.addresses(), balance)?;
        self.engine.apply(next).map_err(|error| anyhow!(apply_reason(&error)))?;
        self.model.balance = balance;
        self.model
            .note(format!("reloaded with {balance}: no connection was closed"));
        Ok(())
    }

    fn end_chapter(&mut self) {
        let totals = self.statistics.end_chapter();
        // Whoever looks for an algorithm with the key passes by others.
        if totals.requests() > 0 && self.chapters.len() < MAX_CHAPTERS {
            self.chapters.push(Chapter {
                balance: self.balance,
                totals,
            });
        }
    }
}

/// Returns when a signal asks to stop. On a terminal in raw mode Ctrl-C is a key instead.
async fn stop_signal() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("failed to take over SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to take over SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
