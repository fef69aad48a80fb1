//! How do bytes and time reach a worker?
//!
//! Sockets, timers, buffers and pipes of one worker thread, all driven by that thread's own tokio `LocalRuntime`. Nothing
//! here is shared between threads. This crate knows addresses, bytes and instants; it knows no protocol, no plan and no
//! policy: what the bytes mean, who may connect and when a peer is too slow is decided by its users.
//!
//! Linux only: `accept4`, `SO_REUSEPORT`, `splice` and edge-triggered epoll are taken for granted; io_uring is used where it
//! is allowed and asked for.

pub mod keepalive;
mod kernel;
pub mod limits;
pub mod listen;
mod ring;
pub mod runtime;
pub mod scratch;
pub mod splice;
pub mod stream;
pub mod tls;
pub mod udp;
pub mod wheel;
