//! How do the algorithms cope with one server that is slow and one that fails, on real sockets?
//!
//! Three servers that are equal but for their mood, and for each algorithm a load balancer that has seen nothing yet.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use isobar_balance::Balance;
use isobar_engine::{Engine, EngineOptions, Io};
use serde_json::json;

use super::chapter::{self, Chapter};
use super::screen::Plain;
use super::servers::{SLOWER, Servers};
use super::statistics::Statistics;
use super::{DRAIN, WORKERS, plan, visitors};
use crate::arguments::DemoOptions;
use crate::failure::apply_reason;
use crate::logging;
use crate::picture::{Line, Tone, text};

/// How long a well server takes on average.
const PAUSE: Duration = Duration::from_millis(20);
/// What the servers are called here: the first is well, and so on.
const MOODS: [&str; 3] = ["well", "slow", "failing"];
const SLOW: usize = 1;
const FAILING: usize = 2;
/// How long an algorithm may learn before anything is counted.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long is counted where nothing else is said.
const COUNTED: Duration = Duration::from_secs(5);

/// Tries the algorithms one after the other, and shows each as soon as it is done.
pub(super) async fn compare(options: &DemoOptions, balances: &[Balance]) -> Result<()> {
    let free = ([127, 0, 0, 1], 0).into();
    let servers = Servers::start([free; 3], [PAUSE; 3]).context("failed to start the servers")?;
    servers.toggle_slow(SLOW);
    servers.toggle_failing(FAILING);
    let counted = options.duration.map_or(COUNTED, |duration| duration.duration());
    let mut output = Plain::new();
    if !options.json {
        output.line(&colored(&[explanation(), Line::new(), chapter::head(MOODS)]))?;
    }
    let mut chapters = Vec::with_capacity(balances.len());
    for &balance in balances {
        let chapter = try_out(options, &servers, balance, counted).await?;
        if !options.json {
            output.line(&colored(&[chapter.row()]))?;
        }
        chapters.push(chapter);
    }
    if options.json {
        let all: Vec<_> = chapters.iter().map(as_json).collect();
        output.line(&serde_json::to_string_pretty(&all).context("failed to write JSON")?)?;
    }
    Ok(())
}

fn explanation() -> Line {
    let text = format!(
        " Three servers of about {} ms, of which one is {SLOWER} times slower and one fails at once; shares, latency, failures",
        PAUSE.as_millis()
    );
    vec![(Tone::Plain, text)]
}

fn colored(lines: &[Line]) -> String {
    let text = text(lines, logging::use_colors(&std::io::stdout()));
    text.trim_end_matches('\n').to_owned()
}

/// What visitors see of one algorithm.
async fn try_out(options: &DemoOptions, servers: &Servers, balance: Balance, counted: Duration) -> Result<Chapter> {
    let listen = plan::free_address(options.listen.0)?;
    let parts = EngineOptions {
        workers: WORKERS,
        io: Io::Epoll,
    };
    let plan = plan::plan(listen, &servers.addresses(), balance)?;
    let engine = Engine::start(plan, parts, Box::new(|_| {})).map_err(|error| anyhow!(apply_reason(&error)))?;
    let statistics = Arc::new(Statistics::default());
    let visitors = visitors::start(listen, &statistics);
    tokio::time::sleep(WARM_UP).await;
    statistics.end_chapter();
    tokio::time::sleep(counted).await;
    let totals = statistics.end_chapter();
    drop(visitors);
    tokio::task::spawn_blocking(move || engine.drain(DRAIN))
        .await
        .context("failed to drain")?;
    Ok(Chapter { balance, totals })
}

fn as_json(chapter: &Chapter) -> serde_json::Value {
    let Chapter { balance, totals } = chapter;
    let milliseconds = |percent| totals.percentile(percent).map(|latency| latency.as_secs_f64() * 1e3);
    let [well, slow, failing] = totals.shares();
    json!({
        "balance": balance.name(),
        "shares": { MOODS[0]: well, MOODS[1]: slow, MOODS[2]: failing },
        "p50_ms": milliseconds(50),
        "p99_ms": milliseconds(99),
        "failed": totals.failed(),
        "requests": totals.requests(),
    })
}
