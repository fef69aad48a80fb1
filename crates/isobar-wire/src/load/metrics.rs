//! Which metrics of a report are wanted, and what may they be?

use core::time::Duration;

use super::{IN_FLIGHT_METRIC, LATENCY_METRIC, LoadReport, LoadReportError};

/// What was told so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Metrics {
    pub(super) cpu: Option<f64>,
    pub(super) application: Option<f64>,
    /// As the field of that name has it, which later versions of the message replaced.
    pub(super) whole_rps: Option<f64>,
    pub(super) rps: Option<f64>,
    pub(super) eps: Option<f64>,
    pub(super) in_flight: Option<f64>,
    pub(super) latency_ms: Option<f64>,
}

impl Metrics {
    /// The place of a metric; none: it is not wanted.
    pub(super) fn place(&mut self, name: &[u8]) -> Option<&mut Option<f64>> {
        match name {
            b"cpu_utilization" => Some(&mut self.cpu),
            b"application_utilization" => Some(&mut self.application),
            b"rps_fractional" => Some(&mut self.rps),
            b"rps" => Some(&mut self.whole_rps),
            b"eps" => Some(&mut self.eps),
            _ => None,
        }
    }

    /// The place of a named metric; none: it is not wanted.
    pub(super) fn named_place(&mut self, name: &[u8]) -> Option<&mut Option<f64>> {
        if name == IN_FLIGHT_METRIC.as_bytes() {
            Some(&mut self.in_flight)
        } else if name == LATENCY_METRIC.as_bytes() {
            Some(&mut self.latency_ms)
        } else {
            None
        }
    }

    /// A named metric was told.
    pub(super) fn tell_named(&mut self, name: &[u8], told: &[u8]) -> Result<(), LoadReportError> {
        tell(self.named_place(name), told)
    }

    /// What all of it says. Zero is what a metric is that was not told: protobuf makes no difference.
    pub(super) fn report(self) -> Result<LoadReport, LoadReportError> {
        let told = |number: Option<f64>| number.filter(|&number| number > 0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "no number is negative or above `MAX_NUMBER`"
        )]
        let in_flight = self.in_flight.map(|number| number as u32);
        Ok(LoadReport {
            in_flight,
            latency: told(self.latency_ms).map(|number| Duration::from_secs_f64(number / 1000.0)),
            utilization: told(self.application).or(told(self.cpu)),
            rps: told(self.rps).or(told(self.whole_rps)),
            eps: told(self.eps),
        })
    }
}

/// A metric was told as text.
pub(super) fn tell(place: Option<&mut Option<f64>>, told: &[u8]) -> Result<(), LoadReportError> {
    let number = number(told)?;
    match place {
        Some(Some(_)) => Err(LoadReportError::Duplicate),
        Some(place) => {
            *place = Some(number);
            Ok(())
        }
        None => Ok(()),
    }
}

/// A number as text. What is none by its letters, such as `inf` and `NaN`, is refused as what is too large.
pub(super) fn number(text: &[u8]) -> Result<f64, LoadReportError> {
    let is_numeric = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    if !text.iter().all(is_numeric) {
        return Err(LoadReportError::BadNumber);
    }
    let text = core::str::from_utf8(text).map_err(|_| LoadReportError::BadNumber)?;
    measured(text.parse().map_err(|_| LoadReportError::BadNumber)?)
}

/// A number, where a server may report it.
pub(super) fn measured(number: f64) -> Result<f64, LoadReportError> {
    if (0.0..=LoadReportError::MAX_NUMBER).contains(&number) {
        Ok(number)
    } else {
        Err(LoadReportError::BadNumber)
    }
}
