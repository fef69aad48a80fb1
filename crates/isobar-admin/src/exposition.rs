//! How are metrics written for a scraper?
//!
//! `prometheus-client` writes OpenMetrics. The older Prometheus text format differs in what a scraper looks at only in
//! the names: there the type of a counter is declared with its `_total`, and units and infos are unknown. So for it a
//! counter is declared under its full name and written as a plain value.

use std::fmt;

use isobar_observe::catalogue::{
    self, Kind, LIMIT_METRICS, LISTENER_METRICS, Measured, Metric, PRIORITY_METRICS, ROUTE_METRICS, Reading,
    SERVER_METRICS, UPSTREAM_METRICS, WORKER_METRICS,
};
use isobar_observe::{HistogramTotals, Series, Snapshot};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::negotiation::Format;
use crate::state::{Number, READERS, State};

/// Writes all metrics.
///
/// *Errors*: none that can happen; writing to a string does not fail.
pub(crate) fn render(snapshot: Snapshot, state: State, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Everything {
        snapshot,
        state,
        format,
    }));
    let mut page = String::new();
    text::encode_registry(&mut page, &registry)?;
    if format == Format::OpenMetrics {
        text::encode_eof(&mut page)?;
    }
    Ok(page)
}

#[derive(Debug)]
struct Everything {
    snapshot: Snapshot,
    state: State,
    format: Format,
}

impl Collector for Everything {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page {
            encoder,
            format: self.format,
        };
        page.counted(LISTENER_METRICS, &self.snapshot.listeners)?;
        page.counted(ROUTE_METRICS, &self.snapshot.routes)?;
        page.counted(UPSTREAM_METRICS, &self.snapshot.upstreams)?;
        page.counted(PRIORITY_METRICS, &self.snapshot.priorities)?;
        page.counted(LIMIT_METRICS, &self.snapshot.limits)?;
        page.counted(SERVER_METRICS, &self.snapshot.servers)?;
        page.counted(WORKER_METRICS, &self.snapshot.workers)?;
        READERS
            .iter()
            .try_for_each(|(metric, read)| page.state(metric, read(&self.state)))
    }
}

struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
    format: Format,
}

impl Page<'_> {
    /// Writes each metric of a kind of object for all objects of the kind.
    fn counted<T, const LABELS: usize>(
        &mut self,
        metrics: &[Measured<T>],
        series: &[Series<T, LABELS>],
    ) -> fmt::Result {
        for Measured { metric, read } in metrics.iter().filter(|_| !series.is_empty()) {
            let mut family = self.family(metric)?;
            for Series { labels, totals } in series {
                let labels: Vec<&str> = labels.iter().map(|label| &**label).collect();
                match read(totals) {
                    Reading::Count(count) => family.number(&labels, Number::Whole(count))?,
                    Reading::Histogram(totals) => family.histogram(&labels, totals)?,
                    Reading::Split(parts) => {
                        for (part, count) in parts {
                            family.number(&[&labels[..], &[part]].concat(), Number::Whole(count))?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes a metric of the present state.
    fn state(&mut self, metric: &Metric, samples: Vec<crate::state::Sample<'_>>) -> fmt::Result {
        if samples.is_empty() {
            return Ok(());
        }
        let mut family = self.family(metric)?;
        samples
            .iter()
            .try_for_each(|sample| family.number(&sample.labels, sample.value))
    }

    /// Writes the lines that declare a metric.
    fn family<'s>(&'s mut self, metric: &'s Metric) -> Result<Family<'s>, fmt::Error> {
        static SECONDS: Unit = Unit::Seconds;
        static BYTES: Unit = Unit::Bytes;
        let unit = metric.unit().map(|unit| match unit {
            catalogue::Unit::Seconds => &SECONDS,
            catalogue::Unit::Bytes => &BYTES,
        });
        let (name, unit) = match (self.format, unit) {
            (Format::Prometheus, _) => (metric.name, None),
            (Format::OpenMetrics, None) => (metric.family(), None),
            // The encoder puts the unit back.
            (Format::OpenMetrics, Some(unit)) => (
                metric.family().trim_end_matches(unit.as_str()).trim_end_matches('_'),
                Some(unit),
            ),
        };
        let kind = match (metric.kind, self.format) {
            (Kind::Counter, _) => MetricType::Counter,
            (Kind::Gauge, _) | (Kind::Info, Format::Prometheus) => MetricType::Gauge,
            (Kind::Info, Format::OpenMetrics) => MetricType::Info,
            (Kind::Histogram, _) => MetricType::Histogram,
        };
        let encoder = self.encoder.encode_descriptor(name, metric.help, unit, kind)?;
        Ok(Family {
            encoder,
            metric,
            format: self.format,
        })
    }
}

struct Family<'a> {
    encoder: MetricEncoder<'a>,
    metric: &'a Metric,
    format: Format,
}

impl Family<'_> {
    fn number(&mut self, values: &[&str], number: Number) -> fmt::Result {
        let (metric, format) = (self.metric, self.format);
        let labels = named(metric, values);
        if metric.kind == Kind::Info && format == Format::OpenMetrics {
            return self.encoder.encode_info(&labels);
        }
        self.with_labels(&labels, |encoder| match (metric.kind, format, number) {
            (Kind::Counter, Format::OpenMetrics, Number::Whole(count)) => {
                encoder.encode_counter::<NoLabelSet, _, f64>(&count, None)
            }
            (Kind::Counter, Format::OpenMetrics, Number::Real(count)) => {
                encoder.encode_counter::<NoLabelSet, _, f64>(&count, None)
            }
            (_, _, Number::Whole(value)) => encoder.encode_gauge(&value),
            (_, _, Number::Real(value)) => encoder.encode_gauge(&value),
        })
    }

    fn histogram(&mut self, values: &[&str], totals: &HistogramTotals) -> fmt::Result {
        let buckets: Vec<(f64, u64)> = totals.bounded().collect();
        self.with_labels(&named(self.metric, values), |encoder| {
            encoder.encode_histogram::<NoLabelSet>(totals.sum.as_secs_f64(), totals.count(), &buckets, None)
        })
    }

    /// Writes one sample; without labels there are no braces either.
    fn with_labels(
        &mut self,
        labels: &Vec<(&str, &str)>,
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        if labels.is_empty() {
            write(&mut self.encoder)
        } else {
            write(&mut self.encoder.encode_family(labels)?)
        }
    }
}

/// Puts the names of a metric's labels to their values.
fn named<'a>(metric: &Metric, values: &[&'a str]) -> Vec<(&'static str, &'a str)> {
    let names = metric.labels.iter().chain(&metric.split);
    debug_assert_eq!(names.clone().count(), values.len(), "labels of {}", metric.name);
    names.copied().zip(values.iter().copied()).collect()
}
