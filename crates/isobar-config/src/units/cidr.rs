//! How is a range of addresses written?

use std::net::IpAddr;

use isobar_plan::Cidr;

use super::text_traits;
use crate::setting::shape::WordShape;
use crate::setting::{Misfit, Word};

/// A range of addresses, written `10.0.0.0/8`, `2001:db8::/32`, or `10.1.2.3` for one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Its first address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many of its first bits all its addresses have.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The range in the form the plan has.
    #[must_use]
    pub fn cidr(self) -> Option<Cidr> {
        Cidr::new(self.address, self.prefix)
    }
}

impl Word for Network {
    fn read(text: &str) -> Result<Self, Misfit> {
        let (address, prefix) = text
            .split_once('/')
            .map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| Misfit::OTHER)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(prefix) if prefix.parse::<IpAddr>().is_ok() => {
                let help = format!("count the one bits of the mask, as in `{address}/24`");
                return Err(Misfit::because("expected a prefix length, found a mask").help(help));
            }
            Some(prefix) if !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
                let too_long = || Misfit::because(format!("the prefix of this address can be {longest} at most"));
                prefix
                    .parse()
                    .ok()
                    .filter(|&prefix| prefix <= longest)
                    .ok_or_else(too_long)?
            }
            Some(_) => return Err(Misfit::OTHER),
        };
        let network = first_address(address, prefix);
        if network != address {
            let message = format!("`{}` has bits set past its prefix", crate::tree::shorten(text));
            return Err(Misfit::because(message).help(format!("did you mean `{network}/{prefix}`, or `{address}`?")));
        }
        Ok(Self { address, prefix })
    }

    fn write(&self) -> String {
        format!("{}/{}", self.address, self.prefix)
    }

    fn stand_in() -> Self {
        Self {
            address: IpAddr::from([127, 0, 0, 1]),
            prefix: 32,
        }
    }

    fn describe() -> WordShape {
        WordShape {
            name: "network",
            expected: "a network such as `10.0.0.0/8`".to_owned(),
            pattern: Some(r"^(?:[0-9.]+|[0-9A-Fa-f:.]+)(?:/[0-9]{1,3})?$"),
            examples: &["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"],
            range: None,
            number: false,
        }
    }
}

text_traits!(Network);

fn first_address(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Network;

    #[test]
    fn networks() {
        let check = |text: &str, expected: &str| {
            let found = text
                .parse::<Network>()
                .map_or_else(|error| error.to_string(), |network| network.to_string());
            assert_eq!(found, expected, "{text}");
        };
        let expected = "expected a network such as `10.0.0.0/8`, found";
        check("10.0.0.0/8", "10.0.0.0/8");
        check("10.1.2.3", "10.1.2.3/32");
        check("0.0.0.0/0", "0.0.0.0/0");
        check("::/0", "::/0");
        check("2001:db8::/32", "2001:db8::/32");
        check("::1", "::1/128");
        check(
            "10.1.2.3/8",
            "`10.1.2.3/8` has bits set past its prefix; did you mean `10.0.0.0/8`, or `10.1.2.3`?",
        );
        check("10.0.0.0/33", "the prefix of this address can be 32 at most");
        check("10.0.0.0/999", "the prefix of this address can be 32 at most");
        check("::/129", "the prefix of this address can be 128 at most");
        check(
            "10.0.0.0/255.0.0.0",
            "expected a prefix length, found a mask; count the one bits of the mask, as in `10.0.0.0/24`",
        );
        check("10.0.0.0/", &format!("{expected} `10.0.0.0/`"));
        check("10.0.0.0/+8", &format!("{expected} `10.0.0.0/+8`"));
        check("10.0.0/8", &format!("{expected} `10.0.0/8`"));
        check("private", &format!("{expected} `private`"));
        check("", &format!("{expected} ``"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,24}|[0-9a-f:./]{0,24}") {
            if let Ok(network) = text.parse::<Network>() {
                prop_assert_eq!(network.to_string().parse(), Ok(network));
                prop_assert!(network.cidr().is_some());
            }
        }
    }
}
