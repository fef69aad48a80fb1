//! `isobar proxy`: serves one address from a few servers, without a file.

use anyhow::{Result, anyhow};
use isobar_plan::{AccessLog, Admin, LogDestination, LogFormat, Plan};

use crate::arguments::{AccessLogFormat, ProxyOptions};
use crate::logging;
use crate::serve::{Origin, Service, serve};

/// Lines of the access log that wait for the writer at most.
const ACCESS_LOG_QUEUE: u32 = 65_536;

/// Serves what the arguments say until a signal asks to stop.
pub(crate) fn proxy(options: &ProxyOptions) -> Result<()> {
    logging::start();
    let mut plan = plan(options)?;
    plan.admin = options.admin.map(|address| Admin { address: address.0 });
    plan.access_log = options.access_log.map(access_log);
    serve(Service {
        plan,
        origin: Origin::Arguments,
        workers: options.workers.options()?,
    })
}

fn plan(options: &ProxyOptions) -> Result<Plan> {
    let document = isobar_config::quick(options.listen.0, &options.to, options.balance);
    isobar_config::compile(document)
        .map(|loaded| loaded.plan)
        .map_err(|problems| {
            let problems: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
            anyhow!("the arguments do not fit together: {}", problems.join("; "))
        })
}

fn access_log(format: AccessLogFormat) -> AccessLog {
    let format = match format {
        AccessLogFormat::Json => LogFormat::Json,
        AccessLogFormat::Combined => LogFormat::Combined,
    };
    AccessLog {
        destination: LogDestination::Stdout,
        format,
        queue: ACCESS_LOG_QUEUE,
    }
}
