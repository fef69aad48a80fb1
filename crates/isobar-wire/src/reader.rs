//! How are fields taken off the front of bytes? Knows lengths and byte order, not what a field means.

/// Bytes that are read from front to back. Nothing is taken where there is too little.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been taken yet.
    pub(crate) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    pub(crate) fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next bytes, as many as are asked for by the type.
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// The bytes whose number stands before them in one byte.
    pub(crate) fn prefixed_u8(&mut self) -> Option<&'a [u8]> {
        let mut after = *self;
        let length = after.u8()?;
        let taken = after.bytes(usize::from(length))?;
        *self = after;
        Some(taken)
    }

    /// The bytes whose number stands before them in two bytes.
    pub(crate) fn prefixed_u16(&mut self) -> Option<&'a [u8]> {
        let mut after = *self;
        let length = after.u16()?;
        let taken = after.bytes(usize::from(length))?;
        *self = after;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::Reader;

    #[test]
    fn takes_what_there_is_and_nothing_of_what_is_cut_off() {
        let mut reader = Reader::new(b"\x01\x02\x03\x02ab\0\x01c\0\x05d");
        assert_eq!((reader.u8(), reader.u16()), (Some(1), Some(0x0203)));
        assert_eq!(reader.prefixed_u8(), Some(&b"ab"[..]));
        assert_eq!(reader.prefixed_u16(), Some(&b"c"[..]));
        assert_eq!((reader.prefixed_u16(), reader.u32()), (None, None));
        assert_eq!(reader.rest(), b"\0\x05d");
        assert_eq!(reader.bytes(3), Some(&b"\0\x05d"[..]));
        assert!(reader.is_empty());
    }
}
