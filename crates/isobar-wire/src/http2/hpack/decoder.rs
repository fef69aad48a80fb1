//! Which fields does a header block have? Does not know how long a block may be, nor what a field is for.

use alloc::vec::Vec;

use super::table::{Entry, Table};
use super::{Class, Decoded, USUAL_TABLE, huffman, static_table};

/// Bytes of memory for strings that were compressed which are kept between blocks.
const KEPT: usize = 1_024;

/// Why nothing that comes after can be understood: `COMPRESSION_ERROR` of the connection, by the peer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HpackError {
    /// The block ends within a field.
    #[error("a header block ends within a field")]
    Truncated,
    /// A number has more than the 28 bits that are in four bytes.
    #[error("a header block has a number that is too large")]
    Integer,
    /// An index is 0, or behind the last entry of the table.
    #[error("a header block has the index of no field")]
    Index,
    /// A compressed string has EOS in it, half a symbol at its end, or other padding than the beginning of EOS.
    #[error("a header block has a string that is not compressed as it should be")]
    Huffman,
    /// The table is made larger than was allowed.
    #[error("a header block makes the table larger than is allowed")]
    TableSize,
    /// The size of the table is changed behind a field.
    #[error("a header block changes the size of the table behind a field")]
    LateTableSize,
}

/// Decodes the header blocks that a peer sends on one connection.
#[derive(Debug)]
pub struct Decoder {
    max_table: u32,
    table: Table<Note>,
    /// What the strings of one field stand for that were compressed.
    scratch: Vec<u8>,
}

/// What an entry's name is, and what both together are.
#[derive(Debug, Clone, Copy)]
struct Note {
    name: Class,
    field: Class,
}

impl Decoder {
    /// A decoder whose peer may have a table of so many bytes: what it was told in SETTINGS_HEADER_TABLE_SIZE.
    ///
    /// A table has 4,096 bytes until its encoder says otherwise, so that one which has not heard of a smaller one yet is understood.
    ///
    /// *Cost*: no allocation before a peer uses its table or compresses a string.
    #[must_use]
    pub fn new(max_table: u32) -> Self {
        Self {
            max_table,
            table: Table::new(USUAL_TABLE),
            scratch: Vec::new(),
        }
    }

    /// Reads one whole header block, and shows its fields in their order.
    ///
    /// *Cost*: per byte of the block; an indexed field is not copied, whatever its length. Once the buffers have grown nothing is
    /// allocated, unless compressed strings of one field stand for more than 1 KiB.
    ///
    /// *Errors*: the fields before the faulty one have been shown. The table means nothing any more.
    pub fn decode(&mut self, block: &[u8], mut field: impl FnMut(Decoded<'_>)) -> Result<(), HpackError> {
        let mut rest = block;
        let done = self.resize(&mut rest).and_then(|()| self.fields(&mut rest, &mut field));
        if self.scratch.capacity() > KEPT {
            self.scratch = Vec::new();
        }
        done
    }

    /// Does what the block begins with: changes of the size of the table.
    fn resize(&mut self, rest: &mut &[u8]) -> Result<(), HpackError> {
        while let Some((&first, behind)) = rest.split_first()
            && first & 0xe0 == 0x20
        {
            *rest = behind;
            let limit = integer(first, 0x1f, rest)?;
            if limit > self.max_table {
                return Err(HpackError::TableSize);
            }
            self.table.set_limit(limit);
        }
        Ok(())
    }

    fn fields(&mut self, rest: &mut &[u8], field: &mut impl FnMut(Decoded<'_>)) -> Result<(), HpackError> {
        while let Some((&first, behind)) = rest.split_first() {
            *rest = behind;
            if first & 0x80 != 0 {
                let index = integer(first, 0x7f, rest)?;
                match static_table::at(index) {
                    Some(known) => field(*known),
                    None => {
                        let entry = entry(&self.table, index)?;
                        field(Decoded {
                            name: entry.name,
                            value: entry.value,
                            class: entry.note.field,
                            never_indexed: false,
                        });
                    }
                }
            } else if first & 0x40 != 0 {
                let literal = self.literal(integer(first, 0x3f, rest)?, rest)?;
                let entry = literal.of(&self.scratch);
                field(Decoded {
                    name: entry.name,
                    value: entry.value,
                    class: entry.note.field,
                    never_indexed: false,
                });
                self.table.insert(entry);
            } else if first & 0x20 != 0 {
                return Err(HpackError::LateTableSize);
            } else {
                let literal = self.literal(integer(first, 0x0f, rest)?, rest)?;
                let entry = literal.of(&self.scratch);
                field(Decoded {
                    name: entry.name,
                    value: entry.value,
                    class: entry.note.field,
                    never_indexed: first & 0x10 != 0,
                });
            }
        }
        Ok(())
    }

    /// Reads a literal whose name is at this index, or comes next if that is 0.
    #[inline]
    fn literal<'b>(&mut self, index: u32, rest: &mut &'b [u8]) -> Result<Literal<'b>, HpackError> {
        self.scratch.clear();
        let (name, class) = if index == 0 {
            let name = self.string(rest)?;
            (name, Class::of_name(name.of(&self.scratch)))
        } else if let Some(known) = static_table::at(index) {
            (Text::Block(known.name), known.class)
        } else {
            // Copied, because the entry may have to go for the one that has its name.
            let entry = entry(&self.table, index)?;
            self.scratch.extend_from_slice(entry.name);
            (Text::scratch(0, &self.scratch), entry.note.name)
        };
        let value = self.string(rest)?;
        let note = Note {
            name: class,
            field: class.with_value(value.of(&self.scratch)),
        };
        Ok(Literal { name, value, note })
    }

