//! `isobar proxy`: serves one address from a few servers, without a file.

use std::net::IpAddr;

use anyhow::{Result, anyhow};
use isobar_plan::{
    AccessLog, Admin, ListenerTls, LogDestination, LogFormat, Plan, TicketKeys, TlsVersion, UnknownName,
};

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
    if options.tls {
        for listener in &mut plan.listeners {
            listener.tls = Some(development(listener.address.ip()));
        }
    }
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

/// A certificate that is made up, for the names a developer's browser uses.
fn development(address: IpAddr) -> ListenerTls {
    let mut names: Vec<Box<str>> = ["localhost", "127.0.0.1", "::1"].map(Box::from).into();
    let own = address.to_string().into_boxed_str();
    if !address.is_unspecified() && !names.contains(&own) {
        names.push(own);
    }
    ListenerTls {
        certificates: Vec::new(),
        self_signed: names,
        unknown_name: UnknownName::Default,
        oldest: TlsVersion::Tls12,
        tickets: TicketKeys::Own,
        clients: None,
        hsts: None,
    }
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
