//! Which bytes does a string stand for that was written in the code of RFC 7541 appendix B?
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, behind those of shorter codes. So the
//! lengths are all there is to write down, and the tables are made of them by the compiler. Codes of few bits, which are those of
//! nearly everything that stands in fields, are found by one look at a table; longer ones by comparing with the codes of each length.

use alloc::vec::Vec;

use super::HpackError;

/// Bits of the codes that are looked up, for which 1 KiB is enough: letters, digits and what stands between them.
const SHORT: u32 = 9;

/// Bits of the longest codes.
const LONGEST: u32 = 30;

/// Appends what `text` stands for.
///
/// *Cost*: some seven instructions for each byte of the result.
///
/// *Errors*: [`HpackError::Huffman`], for EOS, for padding that is not its beginning or has a whole byte, and for half a code.
pub(super) fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), HpackError> {
    // The shortest codes have five bits.
    out.reserve(text.len() * 8 / 5);
    let mut bits = Bits {
        next: 0,
        valid: 0,
        rest: text,
    };
    while bits.fill_at_once() {
        // There are 56 bits, so that six short codes are there. One that is not short is found in the place of all that follow it.
        let before = (bits.next, bits.valid);
        let six = [(); 6].map(|()| bits.take_short());
        if six[5].bits > 0 {
            out.extend_from_slice(&six.map(|code| code.symbol));
        } else {
            (bits.next, bits.valid) = before;
            for code in six.iter().take_while(|code| code.bits > 0) {
                bits.take(code.bits);
                out.push(code.symbol);
            }
            bits.fill();
            out.push(bits.take_any()?);
        }
    }
    bits.fill();
    while !bits.is_padding() {
        out.push(bits.take_any()?);
        bits.fill();
    }
    Ok(())
}

/// The bits of a string, from left to right.
struct Bits<'a> {
    /// The next bits, highest first. Behind those that are valid come more of the string as far as they are known, and then zeros.
    next: u64,
    valid: u8,
    /// The bytes that have not all become valid.
    rest: &'a [u8],
}

impl Bits<'_> {
    /// Makes at least 56 bits valid; not if there are fewer than eight bytes.
    #[inline(always)]
    fn fill_at_once(&mut self) -> bool {
        let Some(word) = self.rest.first_chunk() else {
            return false;
        };
        self.next |= u64::from_be_bytes(*word) >> (self.valid & 63);
        let bytes = (63 - self.valid) / 8;
        self.rest = self.rest.get(usize::from(bytes)..).unwrap_or_default();
        self.valid += bytes * 8;
        true
    }

    /// Makes at least 57 bits valid, or all there are with ones behind them.
    #[inline]
    fn fill(&mut self) {
        while self.valid <= 56 {
            let Some((&byte, rest)) = self.rest.split_first() else {
                self.next |= u64::MAX >> self.valid;
                return;
            };
            self.next |= u64::from(byte) << (56 - self.valid);
            self.valid += 8;
            self.rest = rest;
        }
    }

    /// Whether nothing follows but the beginning of EOS, and no whole byte of that.
    #[inline]
    fn is_padding(&self) -> bool {
        self.next == u64::MAX && self.valid < 8
    }

    #[inline(always)]
    fn take(&mut self, bits: u8) {
        self.next <<= bits & 63;
        self.valid = self.valid.wrapping_sub(bits);
    }

    /// Takes a code out if it is short.
    #[inline(always)]
    fn take_short(&mut self) -> Code {
        let code = SHORT_CODES[(self.next >> (64 - SHORT)) as usize];
        self.take(code.bits);
        code
    }

    /// Takes a code out.
    #[inline]
    fn take_any(&mut self) -> Result<u8, HpackError> {
        let mut code = SHORT_CODES[(self.next >> (64 - SHORT)) as usize];
        if code.bits == 0 {
            code = long(self.next)?;
        }
        if code.bits > self.valid {
            return Err(HpackError::Huffman);
        }
        self.take(code.bits);
        Ok(code.symbol)
    }
}

/// A code in front of other bits; without bits, that there is no such code.
#[derive(Debug, Clone, Copy)]
struct Code {
    symbol: u8,
    bits: u8,
}

/// The codes of one length.
#[derive(Clone, Copy)]
struct Length {
    /// The first of them, and what is behind the last, as the highest bits of many.
    codes: (u64, u64),
    /// How many symbols have shorter codes.
    shorter: usize,
}

/// The code in front of these bits, which is not short.
#[cold]
fn long(next: u64) -> Result<Code, HpackError> {
    for (length, bits) in LENGTHS.iter().zip(1_u8..) {
        let (first, end) = length.codes;
        if next < end {
            // As many bits as the code has.
            let place = usize::try_from((next - first) >> (64 - bits)).map(|place| place + length.shorter);
            let symbol = place
                .ok()
                .and_then(|place| SYMBOLS.get(place))
                .copied()
                .ok_or(HpackError::Huffman)?;
            return Ok(Code { symbol, bits });
        }
    }
    // EOS, whose end is that of all numbers.
    Err(HpackError::Huffman)
}

static SHORT_CODES: [Code; 1 << SHORT] = {
    let mut codes = [Code { symbol: 0, bits: 0 }; 1 << SHORT];
    let mut place = 0;
    let mut next = 0;
    while SYMBOL_BITS[SYMBOLS[place] as usize] as u32 <= SHORT {
        let symbol = SYMBOLS[place];
        let bits = SYMBOL_BITS[symbol as usize];
        let end = next + (1 << (SHORT - bits as u32));
        while next < end {
            codes[next] = Code { symbol, bits };
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
