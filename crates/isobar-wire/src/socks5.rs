//! Where does a client of a SOCKS server want to go? Follows one client from its greeting to its answer; does not know who may
//! go where, nor how to get there.
//!
//! *Source*: RFC 1928 (SOCKS 5) and RFC 1929 (user name and password).

mod target;

use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use alloc::vec::Vec;

use crate::reader::Reader;

pub use target::Target;

const VERSION: u8 = 5;
const PASSWORD_VERSION: u8 = 1;

const NO_AUTHENTICATION: u8 = 0x00;
const PASSWORD: u8 = 0x02;
const NO_ACCEPTABLE_METHOD: u8 = 0xff;

const CONNECT: u8 = 1;

/// What clients are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Authentication {
    /// Nothing.
    None,
    /// A user name and a password, sent in the clear. RFC 1929.
    Password,
}

/// What was found at the front of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// The beginning of a message, at most [`Socks5::MAX_MESSAGE_BYTES`] long.
    Partial,
    /// The greeting; its answer has been written.
    Greeted,
    /// Who the client says it is. [`Socks5::authenticated`] or [`Socks5::denied`] comes next.
    Credentials {
        /// The name, of 1 to 255 bytes.
        username: &'a [u8],
        /// The password, of up to 255 bytes.
        password: &'a [u8],
    },
    /// Where it wants to go. [`Socks5::reply`] comes next.
    Connect(Target<'a>),
}

/// Why a client cannot be served. Its fault; the answer has been written, and the connection is closed after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Socks5Error {
    /// A version other than 5, or other than 1 for a password. There is nothing to answer.
    #[error("the client does not speak SOCKS 5")]
    BadVersion,
    /// None of the client's methods is the one asked for. RFC 1928 section 3.
    #[error("the client offers no acceptable way to authenticate")]
    NoAcceptableMethod,
    /// An empty user name. RFC 1929 section 2.
    #[error("the user name is empty")]
    EmptyUsername,
    /// `BIND`, `UDP ASSOCIATE`, or no command at all. RFC 1928 section 4.
    #[error("the client wants something other than a connection")]
    CommandNotSupported,
    /// A reserved byte that is not zero. RFC 1928 section 4.
    #[error("the request has a reserved byte that is not zero")]
    BadReserved,
    /// An address that is of no known type. RFC 1928 section 5.
    #[error("the address is of an unknown type")]
    AddressTypeNotSupported,
    /// A name that is neither a host name nor an address. RFC 1928 section 5.
    #[error("the name is not a host name")]
    BadName,
    /// The client sent on before it had an answer to wait for.
    #[error("the client did not wait for the answer")]
    OutOfTurn,
}

/// What became of a connection. RFC 1928 section 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reply {
    /// It stands; with the address of this end of it.
    Succeeded(SocketAddr),
    /// A failure of the server.
    GeneralFailure,
    /// The rules do not allow it.
    NotAllowed,
    /// The network cannot be reached.
    NetworkUnreachable,
    /// The host cannot be reached, or its name has no address.
    HostUnreachable,
    /// The host refused.
    ConnectionRefused,
    /// It took too long on the way.
    TtlExpired,
    /// The client wanted something other than a connection.
    CommandNotSupported,
    /// The address is of an unknown type.
    AddressTypeNotSupported,
}

/// Follows one client.
///
/// ```text
/// Greeting ──┬─▶ Password ──▶ Judging ──┬─▶ Request ──▶ Connecting ──▶ Done
///            └──────────────────────────┘
/// ```
#[derive(Debug, Clone)]
pub struct Socks5 {
    authentication: Authentication,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Password,
    /// The caller judges the password.
    Judging,
    Request,
    /// The caller connects.
    Connecting,
    Done,
}

impl Socks5 {
    /// Bytes of a message of a client at most: version, lengths, user name and password.
    pub const MAX_MESSAGE_BYTES: usize = 3 + 255 + 255;
    /// Bytes of an answer at most.
    pub const MAX_ANSWER_BYTES: usize = 22;

    /// A client that has sent nothing yet.
    #[must_use]
    pub const fn new(authentication: Authentication) -> Self {
        Self {
            authentication,
            stage: Stage::Greeting,
        }
    }

    /// Reads one message at the front of `input`; gives how many of its bytes are done with, and writes what is to be answered
    /// to the end of `out`. What follows is the next message, or after [`Step::Connect`] the client's data.
    ///
    /// *Cost*: O(n) with each call; no allocation where `out` has room for [`MAX_ANSWER_BYTES`](Self::MAX_ANSWER_BYTES).
    ///
    /// *Errors*: the client's fault. What `out` has is sent before the connection is closed.
    pub fn handle<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Result<(usize, Step<'a>), Socks5Error> {
        let mut reader = Reader::new(input);
        let step = match self.stage {
            Stage::Greeting => self.greeting(&mut reader, out),
            Stage::Password => self.password(&mut reader, out),
            Stage::Request => self.request(&mut reader),
            Stage::Judging | Stage::Connecting | Stage::Done if input.is_empty() => Ok(None),
            Stage::Judging | Stage::Connecting | Stage::Done => return Err(Socks5Error::OutOfTurn),
        };
        match step {
            Ok(Some(step)) => Ok((input.len() - reader.rest().len(), step)),
            Ok(None) => Ok((0, Step::Partial)),
            Err(error) => {
                if let Some(reply) = error.reply() {
                    write_reply(out, reply);
                }
                self.stage = Stage::Done;
                Err(error)
            }
        }
    }

