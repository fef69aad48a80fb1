//! Who looks up the names that clients of forward proxies ask for, and compares their passwords?
//!
//! Both happen on the control plane's threads, so that no worker waits for a name service or for a hash that is slow on purpose.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use isobar_control::{DnsClient, Unknown};
use isobar_engine::{Attempt, Background, Found, LookupError, Question};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Passwords that are compared at the same time: each takes a core for as long as its hash wants.
const MAX_COMPARED: usize = 2;

/// Sets of name servers that are remembered; a configuration has a few.
const MAX_CLIENTS: usize = 64;

/// The control plane, as forward proxies see it.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    handle: Handle,
    /// By the servers they ask; nobody: whom the system asks.
    clients: Mutex<HashMap<Box<[SocketAddr]>, Arc<DnsClient>>>,
    compared: Arc<Semaphore>,
}

impl ControlPlane {
    /// Works on this runtime.
    pub(crate) fn new(handle: Handle) -> Self {
        Self {
            handle,
            clients: Mutex::default(),
            compared: Arc::new(Semaphore::new(MAX_COMPARED)),
        }
    }

    fn client(&self, servers: &[SocketAddr]) -> Arc<DnsClient> {
        // Every change is complete before anything that can panic.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(servers) {
            return Arc::clone(client);
        }
        if clients.len() == MAX_CLIENTS {
            // What is in use comes back with its next question.
            clients.clear();
        }
        let client = Arc::new(match servers {
            [] => DnsClient::system(),
            servers => DnsClient::servers(servers.to_vec()),
        });
        clients.insert(servers.into(), Arc::clone(&client));
        client
    }
}

impl Background for ControlPlane {
    fn look_up(&self, question: Question) {
        let client = self.client(question.servers());
        self.handle.spawn(async move {
            let found = client.addresses(question.name()).await;
            question.answer(match found {
                Ok((addresses, ttl)) => Ok(Found { addresses, ttl }),
                Err(Unknown::NoAddress(why)) => Err(LookupError::NoAddress(why)),
                Err(Unknown::Failed(why)) => Err(LookupError::Failed(why)),
            });
        });
    }

    fn verify(&self, attempt: Attempt) {
        let compared = Arc::clone(&self.compared);
        self.handle.spawn(async move {
            // Closed never; and who asked may have left while others had their turn.
            let Ok(_turn) = compared.acquire().await else { return };
            if attempt.told.is_closed() {
                return;
            }
            let Attempt { password, hash, told } = attempt;
            let compare = move || {
                let hash = String::from_utf8_lossy(&hash.0);
                bcrypt::verify(&password.0, &hash).unwrap_or(false)
            };
            // One that panicked says nothing, and then nobody knows.
            if let Ok(is_same) = tokio::task::spawn_blocking(compare).await {
                let _ = told.send(is_same);
            }
        });
    }
}
