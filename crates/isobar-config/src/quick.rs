//! What document does a single command line stand for?

use std::net::SocketAddr;

use isobar_balance::Balance;

use crate::document::{Document, Label, Listener, Server, Upstream};
use crate::setting::Setting;
use crate::units::{ListenAddress, Target};

/// The document of `isobar proxy --listen ADDRESS --to SERVER,SERVER --balance ALGORITHM`: one listener called `proxy`
/// that sends everything to one upstream called `servers`.
#[must_use]
pub fn quick(listen: SocketAddr, to: &[Target], balance: Balance) -> Document {
    let mut document = Document::placeholder();
    let mut upstream = Upstream::placeholder();
    upstream.balance = balance;
    upstream.servers = to
        .iter()
        .map(|target| Server {
            address: target.clone(),
            ..Server::placeholder()
        })
        .collect();
    let name = Label::made("servers");
    let mut listener = Listener::placeholder();
    listener.name = Some(Label::made("proxy"));
    listener.address = ListenAddress(listen);
    listener.upstream = Some(name.clone());
    document.listeners = vec![listener];
    document.upstreams.0 = vec![(name, upstream)];
    document
}
