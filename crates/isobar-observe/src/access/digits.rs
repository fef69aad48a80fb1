//! How are numbers written without a formatter?
//!
//! Numbers are most of a log line, and `core::fmt` costs more than the rest of it.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

/// As many digits as the largest number has.
const MAX_DIGITS: usize = 20;

/// Appends a number in decimal digits.
pub(crate) fn decimal(number: u64, out: &mut Vec<u8>) {
    padded(number, 1, out);
}

/// Appends a number in decimal digits, with zeros in front up to a width of at most 20.
pub(crate) fn padded(mut number: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; MAX_DIGITS];
    let mut first = MAX_DIGITS;
    for (i, digit) in digits.iter_mut().enumerate().rev() {
        if number == 0 {
            break;
        }
        // The remainder of a division by ten fits any integer.
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        first = i;
    }
    let start = first.min(MAX_DIGITS.saturating_sub(width));
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// Appends a duration as milliseconds with three decimal places.
pub(crate) fn millis(duration: Duration, out: &mut Vec<u8>) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    decimal(micros / 1_000, out);
    out.push(b'.');
    padded(micros % 1_000, 3, out);
}

/// Appends a duration as seconds with three decimal places.
pub(crate) fn seconds(duration: Duration, out: &mut Vec<u8>) {
    decimal(duration.as_secs(), out);
    out.push(b'.');
    padded(u64::from(duration.subsec_millis()), 3, out);
}

/// Appends an address; one mapped into IPv6 is written as IPv4.
pub(crate) fn ip(address: IpAddr, out: &mut Vec<u8>) {
    match address.to_canonical() {
        IpAddr::V4(v4) => ipv4(v4, out),
        IpAddr::V6(v6) => formatted(&v6, out),
    }
}

/// Appends an address and a port, as in `192.0.2.1:80` and `[2001:db8::1]:80`.
pub(crate) fn socket(address: SocketAddr, out: &mut Vec<u8>) {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => ipv4(v4, out),
        IpAddr::V6(v6) => {
            out.push(b'[');
            formatted(&v6, out);
            out.push(b']');
        }
    }
    out.push(b':');
    decimal(u64::from(address.port()), out);
}

fn ipv4(address: Ipv4Addr, out: &mut Vec<u8>) {
    for (i, octet) in address.octets().into_iter().enumerate() {
        if i > 0 {
            out.push(b'.');
        }
        decimal(u64::from(octet), out);
    }
}

/// Appends what a formatter writes, for what is too rare or too intricate to write by hand.
fn formatted(value: &dyn core::fmt::Display, out: &mut Vec<u8>) {
    struct Bytes<'a>(&'a mut Vec<u8>);
    impl core::fmt::Write for Bytes<'_> {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    // Neither appending to a vector nor formatting an address can fail.
    let _ = core::fmt::write(&mut Bytes(out), format_args!("{value}"));
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, SocketAddr};
    use core::time::Duration;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    use proptest::prelude::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn durations() {
        let check = |duration: Duration, millis: &str, seconds: &str| {
            assert_eq!(text(|out| super::millis(duration, out)), millis);
            assert_eq!(text(|out| super::seconds(duration, out)), seconds);
        };
        check(Duration::ZERO, "0.000", "0.000");
        check(Duration::from_micros(1), "0.001", "0.000");
        check(Duration::from_nanos(999), "0.000", "0.000");
        check(Duration::from_micros(12_345), "12.345", "0.012");
        check(Duration::new(61, 500_000_000), "61500.000", "61.500");
        check(Duration::MAX, "18446744073709551.615", "18446744073709551615.999");
    }

    #[test]
    fn addresses() {
        let check = |address: &str, ip: &str, socket: &str| {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(text(|out| super::ip(address.ip(), out)), ip);
            assert_eq!(text(|out| super::socket(address, out)), socket);
        };
        check("192.0.2.1:80", "192.0.2.1", "192.0.2.1:80");
        check("[2001:db8::1]:443", "2001:db8::1", "[2001:db8::1]:443");
        check("[::ffff:10.0.0.1]:1", "10.0.0.1", "10.0.0.1:1");
    }

    proptest! {
        /// The standard library's formatter is the oracle.
        #[test]
        fn numbers_and_addresses_are_written_as_by_the_formatter(number: u64, width in 1usize..=20, ip: IpAddr) {
            prop_assert_eq!(text(|out| super::decimal(number, out)), format!("{number}"));
            prop_assert_eq!(text(|out| super::padded(number, width, out)), format!("{number:0width$}"));
            prop_assert_eq!(text(|out| super::ip(ip, out)), format!("{}", ip.to_canonical()));
        }
    }
}
