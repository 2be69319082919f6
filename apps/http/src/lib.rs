//! An HTTP/1.1 server of [files](Site) and [live resources](Live), for applications and the system itself.
//!
//! [`Connection`] is the server without a socket: it takes bytes as they arrive and adds answers to an [`Output`]. It is
//! tested on the host. [`serve()`] moves bytes between it and the sockets.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod body;
mod conditions;
mod connection;
mod date;
mod mime;
mod path;
mod request;
mod response;
mod serve;
mod server;
mod site;

pub use connection::Connection;
pub use date::Date;
pub use response::Output;
pub use serve::{Limits, RECEIVE_BUFFER, serve};
pub use server::{Live, Make, Server};
pub use site::Site;

#[cfg(test)]
mod tests;
