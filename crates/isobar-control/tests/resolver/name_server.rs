//! A name server on loopback that says what a test tells it to, and counts who asks.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::sync::Notify;

/// What it says of one name.
#[derive(Clone)]
pub(crate) enum Zone {
    Addresses {
        addresses: Vec<IpAddr>,
        ttl_s: u32,
    },
    Alias {
        to: &'static str,
        ttl_s: u32,
        address: &'static str,
    },
    NoSuchName,
    ServerFailure,
    Silent,
}

impl Zone {
    pub(crate) fn addresses(addresses: &[&str], ttl_s: u32) -> Self {
        Self::Addresses {
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            ttl_s,
        }
    }
}

#[derive(Default)]
struct Shared {
    zones: Mutex<HashMap<String, Zone>>,
    asked: Mutex<HashMap<String, usize>>,
    news: Notify,
}

pub(crate) struct NameServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl NameServer {
    /// Answers on a free port for as long as the process lives.
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (address, shared) = (socket.local_addr().unwrap(), Arc::new(Shared::default()));
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || serve(&socket, &serving));
        Self { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn answer(&self, name: &str, zone: Zone) {
        self.shared.zones.lock().unwrap().insert(name.to_owned(), zone);
    }

    /// How many questions came for a name; a look-up of both families asks two.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.shared.asked.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    pub(crate) async fn until_asked(&self, name: &str, times: usize) {
        let wait = async {
            while self.asked(name) < times {
                self.shared.news.notified().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(
            in_time.is_ok(),
            "{name} asked for {} of {times} times",
            self.asked(name)
        );
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0; 2048];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        let Ok(request) = Message::from_vec(&buffer[..length]) else {
            continue;
        };
        let name = request.queries[0].name().to_ascii().to_lowercase();
        let zone = shared
            .zones
            .lock()
            .unwrap()
            .get(&name)
            .cloned()
            .unwrap_or(Zone::NoSuchName);
        // Whoever has an answer finds its question counted.
        *shared.asked.lock().unwrap().entry(name).or_default() += 1;
        shared.news.notify_one();
        if let Some(response) = respond(request, &zone) {
            socket.send_to(&response.to_vec().unwrap(), client).unwrap();
        }
    }
}

fn respond(request: Message, zone: &Zone) -> Option<Message> {
    let query = request.queries[0].clone();
    let mut response = request.into_response();
    let of_kind = |address: &IpAddr| matches!(query.query_type(), RecordType::A) == address.is_ipv4();
    let record = |name: &Name, address: IpAddr, ttl_s| Record::from_rdata(name.clone(), ttl_s, RData::from(address));
    match zone {
        Zone::Addresses { addresses, ttl_s } => {
            response.add_answers(
                addresses
                    .iter()
                    .filter(|a| of_kind(a))
                    .map(|&a| record(query.name(), a, *ttl_s)),
            );
        }
        Zone::Alias { to, ttl_s, address } => {
            let (to, address): (Name, IpAddr) = (to.parse().unwrap(), address.parse().unwrap());
            response.add_answer(Record::from_rdata(
                query.name().clone(),
                *ttl_s,
                RData::CNAME(CNAME(to.clone())),
            ));
            response.add_answers(Some(address).filter(of_kind).map(|a| record(&to, a, 3600)));
        }
        Zone::NoSuchName => response.metadata.response_code = ResponseCode::NXDomain,
        Zone::ServerFailure => response.metadata.response_code = ResponseCode::ServFail,
        Zone::Silent => return None,
    }
    Some(response)
}
