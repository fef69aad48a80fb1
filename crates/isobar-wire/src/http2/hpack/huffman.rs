//! Which bytes does a string stand for that was written in the code of RFC 7541 appendix B?
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, behind those of shorter codes. So the
//! lengths are all there is to write down, and the tables are made of them by the compiler. Codes of few bits, which are those of
//! nearly everything that stands in fields, are found by one look at a table; longer ones by comparing with the codes of each length.

use alloc::vec::Vec;

use super::HpackError;

/// Bits of the codes that are looked up, for which 2 KiB are enough: those of nearly all that stands in fields.
const SHORT: u32 = 10;

/// Bits of the longest codes.
const LONGEST: u32 = 30;

/// Short codes that are taken at once.
const AT_ONCE: usize = 5;

/// Appends what `text` stands for.
///
/// *Cost*: some twelve instructions for each byte of the result, and 150 for each string (callgrind, x86-64).
///
/// *Errors*: [`HpackError::Huffman`], for EOS, for padding that is not its beginning or has a whole byte, and for half a code. What has
/// been appended means nothing then.
pub(super) fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), HpackError> {
    let from = out.len();
    // The shortest codes have five bits.
    out.resize(from + text.len() * 8 / 5, 0);
    let places = out.get_mut(from..).unwrap_or_default();
    let written = decode_into(text, places)?;
    out.truncate(from + written);
    Ok(())
}

/// Writes what `text` stands for, and says how many places that took.
fn decode_into(text: &[u8], places: &mut [u8]) -> Result<usize, HpackError> {
    let mut bits = Bits {
        next: 0,
        valid: 0,
        rest: text,
        written: 0,
    };
    loop {
        bits.take_many(places);
        bits.fill();
        // As many as are valid in any case, if there are more.
        for _ in 0..AT_ONCE {
            let code = bits.short();
            if code.bits() == 0 {
                bits.fill();
                if bits.is_padding() {
                    return Ok(bits.written);
                }
                bits.take_long(places)?;
                break;
            }
            bits.take(code.bits(), code.symbol(), places)?;
        }
    }
}

/// The bits of a string, from left to right.
struct Bits<'a> {
    /// The next bits, highest first. Behind those that are valid come more of the string, ones behind its end, or zeros.
    next: u64,
    valid: usize,
    /// The bytes that have not all become valid.
    rest: &'a [u8],
    /// How many symbols have been written.
    written: usize,
}

