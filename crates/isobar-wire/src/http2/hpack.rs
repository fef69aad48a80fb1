//! What are the fields of a message that came as a header block, and what is the block of a message that goes out?
//!
//! The header compression of HTTP/2 as two machines over bytes, one for either direction of a connection: [`Decoder`] and
//! [`Encoder`]. They know no frames: a block is given and taken whole. Either has a table that its peer keeps as well, so what is
//! decoded or encoded has to be so in the order in which it is on the connection, and an error is one of the connection.
//!
//! *Source*: RFC 7541.

mod class;
mod decoder;
mod encoder;
mod huffman;
mod seen;
mod static_table;
mod table;

pub use class::Class;
pub use decoder::{Decoder, HpackError};
pub use encoder::Encoder;

/// Bytes that an entry of a table is counted for besides its name and its value.
///
/// *Source*: RFC 7541 section 4.1.
const ENTRY_OVERHEAD: u32 = 32;

/// Bytes of the tables before anything is said of them.
///
/// *Source*: RFC 9113 section 6.5.2.
const USUAL_TABLE: u32 = 4_096;

/// A field of a header block.
#[derive(Debug, Clone, Copy)]
pub struct Decoded<'a> {
    /// Its name, as the peer wrote it: in lower case, unless the class is [`Class::Malformed`].
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// What it is to whoever translates messages.
    pub class: Class,
    /// Whether its sender wants it in nobody's table: whoever passes it on has to say so too (RFC 7541 section 6.2.3).
    pub never_indexed: bool,
}

#[cfg(test)]
mod tests;