    /// Reads a string.
    #[inline]
    fn string<'b>(&mut self, rest: &mut &'b [u8]) -> Result<Text<'b>, HpackError> {
        let (&first, behind) = rest.split_first().ok_or(HpackError::Truncated)?;
        *rest = behind;
        let len = integer(first, 0x7f, rest)? as usize;
        let (text, behind) = rest.split_at_checked(len).ok_or(HpackError::Truncated)?;
        *rest = behind;
        if first & 0x80 == 0 {
            return Ok(Text::Block(text));
        }
        let from = self.scratch.len();
        huffman::decode(text, &mut self.scratch)?;
        Ok(Text::scratch(from, &self.scratch))
    }
}

/// The entry of the table at an index that is none of the static table's.
#[inline]
fn entry(table: &Table<Note>, index: u32) -> Result<Entry<'_, Note>, HpackError> {
    let before = index.checked_sub(static_table::LEN + 1).ok_or(HpackError::Index)?;
    table.newest(before as usize).ok_or(HpackError::Index)
}

/// A literal that was read.
struct Literal<'b> {
    name: Text<'b>,
    value: Text<'b>,
    note: Note,
}

impl<'b> Literal<'b> {
    #[inline]
    fn of<'s>(&self, scratch: &'s [u8]) -> Entry<'s, Note>
    where
        'b: 's,
    {
        Entry {
            name: self.name.of(scratch),
            value: self.value.of(scratch),
            note: self.note,
        }
    }
}

/// Where a string is.
#[derive(Clone, Copy)]
enum Text<'b> {
    /// In the block or in the static table.
    Block(&'b [u8]),
    /// In the scratch buffer, from one place to another.
    Scratch(usize, usize),
}

impl<'b> Text<'b> {
    /// What has been appended to the scratch buffer behind a place.
    #[inline]
    fn scratch(from: usize, scratch: &[u8]) -> Self {
        Self::Scratch(from, scratch.len())
    }

    #[inline]
    fn of<'s>(self, scratch: &'s [u8]) -> &'s [u8]
    where
        'b: 's,
    {
        match self {
            Self::Block(text) => text,
            Self::Scratch(from, to) => scratch.get(from..to).unwrap_or_default(),
        }
    }
}

/// Reads a number whose first bits, those of `mask`, are in a byte that has been taken.
///
/// *Source*: RFC 7541 section 5.1.
#[inline]
fn integer(first: u8, mask: u8, rest: &mut &[u8]) -> Result<u32, HpackError> {
    if first & mask < mask {
        return Ok((first & mask).into());
    }
    longer_integer(mask, rest)
}

/// Reads a number whose first bits are all set.
fn longer_integer(mask: u8, rest: &mut &[u8]) -> Result<u32, HpackError> {
    let mut number = u32::from(mask);
    // No length and no size has more than 28 bits.
    for shift in [0, 7, 14, 21] {
        let (&byte, behind) = rest.split_first().ok_or(HpackError::Truncated)?;
        *rest = behind;
        number += u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(HpackError::Integer)
}