impl Bits<'_> {
    /// Makes at least 56 bits valid, or all there are with ones behind them.
    #[inline(always)]
    fn fill(&mut self) {
        let word = match self.rest.first_chunk() {
            Some(word) => u64::from_be_bytes(*word),
            None => self.last_word(),
        };
        // Where bits come for the second time, they are the same ones.
        self.next |= word >> (self.valid & 63);
        let bytes = ((63 - self.valid) / 8).min(self.rest.len());
        self.rest = self.rest.get(bytes..).unwrap_or_default();
        self.valid += bytes * 8;
    }

    /// Fewer than eight bytes, with ones behind them.
    fn last_word(&self) -> u64 {
        let word = self.rest.iter().fold(0, |word, &byte| (word << 8) | u64::from(byte));
        if self.rest.is_empty() {
            return u64::MAX;
        }
        !(!word << (64 - 8 * self.rest.len()))
    }

    /// Whether nothing follows but the beginning of EOS, and no whole byte of that.
    #[inline]
    fn is_padding(&self) -> bool {
        self.next == u64::MAX && self.valid < 8
    }

    /// Takes short codes while there are eight bytes, some at once.
    #[inline]
    fn take_many(&mut self, places: &mut [u8]) {
        let (mut next, mut valid, mut rest) = (self.next, self.valid, self.rest);
        let mut places = places
            .get_mut(self.written..)
            .unwrap_or_default()
            .as_chunks_mut()
            .0
            .iter_mut();
        while let Some(word) = rest.first_chunk() {
            next |= u64::from_be_bytes(*word) >> (valid & 63);
            let bytes = (63 - valid) / 8;
            rest = rest.get(bytes..).unwrap_or_default();
            valid += bytes * 8;
            (self.next, self.valid, self.rest) = (next, valid, rest);

            let (mut code, mut sum) = (Code(0), 0);
            let Some(places) = places.next() else { break };
            let places: &mut [u8; AT_ONCE] = places;
            for place in places {
                code = short(next);
                next <<= code.bits();
                sum += usize::from(code.0);
                *place = code.symbol();
            }
            // A code that is not short has no bits here, and is found in the place of all that follow it.
            if code.bits() == 0 {
                break;
            }
            // The sum of the bits stays below that of the symbols.
            valid -= sum & 0xff;
            (self.next, self.valid) = (next, valid);
            self.written += AT_ONCE;
        }
    }

    /// The short code that comes next.
    #[inline]
    fn short(&self) -> Code {
        short(self.next)
    }

    /// Takes the code that comes next and is not short.
    #[cold]
    fn take_long(&mut self, places: &mut [u8]) -> Result<(), HpackError> {
        for (length, bits) in LENGTHS.iter().zip(1..) {
            let (first, end) = length.codes;
            if self.next < end {
                // As many bits as the code has.
                let place = usize::try_from((self.next - first) >> (64 - bits)).map(|place| place + length.shorter);
                let symbol = place.ok().and_then(|place| SYMBOLS.get(place));
                return self.take(bits, *symbol.ok_or(HpackError::Huffman)?, places);
            }
        }
        // EOS, whose end is that of all numbers.
        Err(HpackError::Huffman)
    }

    /// Takes so many bits, which stand for this symbol.
    #[inline]
    fn take(&mut self, bits: usize, symbol: u8, places: &mut [u8]) -> Result<(), HpackError> {
        self.valid = self.valid.checked_sub(bits).ok_or(HpackError::Huffman)?;
        self.next <<= bits;
        *places.get_mut(self.written).ok_or(HpackError::Huffman)? = symbol;
        self.written += 1;
        Ok(())
    }
}

/// A code: its symbol, and how many bits it has; none: it is not short.
#[derive(Debug, Clone, Copy)]
struct Code(u16);

impl Code {
    #[inline(always)]
    fn symbol(self) -> u8 {
        let [_, symbol] = self.0.to_le_bytes();
        symbol
    }

    /// Not more than [`SHORT`], which the compiler does not know.
    #[inline(always)]
    fn bits(self) -> usize {
        usize::from(self.0) & 63
    }
}

/// The codes of one length.
#[derive(Clone, Copy)]
struct Length {
    /// The first of them, and what is behind the last, as the highest bits of many.
    codes: (u64, u64),
    /// How many symbols have shorter codes.
    shorter: usize,
}

/// The short code in front of these bits.
#[inline(always)]
fn short(next: u64) -> Code {
    SHORT_CODES[(next >> (64 - SHORT)) as usize]
}

static SHORT_CODES: [Code; 1 << SHORT] = {
    let mut codes = [Code(0); 1 << SHORT];
    let mut place = 0;
    let mut next = 0;
    while SYMBOL_BITS[SYMBOLS[place] as usize] as u32 <= SHORT {
        let symbol = SYMBOLS[place];
        let bits = SYMBOL_BITS[symbol as usize];
        let end = next + (1 << (SHORT - bits as u32));
        while next < end {
            codes[next] = Code(u16::from_le_bytes([bits, symbol]));
            next += 1;
        }
        place += 1;
    }
    codes
};

/// The symbols in the order of their codes, but for EOS, which is the last.
static SYMBOLS: [u8; 256] = {
    let mut symbols = [0; 256];
    let mut place = 0;
    let mut bits = 0;
    while bits <= LONGEST {
        let mut symbol = 0_u8;
        loop {
            if SYMBOL_BITS[symbol as usize] as u32 == bits {
                symbols[place] = symbol;
                place += 1;
            }
            if symbol == u8::MAX {
                break;
            }
            symbol += 1;
        }
        bits += 1;
    }
    symbols
};

