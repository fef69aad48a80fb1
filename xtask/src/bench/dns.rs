//! What is asked over UDP, and what is behind the measured proxies there?
//!
//! One question, and the cheapest server that a load balancer of DNS takes for one: it sends each question back as an answer without
//! records. It trusts its clients and must never see a network.

use std::io;
use std::net::UdpSocket;

use anyhow::{Result, ensure};

/// The address of n1.example.: a number, that recursion is wanted, and how many records of each kind there are, then the question.
pub(super) const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x02n1\x07example\0\0\x01\0\x01";

/// Where it is said that it is an answer: RFC 1035 section 4.1.1.
const FLAGS: usize = 2;
const IS_ANSWER: u8 = 0x80;

/// Answers until it is killed.
pub(super) fn run(socket: &UdpSocket) -> io::Result<()> {
    let mut datagram = [0; 2048];
    loop {
        let (count, from) = socket.recv_from(&mut datagram)?;
        if let Some(flags) = datagram.get_mut(FLAGS) {
            *flags |= IS_ANSWER;
        }
        // Whoever is gone needs no answer.
        let _ = socket.send_to(&datagram[..count], from);
    }
}

/// Whether it is the answer to the question.
pub(super) fn check(answer: &[u8]) -> Result<()> {
    let mut expected = QUESTION.to_vec();
    expected[FLAGS] |= IS_ANSWER;
    ensure!(answer == expected, "an answer is not that to the question");
    Ok(())
}
