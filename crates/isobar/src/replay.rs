//! `isobar replay`: what would this configuration have made of recorded traffic?
//!
//! Reads the logs once, and for suggestions a second time, and shows what came of it as text, as JSON, as a page with plots.

mod json;
mod page;
mod progress;
mod terminal;
mod words;

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use isobar_balance::Balance;
use isobar_config::{Loaded, Severity};
use isobar_control::LoadError;
use isobar_observe::recorded::{Keys, LineFormat, Pattern};
use isobar_plan::{LogFormat, Plan};
use isobar_replay::{
    Defaults, Enforce, FormatChoice, LimitReport, MeasureSettings, Measured, Reading, Replay, ReplaySettings, Report,
    Source, Stamp, Suggestion, Traffic, TrafficSettings, part_of, proposals,
};

use crate::arguments::{ReplayOptions, Times};
use crate::commands::{open, print};
use crate::{files, logging, picture};
use progress::Progress;

/// Requests between two looks at the clock.
const REQUESTS_PER_LOOK: u64 = 10_000;

/// More was refused than may be.
#[derive(Debug)]
pub(crate) struct Exceeded {
    refused: f64,
    allowed: f64,
}

impl Exceeded {
    /// The exit code that says so.
    pub(crate) const CODE: u8 = 3;
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { refused, allowed } = self;
        write!(
            f,
            "{:.3} % of the requests were refused, more than the {} % of --fail-above",
            refused * 100.0,
            (allowed * 1e8).round() / 1e6
        )
    }
}

impl std::error::Error for Exceeded {}

/// A replay, and what came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What the configuration is called; none: there is none.
    name: Option<String>,
    report: Report,
    reading: Reading,
    measured: Vec<Measured>,
    suggestions: Vec<Suggestion>,
    /// What came of each suggestion by itself.
    tried: Vec<LimitReport>,
}

/// Replays logs.
///
/// *Errors*: one cannot be read, or nothing of them; the configuration is not valid; the page cannot be written; or more was refused
/// than may be.
pub(crate) fn run(options: &ReplayOptions) -> Result<()> {
    let (name, plan) = match &options.config {
        Some(file) => {
            let (name, plan) = load(file)?;
            (Some(name), plan)
        }
        None => (None, everything()?),
    };
    let traffic = traffic(options, &plan)?;
    let outcome = replay(options, name, plan, &traffic)?;
    if let Some(file) = &options.html {
        fs::write(file, page::page(&outcome)).with_context(|| format!("failed to write {}", file.display()))?;
    }
    if options.json {
        print(&format!("{:#}\n", json::outcome(&outcome)))?;
    } else {
        let lines = terminal::lines(&outcome, options.html.as_deref());
        print(&picture::text(&lines, logging::use_colors(&io::stdout())))?;
        if options.suggest {
            print(&format!("\n{}", suggested(&outcome)))?;
        }
    }
    let refused = outcome.report.refused as f64 / outcome.report.requests.max(1) as f64;
    match options.fail_above {
        Some(allowed) if refused > allowed => Err(Exceeded { refused, allowed }.into()),
        _ => Ok(()),
    }
}

/// The suggestions as a part of a configuration.
fn suggested(outcome: &Outcome) -> String {
    isobar_replay::yaml(&outcome.suggestions, &outcome.tried, outcome.report.requests)
}

/// Reads a configuration; warnings go to the standard error.
fn load(file: &Path) -> Result<(String, Plan)> {
    let source = open(file)?;
    let color = logging::diagnostics_color(&io::stderr());
    match isobar_config::load_with(&source, files::look_at_rates) {
        Ok(Loaded { mut plan, warnings, .. }) => {
            if !warnings.is_empty() {
                let text = warnings.render(&source, color);
                // When the standard error is gone nobody wants to be warned.
                let _ = writeln!(io::stderr(), "{}", text.trim_end());
            }
            files::fill_in_rates(&mut plan).map_err(|why| anyhow!(why))?;
            Ok((source.name, plan))
        }
        Err(problems) => Err(LoadError::Invalid {
            count: problems.count(Severity::Error),
            rendered: format!("{}\n", problems.render(&source, color).trim_end()),
            name: source.name,
        }
        .into()),
    }
}

/// A plan that takes every request, and limits none.
fn everything() -> Result<Plan> {
    let target = "127.0.0.1:1".parse().map_err(|why| anyhow!("{why}"))?;
    let document = isobar_config::quick(([127, 0, 0, 1], 0).into(), &[target], Balance::RoundRobin);
    let loaded = isobar_config::compile(document);
    Ok(loaded
        .map_err(|_| anyhow!("failed to make a plan that takes every request"))?
        .plan)
}