/// The lengths from 1 bit on.
static LENGTHS: [Length; LONGEST as usize] = {
    let mut lengths = [Length {
        codes: (0, 0),
        shorter: 0,
    }; LONGEST as usize];
    let mut end = 0_u64;
    let mut place = 0;
    let mut bits = 1;
    while bits <= LONGEST {
        let length = &mut lengths[bits as usize - 1];
        length.codes.0 = end;
        length.shorter = place;
        while place < 256 && SYMBOL_BITS[SYMBOLS[place] as usize] as u32 == bits {
            end += 1 << (64 - bits);
            place += 1;
        }
        length.codes.1 = end;
        bits += 1;
    }
    lengths
};

/// How many bits the code of each symbol has.
///
/// *Source*: RFC 7541 appendix B.
#[rustfmt::skip]
static SYMBOL_BITS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// The code of a text, one bit after the other.
#[cfg(test)]
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let (mut out, mut free) = (Vec::new(), 0);
    for &symbol in text {
        let place = SYMBOLS.iter().position(|&other| other == symbol).unwrap();
        let bits = usize::from(SYMBOL_BITS[usize::from(symbol)]);
        let length = LENGTHS[bits - 1];
        let code = usize::try_from(length.codes.0 >> (64 - bits)).unwrap() + place - length.shorter;
        for bit in (0..bits).rev() {
            if free == 0 {
                out.push(0xff);
                free = 8;
            }
            free -= 1;
            if code >> bit & 1 == 0 {
                *out.last_mut().unwrap() ^= 1 << free;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &[u8]) -> Result<Vec<u8>, HpackError> {
        let mut out = Vec::from(*b"before");
        decode(text, &mut out).map(|()| out.split_off(6))
    }

    #[test]
    fn codes_are_those_of_the_table() {
        // RFC 7541 appendix B, the first and the last code of some lengths; those of one symbol, with ones behind them.
        let check = |symbol: u8, code: &[u8]| {
            assert_eq!(encode(&[symbol]), code, "{symbol}");
            assert_eq!(decoded(code).as_deref(), Ok(&[symbol][..]));
        };
        check(b'0', &[0x07]);
        check(b't', &[0x4f]);
        check(b' ', &[0x53]);
        check(b'z', &[0xf7]);
        check(b'&', &[0xf8]);
        check(b'Z', &[0xfd]);
        check(b'!', &[0xfe, 0x3f]);
        check(b'?', &[0xff, 0x3f]);
        check(b'\'', &[0xff, 0x5f]);
        check(b'{', &[0xff, 0xfd]);
        check(b'\\', &[0xff, 0xfe, 0x1f]);
        check(0, &[0xff, 0xc7]);
        check(249, &[0xff, 0xff, 0xff, 0xef]);
        check(10, &[0xff, 0xff, 0xff, 0xf3]);
        check(13, &[0xff, 0xff, 0xff, 0xf7]);
        check(22, &[0xff, 0xff, 0xff, 0xfb]);
    }

    #[test]
    fn what_is_not_compressed_as_it_should_be() {
        let check = |text: &[u8]| assert_eq!(decoded(text), Err(HpackError::Huffman), "{text:x?}");
        // EOS alone, behind other symbols and with more behind it.
        check(&[0xff; 4]);
        check(&[0x07, 0xff, 0xff, 0xff, 0xff]);
        check(&[[0xff; 4], [0; 4], [0; 4]].concat());
        // Padding of a whole byte, of zeros, and of other ones.
        check(&[0xff]);
        check(&[0x07, 0xff]);
        check(&[0x00]);
        check(&[0x06]);
        check(&[0x03]);
        // Half a code.
        check(&[0xfe]);
        check(&[0xff, 0xfe]);
        assert_eq!(decoded(b""), Ok(Vec::new()));
    }

    #[test]
    fn every_length_is_read_to_its_end() {
        let text: String = "www.example.com/(a?b)!\"#".repeat(4);
        for len in 0..text.len() {
            let text = &text.as_bytes()[..len];
            assert_eq!(decoded(&encode(text)).as_deref(), Ok(text));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(text in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(decoded(&encode(&text)), Ok(text));
        }

        #[test]
        fn any_text_comes_back(text in "[a-z0-9/.=&?\"()-]{0,80}") {
            prop_assert_eq!(decoded(&encode(text.as_bytes())), Ok(text.into_bytes()));
        }
    }
}
