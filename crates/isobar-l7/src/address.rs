//! How is an address written down without writing it anew for every request?

use std::io::{Cursor, Write as _};
use std::net::IpAddr;

/// The longest text of an address: eight groups of four digits, and their colons.
const MAX: usize = 39;

/// The text of an address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AddressText {
    length: u8,
    bytes: [u8; MAX],
}

impl AddressText {
    pub(crate) fn of(address: IpAddr) -> Self {
        let mut cursor = Cursor::new([0; MAX]);
        // A canonical address has room; one in a form that has none would be cut short.
        let _ = write!(cursor, "{}", address.to_canonical());
        let length = u8::try_from(cursor.position()).unwrap_or(0);
        Self {
            length,
            bytes: cursor.into_inner(),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length.into()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::AddressText;

    #[test]
    fn every_address_fits() {
        let check = |text: &str, expected: &str| {
            let address = AddressText::of(text.parse().unwrap());
            assert_eq!(std::str::from_utf8(address.as_bytes()).unwrap(), expected);
        };
        check("127.0.0.1", "127.0.0.1");
        check("255.255.255.255", "255.255.255.255");
        check("::1", "::1");
        check("::ffff:192.168.100.100", "192.168.100.100");
        check(
            "2001:db8:1111:2222:3333:4444:5555:6666",
            "2001:db8:1111:2222:3333:4444:5555:6666",
        );
    }
}