    /// Lets the client of [`Step::Credentials`] go on.
    pub fn authenticated(&mut self, out: &mut Vec<u8>) {
        debug_assert!(self.stage == Stage::Judging, "there were no credentials");
        out.extend_from_slice(&[PASSWORD_VERSION, 0]);
        self.stage = Stage::Request;
    }

    /// Turns the client of [`Step::Credentials`] away; the connection is closed after that. RFC 1929 section 2.
    pub fn denied(&mut self, out: &mut Vec<u8>) {
        debug_assert!(self.stage == Stage::Judging, "there were no credentials");
        out.extend_from_slice(&[PASSWORD_VERSION, 1]);
        self.stage = Stage::Done;
    }

    /// Tells the client of [`Step::Connect`] what became of it. Unless it is [`Reply::Succeeded`] the connection is closed
    /// after that.
    pub fn reply(&mut self, reply: Reply, out: &mut Vec<u8>) {
        debug_assert!(self.stage == Stage::Connecting, "there was no request");
        write_reply(out, reply);
        self.stage = Stage::Done;
    }

    fn greeting<'a>(&mut self, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<Option<Step<'a>>, Socks5Error> {
        let Some(version) = reader.u8() else { return Ok(None) };
        if version != VERSION {
            return Err(Socks5Error::BadVersion);
        }
        let Some(methods) = reader.prefixed_u8() else {
            return Ok(None);
        };
        let (method, next) = match self.authentication {
            Authentication::None => (NO_AUTHENTICATION, Stage::Request),
            Authentication::Password => (PASSWORD, Stage::Password),
        };
        if !methods.contains(&method) {
            out.extend_from_slice(&[VERSION, NO_ACCEPTABLE_METHOD]);
            return Err(Socks5Error::NoAcceptableMethod);
        }
        out.extend_from_slice(&[VERSION, method]);
        self.stage = next;
        Ok(Some(Step::Greeted))
    }

    fn password<'a>(&mut self, reader: &mut Reader<'a>, out: &mut Vec<u8>) -> Result<Option<Step<'a>>, Socks5Error> {
        let Some(version) = reader.u8() else { return Ok(None) };
        if version != PASSWORD_VERSION {
            return Err(Socks5Error::BadVersion);
        }
        let Some(username) = reader.prefixed_u8() else {
            return Ok(None);
        };
        if username.is_empty() {
            out.extend_from_slice(&[PASSWORD_VERSION, 1]);
            return Err(Socks5Error::EmptyUsername);
        }
        let Some(password) = reader.prefixed_u8() else {
            return Ok(None);
        };
        self.stage = Stage::Judging;
        Ok(Some(Step::Credentials { username, password }))
    }

    fn request<'a>(&mut self, reader: &mut Reader<'a>) -> Result<Option<Step<'a>>, Socks5Error> {
        let Some(version) = reader.u8() else { return Ok(None) };
        if version != VERSION {
            return Err(Socks5Error::BadVersion);
        }
        let Some(command) = reader.u8() else { return Ok(None) };
        if command != CONNECT {
            return Err(Socks5Error::CommandNotSupported);
        }
        let Some(reserved) = reader.u8() else { return Ok(None) };
        if reserved != 0 {
            return Err(Socks5Error::BadReserved);
        }
        let Some(target) = target::read(reader)? else {
            return Ok(None);
        };
        self.stage = Stage::Connecting;
        Ok(Some(Step::Connect(target)))
    }
}

impl Socks5Error {
    /// What a request with this error is answered; none where it is not the request that is wrong.
    const fn reply(self) -> Option<Reply> {
        match self {
            Self::CommandNotSupported => Some(Reply::CommandNotSupported),
            Self::AddressTypeNotSupported => Some(Reply::AddressTypeNotSupported),
            Self::BadReserved | Self::BadName => Some(Reply::GeneralFailure),
            Self::BadVersion | Self::NoAcceptableMethod | Self::EmptyUsername | Self::OutOfTurn => None,
        }
    }
}

impl Reply {
    /// Its number in an answer.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Succeeded(_) => 0,
            Self::GeneralFailure => 1,
            Self::NotAllowed => 2,
            Self::NetworkUnreachable => 3,
            Self::HostUnreachable => 4,
            Self::ConnectionRefused => 5,
            Self::TtlExpired => 6,
            Self::CommandNotSupported => 7,
            Self::AddressTypeNotSupported => 8,
        }
    }
}

fn write_reply(out: &mut Vec<u8>, reply: Reply) {
    const NO_ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    out.extend_from_slice(&[VERSION, reply.code(), 0]);
    let bound = match reply {
        Reply::Succeeded(bound) => bound,
        _ => NO_ADDRESS,
    };
    target::write_address(out, bound);
}
