//! What may be written about what limits are shared through?

use isobar_plan::OnLoss;

use super::{CaFile, Label, OneOrMore, SecretFile, Whole};
use crate::setting::choice::Choice;
use crate::setting::section::settings;
use crate::setting::shape::WordShape;
use crate::setting::word::word_setting;
use crate::setting::{Misfit, Word};
use crate::units::{Percent, Span, Target};

settings! {
    /// A Redis through which instances share limits. It needs to be of version 5 or later.
    pub struct Store called "a store" short addresses {
        /// Its servers, of which the first that answers is used; with `mode: sentinel` its sentinels; with `mode: cluster` some servers of the
        /// cluster.
        addresses: OneOrMore<Target>,
        /// How its servers belong together.
        mode: StoreMode = StoreMode::Single,
        /// What sentinels call it, for `mode: sentinel`.
        service: Option<Label>,
        /// Who we are to it; without it, but with a password, the user `default`.
        user: Option<Label>,
        /// The file with the password; without it, the store asks for none.
        password_file: Option<SecretFile>,
        /// Secures the connections to it, and to its sentinels.
        tls: Option<StoreTls>,
        /// The number of the database; a cluster has only 0.
        database: Whole<0, 65_535> = Whole::of(0),
        /// What all its keys begin with. Instances share limits where they have the same prefix, and the limits the same names.
        prefix: StorePrefix = StorePrefix::made("isobar:"),
        /// How long it may take to answer; after that it is lost, and limits do what `on_loss` says.
        timeout: Span = Span::millis(100),
        /// From one batch to the next, at least; no longer than `ahead`.
        interval: Span = Span::millis(5),
        /// How many instances there are, as long as the store has not said.
        instances: Whole<1, 10_000> = Whole::of(1),
        /// A lease is what is likely to be asked within this time, at most half of an instance's share of the limit.
        ahead: Span = Span::millis(500),
        /// For how long what was leased may be given out; what is left then is given back.
        lease_ttl: Span = Span::seconds(1),
        /// How much of its share an instance may give out for a key before the store has answered; a request at least.
        advance: Percent<0, 100> = Percent::of(50),
    }
}

settings! {
    /// What secures connections to a store.
    pub struct StoreTls called "TLS to a store" {
        /// A PEM file with the authorities that vouch for it; without it, those that the system trusts.
        ca: Option<CaFile>,
    }
}

/// How the servers of a store belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the options say what they are")]
pub enum StoreMode {
    Single,
    Sentinel,
    Cluster,
}

impl Choice for StoreMode {
    const EXPECTED: &'static str = "a mode";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Single, "single", "one server has all keys"),
        (Self::Sentinel, "sentinel", "sentinels know which server that is"),
        (Self::Cluster, "cluster", "each server has some of the keys"),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word {
            "standalone" | "none" => Some("did you mean `single`?"),
            "sentinels" => Some("did you mean `sentinel`?"),
            _ => None,
        }
    }
}

impl Choice for OnLoss {
    const EXPECTED: &'static str = "what happens while the store is lost";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::Local,
            "local",
            "each instance keeps to its part of the limit, by the last number of instances that is known",
        ),
        (Self::Open, "open", "all requests pass"),
        (Self::Closed, "closed", "no request does"),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word {
            "allow" | "fail_open" => Some("did you mean `open`?"),
            "deny" | "fail_closed" => Some("did you mean `closed`?"),
            _ => None,
        }
    }
}

/// Through which store a limit is shared: its name, or `true` for the only one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedThrough(Label);

impl SharedThrough {
    /// The store's name; none: the only one there is.
    #[must_use]
    pub fn store(&self) -> Option<&Label> {
        (self.0.as_str() != "true").then_some(&self.0)
    }
}

impl Word for SharedThrough {
    fn read(text: &str) -> Result<Self, Misfit> {
        match text {
            "false" | "no" => Err(Misfit::OTHER.help("did you mean `none`?")),
            "yes" | "on" => Err(Misfit::OTHER.help("did you mean `true`?")),
            _ => Label::read(text).map(Self),
        }
    }

    fn write(&self) -> String {
        self.0.write()
    }

    fn stand_in() -> Self {
        Self(Label::made("true"))
    }

    fn describe() -> WordShape {
        WordShape {
            name: "store of a limit",
            expected: "`true` or the name of a store".to_owned(),
            pattern: Some(r"^[^\s\x00-\x1f\x7f]+$"),
            examples: &["true", "main"],
            range: None,
            number: true,
        }
    }
}

/// What the keys of a store begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorePrefix(Box<str>);

impl StorePrefix {
    /// Bytes at most.
    const MOST: usize = 128;

    fn made(text: &str) -> Self {
        Self(text.into())
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Word for StorePrefix {
    fn read(text: &str) -> Result<Self, Misfit> {
        if text.len() > Self::MOST {
            return Err(Misfit::because(format!("a prefix has {} bytes at most", Self::MOST)));
        }
        if text.contains(['{', '}']) {
            let message = "a prefix holds no `{` or `}`, by which a cluster would have all keys on one server";
            return Err(Misfit::because(message));
        }
        match Label::read(text) {
            Ok(_) => Ok(Self(text.into())),
            Err(misfit) => Err(misfit),
        }
    }

    fn write(&self) -> String {
        self.0.to_string()
    }

    fn stand_in() -> Self {
        Self::made("?")
    }

    fn describe() -> WordShape {
        WordShape {
            name: "prefix of keys",
            expected: "a prefix such as `isobar:`".to_owned(),
            pattern: Some(r"^[^\s{}\x00-\x1f\x7f]+$"),
            examples: &["isobar:"],
            range: None,
            number: true,
        }
    }
}

word_setting!(SharedThrough, StorePrefix);
