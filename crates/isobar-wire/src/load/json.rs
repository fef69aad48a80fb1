//! Reports as protobuf's JSON: names in either spelling, numbers bare or in quotes.
//!
//! No tree is made and nothing is kept: one pass over the bytes, which knows the two levels that a report has.

use super::LoadReportError;
use super::metrics::{Metrics, tell};

/// How deep values that are passed over may be nested.
const MAX_DEPTH: u32 = 8;

/// Reads what follows `JSON `.
pub(super) fn read(value: &[u8]) -> Result<Metrics, LoadReportError> {
    let mut scanner = Scanner { rest: value };
    let mut metrics = Metrics::default();
    let mut has_named = false;
    scanner.object(|scanner, name| match canonical(name) {
        b"named_metrics" if scanner.peek() == Some(b'{') => {
            if core::mem::replace(&mut has_named, true) {
                return Err(LoadReportError::Duplicate);
            }
            scanner.object(|scanner, name| scanner.metric(metrics.named_place(name)))
        }
        name => scanner.metric(metrics.place(name)),
    })?;
    scanner.skip_space();
    if scanner.rest.is_empty() {
        Ok(metrics)
    } else {
        Err(LoadReportError::BadJson)
    }
}

/// The name as the message's definition has it.
fn canonical(name: &[u8]) -> &[u8] {
    match name {
        b"cpuUtilization" => b"cpu_utilization",
        b"applicationUtilization" => b"application_utilization",
        b"rpsFractional" => b"rps_fractional",
        b"namedMetrics" => b"named_metrics",
        _ => name,
    }
}

/// What is left to be read.
struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.rest.first().copied()
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    /// Takes this byte, if it is the next.
    fn takes(&mut self, byte: u8) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(&[byte]) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), LoadReportError> {
        if self.takes(byte) {
            Ok(())
        } else {
            Err(LoadReportError::BadJson)
        }
    }

    /// Reads an object; `member` reads each value.
    fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a [u8]) -> Result<(), LoadReportError>,
    ) -> Result<(), LoadReportError> {
        self.expect(b'{')?;
        if self.takes(b'}') {
            return Ok(());
        }
        loop {
            let name = self.string()?;
            self.expect(b':')?;
            member(self, name)?;
            if !self.takes(b',') {
                return self.expect(b'}');
            }
        }
    }

    /// Reads a number; a value that is not wanted may be anything, and null is none.
    fn metric(&mut self, place: Option<&mut Option<f64>>) -> Result<(), LoadReportError> {
        let Some(place) = place else {
            return self.skip(MAX_DEPTH);
        };
        match self.peek() {
            Some(b'n') => self.word(b"null"),
            Some(b'"') => {
                let told = self.string()?;
                if told.is_empty() {
                    return Err(LoadReportError::BadNumber);
                }
                tell(Some(place), told)
            }
            _ => {
                let told = self.number()?;
                tell(Some(place), told)
            }
        }
    }

    /// Reads a string without undoing its escapes: no name or number that is wanted needs any.
    fn string(&mut self) -> Result<&'a [u8], LoadReportError> {
        self.expect(b'"')?;
        let mut escaped = false;
        for (at, &byte) in self.rest.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    let (text, rest) = self.rest.split_at_checked(at).ok_or(LoadReportError::BadJson)?;
                    self.rest = rest.get(1..).unwrap_or_default();
                    return Ok(text);
                }
                ..0x20 => return Err(LoadReportError::BadJson),
                _ => {}
            }
        }
        Err(LoadReportError::BadJson)
    }

    fn number(&mut self) -> Result<&'a [u8], LoadReportError> {
        let is_end = |byte: &u8| !(byte.is_ascii_digit() || b"+-.eE".contains(byte));
        let end = self.rest.iter().position(is_end).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at_checked(end).ok_or(LoadReportError::BadJson)?;
        self.rest = rest;
        match number.first() {
            Some(b'-' | b'0'..=b'9') => Ok(number),
            _ => Err(LoadReportError::BadJson),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), LoadReportError> {
        self.rest = self.rest.strip_prefix(word).ok_or(LoadReportError::BadJson)?;
        Ok(())
    }

    /// Passes over a value.
    fn skip(&mut self, depth: u32) -> Result<(), LoadReportError> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(LoadReportError::BadJson);
        };
        match self.peek() {
            Some(b'{') => self.object(|scanner, _| scanner.skip(depth)),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(drop),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => self.number().map(drop),
        }
    }

    fn array(&mut self, depth: u32) -> Result<(), LoadReportError> {
        self.expect(b'[')?;
        if self.takes(b']') {
            return Ok(());
        }
        loop {
            self.skip(depth)?;
            if !self.takes(b',') {
                return self.expect(b']');
            }
        }
    }
}
