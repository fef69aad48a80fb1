//! What may be written about which servers stand together, and how far what is known of them is believed?

use isobar_balance::Choices;

use super::{Label, Named, Whole};
use crate::problem::{Path, Problems};
use crate::scenario::Decimal;
use crate::setting::choice::Choice;
use crate::setting::section::settings;
use crate::setting::shape::WordShape;
use crate::setting::word::decode_word;
use crate::setting::{Detail, Misfit, Setting, Shape, Word, Written};
use crate::tree::Node;
use crate::units::{Percent, Span};

settings! {
    /// Which of several instances with the same servers this one is.
    pub struct Instance called "an instance" {
        /// Which one, counted from 0.
        number: Whole<0, 65_534>,
        /// How many there are.
        of: Whole<1, 65_535>,
    }
}

settings! {
    /// How much of the load stays in the zone of this instance: as much as the servers there can bear. Without effect
    /// unless the instance has a zone and servers have.
    pub struct Locality called "the locality of an upstream" {
        /// How many instances there are in each zone, this one included. Without it, equally many in every zone.
        balancers: Named<Label, Whole<0, 65_535>>,
        /// Available servers of a level below which zones do not matter.
        min_servers: Whole<1, 65_535> = Whole::of(6),
    }
}

settings! {
    /// When the health of servers is not believed: too few are left for that, and all of the level are used. A server
    /// without an address is never used.
    pub struct Panic called "the panic of an upstream" short below {
        /// The part of a level's weight that must be available for its health to be believed.
        below: Percent<1, 100> = Percent::of(50),
        /// Servers of a level below which it never panics, because a fraction of few is none.
        min_servers: Whole<1, 65_535> = Whole::of(5),
    }
}

settings! {
    /// How the share of a server grows that is new in a running upstream, or well again: with the age as a part of the
    /// window, to the power of 1 by the aggression.
    pub struct SlowStart called "the slow start of an upstream" short window {
        /// From when it came until it has its whole share.
        window: Span = Span::seconds(30),
        /// The curve: 1 is a straight line, more rises fast at first, less slowly at first.
        aggression: Decimal<100, 10_000> = Decimal::thousandths(1_000),
        /// The part of its weight it begins with.
        min_weight: Percent<1, 100> = Percent::of(10),
    }
}

settings! {
    /// The servers that this instance uses, of very many. The other ones are neither probed nor connected to.
    pub struct Subset called "the subset of an upstream" short size {
        /// How many it uses of each level, at least; all where there are no more.
        size: Whole<1, 65_535>,
        /// How they are spread over the instances.
        spread: Spread = Spread::Even,
    }
}

/// How servers are spread over instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Exactly alike.
    Even,
    /// By chance.
    Stable,
}

impl Choice for Spread {
    const EXPECTED: &'static str = "`even` or `stable`";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::Even,
            "even",
            "every server is used exactly alike over all instances; one that comes or goes moves others a little",
        ),
        (
            Self::Stable,
            "stable",
            "by chance: one that comes or goes changes one place of an instance, and some servers are used by more \
             instances than others",
        ),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word {
            "aperture" | "deterministic" => Some("did you mean `even`?"),
            "random" | "chance" => Some("did you mean `stable`?"),
            _ => None,
        }
    }
}

/// How many servers are compared: all of them, or so many drawn by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// All.
    All,
    /// So many, 2 to 16.
    Drawn(Choices),
}

impl Word for Compared {
    fn read(text: &str) -> Result<Self, Misfit> {
        if text == "all" {
            return Ok(Self::All);
        }
        match text.parse::<u8>() {
            Ok(number @ 2..=16) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Self::Drawn(Choices::new(number)))
            }
            Ok(1) => Err(Misfit::OTHER.help("one server drawn by chance is `balance: random`")),
            _ => Err(Misfit::OTHER),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Drawn(choices) => choices.number().to_string(),
        }
    }

    fn stand_in() -> Self {
        Self::All
    }

    fn describe() -> WordShape {
        WordShape {
            name: "number of servers",
            expected: "`all` or a number of servers from 2 to 16".to_owned(),
            pattern: Some("^(all|[2-9]|1[0-6])$"),
            examples: &["all", "2"],
            range: Some("`all`, or 2 to 16".to_owned()),
            number: true,
        }
    }
}

impl Setting for Compared {
    fn decode(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> Self {
        decode_word(node, at, problems)
    }

    fn placeholder() -> Self {
        Self::stand_in()
    }

    fn encode(&self, _: Detail) -> Written {
        match self {
            Self::All => Written::Text(self.write()),
            Self::Drawn(choices) => Written::Number(choices.number().into()),
        }
    }

    fn shape() -> Shape {
        Shape::Word(Self::describe())
    }
}
