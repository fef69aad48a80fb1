//! May a client of a forward proxy go where it wants to?
//!
//! [`DestinationRules`] are asked twice about a destination with a name: before it is looked up
//! ([`before_lookup`](DestinationRules::before_lookup)), because what no address could change needs no lookup, and about each address
//! that the name stands for ([`judge`](DestinationRules::judge)). Whoever asks connects to the very address that was judged. How
//! names are looked up, and what a refused client reads, is not known here.
//!
//! # Precedence
//! The first rule all of whose conditions hold decides; where none does, [`otherwise`](DestinationRules::otherwise) does. What that
//! lets pass still has to be an address that is not [special](special_purpose) and a usual port (80, 443, 1024 and above), unless
//! the rule that allows it names them: a range of its `ranges` lies within the special one, a range of its `ports` has the port.

mod domain;
mod host;
mod range;
mod special;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

pub use domain::{DomainError, DomainPattern};
pub use host::{DestinationHost, HostError};
pub use range::{AddressRange, PortRange};
pub use special::{embedded, special_purpose};

/// Whether those who fall under a rule may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// They may.
    Allow,
    /// They may not.
    Deny,
}

/// One rule. A condition without elements holds for everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationRule {
    /// Whether those may pass for whom all conditions hold.
    pub access: Access,
    /// Names that are asked for; one that is asked for by address has none.
    pub domains: Vec<DomainPattern>,
    /// Where the address has to be.
    pub ranges: Vec<AddressRange>,
    /// Which ports.
    pub ports: Vec<PortRange>,
    /// Who asks.
    pub users: Vec<Box<str>>,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The host that is asked for.
    pub host: &'a DestinationHost,
    /// The port.
    pub port: u16,
    /// Who asks; none: nobody knows.
    pub user: Option<&'a str>,
}

/// Why a client may not go somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// A rule says so; by its position.
    Rule(usize),
    /// No rule allows it.
    Otherwise,
    /// The address is for a special purpose, and no rule that allows it names its range.
    Special(&'static str),
    /// The port is an unusual one, and no rule that allows it names it.
    Port(u16),
}

/// The rules of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationRules {
    /// In the order that decides.
    pub rules: Arc<[DestinationRule]>,
    /// What holds where no rule does.
    pub otherwise: Access,
}

/// Ports below this one are for services of the system, most of which a proxy is asked for by nobody but attackers.
const FIRST_USUAL_PORT: u16 = 1024;

/// Those below it that browsers go to.
const USUAL_PORTS: [u16; 2] = [80, 443];

impl DestinationRules {
    /// Denies what is denied whatever the address, so that nothing is looked up for it.
    ///
    /// *Cost*: O(rules); no allocation.
    ///
    /// *Errors*: the client may not go there.
    pub fn before_lookup(&self, asked: Asked<'_>) -> Result<(), Denial> {
        if let DestinationHost::Address(address) = *asked.host {
            return self.judge(asked, address).map(drop);
        }
        for (position, rule) in self.rules.iter().enumerate() {
            match (rule.holds_but_for_address(asked), rule.ranges.is_empty(), rule.access) {
                (false, ..) | (true, false, Access::Deny) => {}
                (true, false, Access::Allow) => return Ok(()),
                (true, true, Access::Deny) => return Err(Denial::Rule(position)),
                (true, true, Access::Allow) => return check_port(Some(rule), asked.port),
            }
        }
        match self.otherwise {
            Access::Allow => check_port(None, asked.port),
            Access::Deny => Err(Denial::Otherwise),
        }
    }

