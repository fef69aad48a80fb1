//! `isobar check`: is a configuration valid, and what does it come to?

use std::io;
use std::path::Path;

use anyhow::Result;
use isobar_config::{Diagnostics, Loaded, Severity, Source};
use isobar_control::{LoadError, read, read_from};
use isobar_plan::Plan;

use super::print;
use crate::arguments::CheckOptions;
use crate::{files, logging};

/// Checks a configuration file.
///
/// *Errors*: it cannot be read, or it is not valid, to which the files that it names belong; then every error is in the failure,
/// or printed as JSON.
pub(crate) fn check(options: &CheckOptions) -> Result<()> {
    let source = open(&options.file)?;
    match isobar_config::load_with(&source, files::look) {
        Ok(loaded) => report(options, &source, &loaded),
        Err(problems) => {
            if options.json {
                print_json(&problems)?;
            }
            let rendered = if options.json {
                String::new()
            } else {
                render(&problems, &source)
            };
            Err(LoadError::Invalid {
                count: problems.count(Severity::Error),
                name: source.name,
                rendered,
            }
            .into())
        }
    }
}

/// Reads what a person named: a file, or `-` for the standard input.
pub(crate) fn open(file: &Path) -> Result<Source> {
    if file == Path::new("-") {
        let name = "standard input".to_owned();
        return Ok(Source {
            text: read_from(io::stdin().lock(), Path::new(&name))?,
            name,
        });
    }
    Ok(Source {
        name: file.display().to_string(),
        text: read(file)?,
    })
}

fn report(options: &CheckOptions, source: &Source, loaded: &Loaded) -> Result<()> {
    if options.json {
        return print_json(&loaded.warnings);
    }
    if !loaded.warnings.is_empty() {
        let _ = io::Write::write_all(&mut io::stderr(), render(&loaded.warnings, source).as_bytes());
    }
    if options.effective {
        return print(&isobar_config::effective(&loaded.document));
    }
    print(&format!("{}: valid: {}\n", source.name, summary(&loaded.plan)))
}

fn render(problems: &Diagnostics, source: &Source) -> String {
    let text = problems.render(source, logging::diagnostics_color(&io::stderr()));
    format!("{}\n", text.trim_end())
}

fn print_json(problems: &Diagnostics) -> Result<()> {
    print(&format!("{:#}\n", problems.to_json()))
}

fn summary(plan: &Plan) -> String {
    let counted = |count: usize, noun: &str| match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    };
    let http = plan.listeners.iter();
    let http = http.map(|listener| listener.passthrough.len() + listener.routes.len());
    let tcp = plan.tcp.iter().map(|listener| listener.routes.len());
    let forward = plan.forward.iter().map(|listener| listener.rules.rules.len());
    let routes = http.chain(tcp).chain(forward).sum::<usize>() + plan.udp.len();
    let servers = plan.upstreams.iter().map(|upstream| upstream.servers.len()).sum();
    [
        counted(plan.endpoints().count(), "listener"),
        counted(routes, "route"),
        counted(plan.upstreams.len(), "upstream"),
        counted(servers, "server"),
    ]
    .join(", ")
}