fn traffic(options: &ReplayOptions, plan: &Plan) -> Result<TrafficSettings> {
    let source = |path: &std::path::PathBuf| match path.to_str() {
        Some("-") => Source::Stdin,
        _ => Source::File(path.clone()),
    };
    let sources: Vec<Source> = options.logs.iter().map(source).collect();
    let from_stdin = sources.iter().filter(|source| **source == Source::Stdin).count();
    if options.suggest && from_stdin > 0 {
        bail!("failed to read the standard input twice, as --suggest does; write it to a file first");
    }
    if from_stdin > 1 || from_stdin == 1 && options.config.as_deref() == Some(Path::new("-")) {
        bail!("the standard input can be read once");
    }
    let boxed = |text: &Option<String>| text.as_deref().map(Box::from);
    Ok(TrafficSettings {
        sources,
        format: format(options, plan)?,
        defaults: Defaults {
            host: boxed(&options.host),
            tls_name: boxed(&options.tls_name),
            zone: options.zone,
            stamp: match options.times {
                Times::End => Stamp::End,
                Times::Start => Stamp::Start,
            },
        },
    })
}

/// What was said about the format; a template of the configuration's own access log is one to try.
fn format(options: &ReplayOptions, plan: &Plan) -> Result<FormatChoice> {
    let template = |text: &str| match Pattern::compile(text) {
        Ok(pattern) => Ok(LineFormat::Pattern(pattern)),
        Err(why) => Err(anyhow!("failed to read logs by the template `{text}`: {why}")),
    };
    if !options.fields.is_empty() {
        let keys = Keys::mapped(options.fields.iter().map(String::as_str));
        let keys = keys.map_err(|why| anyhow!("failed to understand --fields: {why}"))?;
        return Ok(FormatChoice::Given(LineFormat::Json(keys)));
    }
    Ok(match options.format.as_deref() {
        Some("json") => FormatChoice::Given(LineFormat::Json(Keys::isobar())),
        Some("combined") => FormatChoice::Given(LineFormat::Pattern(Pattern::combined())),
        Some("common") => FormatChoice::Given(LineFormat::Pattern(Pattern::common())),
        Some("vhost_combined") => FormatChoice::Given(LineFormat::Pattern(Pattern::vhost_combined())),
        Some(text) if text.contains('{') => FormatChoice::Given(template(text)?),
        Some(other) => bail!(
            "unknown format `{other}`; there are json, combined, common, vhost_combined, and templates such as `{{client}} {{time}} \
             {{method}} {{target}}`"
        ),
        None => {
            let own = plan.access_log.as_ref().map(|log| &log.format);
            let own = match own {
                Some(LogFormat::Template(text)) => template(text).ok(),
                _ => None,
            };
            FormatChoice::Detect(own.into_iter().collect())
        }
    })
}

fn replay(options: &ReplayOptions, name: Option<String>, plan: Plan, traffic: &TrafficSettings) -> Result<Outcome> {
    let mut progress = Progress::new(if options.suggest { 2 } else { 1 });
    let settings = ReplaySettings {
        listener: options.listener.as_deref().map(Box::from),
        defaults: traffic.defaults.clone(),
        enforce: if options.enforce {
            Enforce::All
        } else {
            Enforce::AsWritten
        },
        measure: options.suggest.then(|| measure(options)),
        alone: Vec::new(),
    };
    let (report, reading) = pass(plan.clone(), settings.clone(), traffic, &mut progress)?;
    let measured = report.measured.clone();
    let suggestions = proposals(&measured, options.headroom);
    let mut tried = Vec::new();
    if options.suggest {
        let mut unlimited = plan;
        for listener in &mut unlimited.listeners {
            let mut routes = listener.routes.to_vec();
            routes.iter_mut().for_each(|route| route.limits.clear());
            listener.routes = routes.into();
        }
        let settings = ReplaySettings {
            measure: None,
            alone: suggestions.iter().map(|suggestion| suggestion.limit.clone()).collect(),
            ..settings
        };
        tried = pass(unlimited, settings, traffic, &mut progress)?.0.alone;
    }
    progress.clear();
    Ok(Outcome {
        name,
        report,
        reading,
        measured,
        suggestions,
        tried,
    })
}

fn measure(options: &ReplayOptions) -> MeasureSettings {
    let mut by: Vec<_> = options.by.iter().map(|key| key.0.clone()).collect();
    if by.is_empty() {
        let client: Vec<_> = part_of("client_ip").into_iter().collect();
        let with_path = client.iter().cloned().chain(part_of("path")).collect();
        by = vec![client, with_path];
    }
    let mut percentiles: Vec<f64> = options.percentiles.iter().map(|percent| percent / 100.0).collect();
    percentiles.sort_by(f64::total_cmp);
    MeasureSettings { by, percentiles }
}

/// Reads the logs once.
fn pass(
    plan: Plan,
    settings: ReplaySettings,
    traffic: &TrafficSettings,
    progress: &mut Progress,
) -> Result<(Report, Reading)> {
    let mut replay = Replay::new(plan, settings)?;
    let mut traffic = Traffic::open(traffic)?;
    let mut count = 0;
    while let Some(request) = traffic.next_request()? {
        replay.take(&request)?;
        traffic.recycle(request);
        count += 1;
        if count % REQUESTS_PER_LOOK == 0 {
            progress.show(count, traffic.progress());
        }
    }
    progress.next();
    let reading = traffic.reading().clone();
    if reading.lines > 0 && reading.unreadable == reading.lines {
        progress.clear();
        let shown: Vec<String> = reading.shown.iter().map(words::unreadable).collect();
        bail!(
            "none of the {} lines could be read:\n{}",
            reading.lines,
            shown.join("\n")
        );
    }
    Ok((replay.finish(), reading))
}