    /// Whether the client may go to this address, at which the host it asked for is. Gives the rule that lets it, by its position;
    /// none: no rule did.
    ///
    /// *Cost*: O(rules); no allocation.
    ///
    /// *Errors*: the client may not go there.
    pub fn judge(&self, asked: Asked<'_>, address: IpAddr) -> Result<Option<usize>, Denial> {
        let address = address.to_canonical();
        let within = embedded(address);
        let holds = |rule: &DestinationRule| {
            rule.holds_but_for_address(asked) && (rule.ranges.is_empty() || rule.takes(address, within))
        };
        let found = self.rules.iter().enumerate().find(|(_, rule)| holds(rule));
        let access = found.map_or(self.otherwise, |(_, rule)| rule.access);
        match (access, found) {
            (Access::Deny, Some((position, _))) => return Err(Denial::Rule(position)),
            (Access::Deny, None) => return Err(Denial::Otherwise),
            (Access::Allow, _) => {}
        }
        let rule = found.map(|(_, rule)| rule);
        if let Some((range, purpose)) = special_purpose(address)
            && !rule.is_some_and(|rule| rule.names_range(range, address))
        {
            return Err(Denial::Special(purpose));
        }
        check_port(rule, asked.port)?;
        Ok(found.map(|(position, _)| position))
    }

    /// Whether the client may have this name asked for by somebody else, who sees the addresses in its place: rules that go by
    /// address hold for nobody.
    ///
    /// *Cost*: O(rules); no allocation.
    ///
    /// *Errors*: the client may not go there.
    pub fn judge_unresolved(&self, asked: Asked<'_>) -> Result<Option<usize>, Denial> {
        if let DestinationHost::Address(address) = *asked.host {
            return self.judge(asked, address);
        }
        let holds = |rule: &DestinationRule| rule.ranges.is_empty() && rule.holds_but_for_address(asked);
        let found = self.rules.iter().enumerate().find(|(_, rule)| holds(rule));
        match (found.map_or(self.otherwise, |(_, rule)| rule.access), found) {
            (Access::Deny, Some((position, _))) => Err(Denial::Rule(position)),
            (Access::Deny, None) => Err(Denial::Otherwise),
            (Access::Allow, _) => {
                check_port(found.map(|(_, rule)| rule), asked.port)?;
                Ok(found.map(|(position, _)| position))
            }
        }
    }
}

impl DestinationRule {
    fn holds_but_for_address(&self, asked: Asked<'_>) -> bool {
        let is_domain = || match asked.host {
            DestinationHost::Name(name) => self.domains.iter().any(|domain| domain.covers(name)),
            DestinationHost::Address(_) => false,
        };
        let is_user = || self.users.iter().any(|user| asked.user == Some(&**user));
        (self.domains.is_empty() || is_domain())
            && (self.ports.is_empty() || self.has_port(asked.port))
            && (self.users.is_empty() || is_user())
    }

    fn has_port(&self, port: u16) -> bool {
        self.ports.iter().any(|range| range.contains(port))
    }

    /// Whether one of its ranges takes the address. A denial looks also at the one that is within it.
    fn takes(&self, address: IpAddr, within: Option<IpAddr>) -> bool {
        let within = within.filter(|_| self.access == Access::Deny);
        let any = |address: IpAddr| self.ranges.iter().any(|range| range.contains(address));
        any(address) || within.is_some_and(any)
    }

    /// Whether it speaks of this special range, and not just of very many addresses.
    fn names_range(&self, special: AddressRange, address: IpAddr) -> bool {
        let names = |range: &AddressRange| range.contains(address) && range.is_within(special);
        self.ranges.iter().any(names)
    }
}

fn check_port(rule: Option<&DestinationRule>, port: u16) -> Result<(), Denial> {
    let is_usual = port >= FIRST_USUAL_PORT || USUAL_PORTS.contains(&port);
    if is_usual || rule.is_some_and(|rule| rule.has_port(port)) {
        Ok(())
    } else {
        Err(Denial::Port(port))
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(position) => write!(f, "rule {} denies it", position + 1),
            Self::Otherwise => f.write_str("no rule allows it"),
            Self::Special(purpose) => {
                write!(
                    f,
                    "its address is for a special purpose ({purpose}), and no rule names that range"
                )
            }
            Self::Port(port) => write!(
                f,
                "no rule names port {port}, and it is none of 80, 443, and 1024 to 65535"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
