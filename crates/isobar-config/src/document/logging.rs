//! What may be written about the access log?

use isobar_observe::access::Template;

use super::Whole;
use crate::setting::section::settings;
use crate::setting::shape::WordShape;
use crate::setting::word::word_setting;
use crate::setting::{Misfit, Word, help_for_word};

settings! {
    /// Where finished requests are written down.
    pub struct AccessLog called "the access log" {
        /// `stdout`, or the file its lines are appended to, which is opened again on SIGUSR1.
        path: LogPath = LogPath::Stdout,
        /// What a line looks like: `json` with every field, `combined` as of Apache and nginx, or a template with
        /// placeholders such as `{client} {method} {target} {status}`.
        format: LogFormat = LogFormat::Json,
        /// Lines that wait for the writer at most; further ones are dropped and counted.
        queue: Whole<1, 1_048_576> = Whole::of(65_536),
    }
}

/// Where the lines of a log go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPath {
    /// The standard output.
    Stdout,
    /// A file.
    File(Box<str>),
}

/// What a line of the access log looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object with every field.
    Json,
    /// The combined format of Apache and nginx.
    Combined,
    /// A template that compiles.
    Template(Box<str>),
}

impl Word for LogPath {
    fn read(text: &str) -> Result<Self, Misfit> {
        match text {
            "stdout" | "/dev/stdout" | "-" => Ok(Self::Stdout),
            "" => Err(Misfit::OTHER),
            _ if text.contains('\0') => Err(Misfit::because("a path cannot hold a zero byte")),
            _ if text.ends_with('/') => Err(Misfit::because("expected a file, found a directory")),
            "stderr" => Err(Misfit::because(
                "the access log cannot go to the standard error, where the log of events is",
            )
            .help("did you mean `stdout`?")),
            _ => Ok(Self::File(text.into())),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Stdout => "stdout".to_owned(),
            Self::File(path) => path.to_string(),
        }
    }

    fn stand_in() -> Self {
        Self::Stdout
    }

    fn describe() -> WordShape {
        WordShape {
            name: "file",
            expected: "`stdout` or a file such as `/var/log/isobar/access.log`".to_owned(),
            pattern: Some(".*[^/]$"),
            examples: &["stdout", "/var/log/isobar/access.log"],
            range: None,
            number: false,
        }
    }
}

impl Word for LogFormat {
    fn read(text: &str) -> Result<Self, Misfit> {
        match text {
            "json" => Ok(Self::Json),
            "combined" => Ok(Self::Combined),
            _ if text.contains(['{', '}']) => match Template::compile(text) {
                Ok(_) => Ok(Self::Template(text.into())),
                Err(error) => Err(Misfit::from_sentence(&error.to_string())),
            },
            _ => Err(Misfit::OTHER.help(help_for_word(
                text,
                "valid values beside templates",
                ["json", "combined"],
            ))),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Json => "json".to_owned(),
            Self::Combined => "combined".to_owned(),
            Self::Template(template) => template.to_string(),
        }
    }

    fn stand_in() -> Self {
        Self::Json
    }

    fn describe() -> WordShape {
        WordShape {
            name: "log format",
            expected: "`json`, `combined`, or a template such as `{client} {status}`".to_owned(),
            pattern: Some(r"^(?:json|combined|.*\{.*\}.*)$"),
            examples: &["json", "combined", "{client} {method} {target} {status}"],
            range: None,
            number: false,
        }
    }
}

word_setting!(LogPath, LogFormat);
