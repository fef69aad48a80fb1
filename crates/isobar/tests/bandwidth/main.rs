//! Do the bytes of a customer go as fast as they may, and no faster?

mod connections;
mod downloads;
mod kit;
mod life;
mod quota;
mod uploads;
