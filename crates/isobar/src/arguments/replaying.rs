//! What can be asked of a replay?

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use isobar_observe::recorded::Zone;
use isobar_plan::LimitKey;

const REPLAY: &str = "\
Examples:
  isobar replay access.log --config new.yaml
  isobar replay access.log.1.gz access.log --config new.yaml --html report.html
  isobar replay - --config new.yaml --json
  isobar replay access.log --config new.yaml --enforce --fail-above 1%
  isobar replay access.log --suggest
  isobar replay access.log --suggest --by client_ip --by client_ip,path --percentiles 99,99.9
  isobar replay caddy.log --config new.yaml --fields client=request.remote_ip,time=ts,target=uri
  isobar replay app.log --config new.yaml --format '{client} {time} \"{request}\" {header:x-user}'

Formats: json (Isobar's own), combined, common, vhost_combined, or a template as `access_log.format`
has it, in which {header:NAME}, {cookie:NAME}, {duration_s} and {-} (ignored) may stand too. Files
may be compressed with gzip. Nothing is sent anywhere, and nothing is written but the page.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 more was refused than --fail-above says.";

/// Which traffic is run through which configuration.
#[derive(Debug, Clone, Args)]
#[command(after_help = REPLAY)]
pub(crate) struct ReplayOptions {
    /// The access logs, merged by time; `-` is the standard input
    #[arg(value_name = "LOG", required = true)]
    pub(crate) logs: Vec<PathBuf>,
    /// The configuration whose routes and limits are tried; with --suggest it may be left out
    #[arg(long, value_name = "FILE", required_unless_present = "suggest")]
    pub(crate) config: Option<PathBuf>,
    /// The format of the logs: a name or a template; without it, it is found out file by file
    #[arg(long, value_name = "FORMAT", conflicts_with = "fields")]
    pub(crate) format: Option<String>,
    /// Of logs in JSON the keys that stand for fields, as FIELD=KEY; a key within another is `outer.inner`
    #[arg(long, value_name = "FIELD=KEY,…", value_delimiter = ',')]
    pub(crate) fields: Vec<String>,
    /// The listener that requests came to where the log does not say it; without it, the only one
    #[arg(long, value_name = "NAME")]
    pub(crate) listener: Option<String>,
    /// The host of requests where the log does not say it
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// The name asked for in TLS handshakes where the log does not say it
    #[arg(long, value_name = "NAME")]
    pub(crate) tls_name: Option<String>,
    /// The zone of times that say none, as +02:00
    #[arg(long, value_name = "OFFSET", default_value = "Z", allow_hyphen_values = true, value_parser = zone)]
    pub(crate) zone: Zone,
    /// What the time of a line is, where it also says how long the request took
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = Times::End)]
    pub(crate) times: Times,
    /// Let all limits refuse, whatever the configuration says with mode, enforce, expires and disarm_above
    #[arg(long)]
    pub(crate) enforce: bool,
    /// Propose limits, and say what each would have refused
    #[arg(long)]
    pub(crate) suggest: bool,
    /// What proposed limits tell requests apart by, parts of a key with commas between; may be given several times
    /// [default: client_ip, and client_ip,path]
    #[arg(long, value_name = "PART,…", requires = "suggest", value_parser = key)]
    pub(crate) by: Vec<Key>,
    /// The percentages of keys that a proposed limit lets have all they asked for
    #[arg(long, value_name = "P,…", value_delimiter = ',', requires = "suggest", default_values_t = [99.0, 99.9],
          value_parser = percentile)]
    pub(crate) percentiles: Vec<f64>,
    /// How many times as much a proposed limit allows
    #[arg(long, value_name = "FACTOR", requires = "suggest", default_value_t = 1.5, value_parser = headroom)]
    pub(crate) headroom: f64,
    /// Exit with 3 if more than this part of the requests is refused, for use in CI
    #[arg(long, value_name = "PERCENT", value_parser = share)]
    pub(crate) fail_above: Option<f64>,
    /// Write a page with plots, which needs nothing from elsewhere, to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Print everything as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The parts of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) Vec<LimitKey>);

/// What the time of a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Times {
    /// When the request ended, as Isobar and nginx write it
    End,
    /// When it came, as Apache writes it
    Start,
}

fn zone(text: &str) -> Result<Zone, String> {
    let expected = || "expected an offset from UTC such as `+02:00` or `-0700`".to_owned();
    Zone::read(text.as_bytes()).ok_or_else(expected)
}

fn key(text: &str) -> Result<Key, String> {
    let part = |name: &str| {
        isobar_replay::part_of(name.trim()).ok_or_else(|| {
            format!(
                "`{name}` is no part of a key; there are client_ip, host, path, method, route, tls_name, header:NAME, \
                 cookie:NAME and query:NAME"
            )
        })
    };
    text.split(',').map(part).collect::<Result<_, _>>().map(Key)
}

fn percentile(text: &str) -> Result<f64, String> {
    let number = text.trim().parse::<f64>().ok();
    let number = number.filter(|number| (50.0..=100.0).contains(number));
    number.ok_or_else(|| "expected a percentage from 50 to 100, such as `99.9`".to_owned())
}

fn headroom(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok();
    let number = number.filter(|number| (1.0..=100.0).contains(number));
    number.ok_or_else(|| "expected a factor from 1 to 100".to_owned())
}

/// A percentage, as a part.
fn share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|text| text.trim().parse::<f64>().ok());
    let number = number.filter(|number| (0.0..=100.0).contains(number));
    let part = number.map(|number| number / 100.0);
    part.ok_or_else(|| "expected a percentage from `0%` to `100%`, such as `1%`".to_owned())
}
