//! Is HTTP/2 spoken as well as HTTP/1, and with whomever?

mod abuse;
mod clients;
mod conformance;
mod flow;
mod load;
mod probe;
mod scripted;
mod secured;
mod servers;
mod sharing;
mod smuggling;
mod websockets;
