//! A new configuration: is it taken into service?
//!
//! Text becomes a plan, names get their first second, the target takes the plan or nothing changes. A refusal is
//! logged with every error; the plan that runs, and its names, stay.

mod changes;
mod history;

pub use history::{History, Past, Refusal};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use isobar_config::{Color, Look, Severity, Source};
use isobar_plan::{Plan, PlanDiff};

use crate::source::{self, ReadError};
use crate::{Resolver, Target};

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// What it asks for.
    pub plan: Plan,
    /// What is odd about it, rendered for people; empty: nothing.
    pub warnings: String,
}

/// How a configuration is read.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Looks whether the files that it names can be used.
    pub look: Look,
    /// Whether errors have colours.
    pub color: Color,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its text cannot be had.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its text is not a valid configuration.
    #[error("{name} has {}", counted(*count, "error"))]
    Invalid {
        /// What it is called.
        name: String,
        /// How many errors it has.
        count: usize,
        /// Every error with its place, rendered for people.
        rendered: String,
    },
}

/// Makes a configuration of text; `name` is what errors call it.
///
/// *Errors*: [`LoadError::Invalid`].
pub fn load(name: &str, text: String, Reading { look, color }: Reading) -> Result<Configuration, LoadError> {
    let source = Source {
        name: name.to_owned(),
        text,
    };
    match isobar_config::load_with(&source, look) {
        Ok(loaded) => Ok(Configuration {
            plan: loaded.plan,
            warnings: loaded.warnings.render(&source, color),
        }),
        Err(problems) => Err(LoadError::Invalid {
            name: source.name.clone(),
            count: problems.count(Severity::Error),
            rendered: problems.render(&source, color),
        }),
    }
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

/// How an attempt at a new configuration ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// It is in service.
    Applied(PlanDiff),
    /// It is not, and nothing has changed.
    Refused,
    /// It is the one that was tried last.
    Unchanged,
}

/// Brings the text of one file into service, as often as asked.
pub struct Reloader {
    path: PathBuf,
    reading: Reading,
    resolver: Resolver,
    target: Arc<dyn Target>,
    history: Arc<History>,
    running: Plan,
    // What was tried last, applied or refused: the same again needs no answer.
    tried: Result<String, String>,
}

/// What a reloader takes over from the start of the process.
pub struct Running {
    /// The file.
    pub path: PathBuf,
    /// The text that is in service.
    pub text: String,
    /// The plan it stands for.
    pub plan: Plan,
    /// What keeps the addresses of its names true, settled on the plan.
    pub resolver: Resolver,
    /// What it is in service on.
    pub target: Arc<dyn Target>,
    /// Where attempts are remembered.
    pub history: Arc<History>,
    /// How it is read.
    pub reading: Reading,
}

impl Reloader {
    /// Takes over.
    #[must_use]
    pub fn new(running: Running) -> Self {
        let Running {
            path,
            text,
            plan,
            resolver,
            target,
            history,
            reading,
        } = running;
        Self {
            path,
            reading,
            resolver,
            target,
            history,
            running: plan,
            tried: Ok(text),
        }
    }

    /// How long the plan that runs gives connections to finish.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        self.running.drain_timeout
    }

    /// The files that the plan that runs names, and that are read with it.
    pub(crate) fn named_files(&self) -> impl Iterator<Item = &str> {
        let secured = self
            .running
            .listeners
            .iter()
            .filter_map(|listener| listener.tls.as_ref());
        let to_servers = self.running.upstreams.iter();
        let to_servers = to_servers.filter_map(|upstream| upstream.tls.as_ref());
        let of_listeners = secured.flat_map(isobar_plan::ListenerTls::files);
        let overrides = self.running.limits.iter();
        let overrides = overrides.filter_map(|limit| limit.overrides_file.as_deref());
        let weights = self.running.upstreams.iter();
        let weights = weights.filter_map(|upstream| upstream.fair_share.as_ref()?.weights_file.as_deref());
        of_listeners
            .chain(to_servers.flat_map(isobar_plan::UpstreamTls::files))
            .chain(overrides)
            .chain(weights)
    }

    /// Reads the file and applies what it says, also when it says what it said before.
    pub async fn reload(&mut self) -> Disposition {
        let text = self.read().await;
        self.attempt(text).await
    }

    /// Reads the file and applies what it says, unless it says what it said at the last attempt.
    pub async fn reload_if_changed(&mut self) -> Disposition {
        let text = self.read().await;
        let same = match (&text, &self.tried) {
            (Ok(now), Ok(before)) => now == before,
            (Err(now), Err(before)) => now.to_string() == *before,
            _ => false,
        };
        if same {
            Disposition::Unchanged
        } else {
            self.attempt(text).await
        }
    }

    async fn read(&self) -> Result<String, ReadError> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || source::read(&path))
            .await
            .unwrap_or_else(|error| {
                Err(ReadError::Io {
                    path: self.path.clone(),
                    error: std::io::Error::other(error),
                })
            })
    }

    async fn attempt(&mut self, text: Result<String, ReadError>) -> Disposition {
        self.tried = text.as_ref().map(String::clone).map_err(ToString::to_string);
        let name = self.path.display().to_string();
        let loaded = text
            .map_err(LoadError::from)
            .and_then(|text| load(&name, text, self.reading));
        let configuration = match loaded {
            Ok(configuration) => configuration,
            Err(error) => return self.refuse(&error.to_string(), rendered(&error)),
        };
        if !configuration.warnings.is_empty() {
            tracing::warn!("{name} is valid, but:\n{}", configuration.warnings.trim_end());
        }
        for known in self.resolver.prepare(&configuration.plan).await {
            self.target.resolved(&known.name, known.port, known.outcome);
        }
        match self.apply(configuration.plan.clone()).await {
            Ok(diff) => {
                self.running = configuration.plan;
                self.resolver.settle(&self.running, Arc::clone(&self.target)).await;
                let generation = self.history.applied(SystemTime::now());
                tracing::info!(
                    "configuration applied: generation {generation}, {}",
                    changes::describe(&diff)
                );
                Disposition::Applied(diff)
            }
            Err(error) => {
                self.resolver.settle(&self.running, Arc::clone(&self.target)).await;
                self.refuse(&error, "")
            }
        }
    }

    async fn apply(&self, plan: Plan) -> Result<PlanDiff, String> {
        let target = Arc::clone(&self.target);
        tokio::task::spawn_blocking(move || target.apply(plan))
            .await
            .unwrap_or_else(|error| Err(error.to_string()))
    }

    fn refuse(&self, error: &str, details: &str) -> Disposition {
        let generation = self.history.refused(SystemTime::now(), error);
        let details = details.trim_end();
        let line_break = if details.is_empty() { "" } else { "\n" };
        tracing::error!(
            "configuration refused: {error}; generation {generation} stays in service{line_break}{details}"
        );
        Disposition::Refused
    }
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

fn rendered(error: &LoadError) -> &str {
    match error {
        LoadError::Read(_) => "",
        LoadError::Invalid { rendered, .. } => rendered,
    }
}
