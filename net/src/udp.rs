//! UDP for tasks.

use crate::error::{BindError, UdpError};
use crate::runtime::MAIN;
use crate::stack::UdpId;
use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::{Poll, Waker};

/// A UDP port, on every address of the main network. One task may wait to receive and one to send.
#[derive(Debug)]
pub struct UdpSocket {
    id: UdpId,
}

impl UdpSocket {
    /// Takes a port; 0 takes any that is free.
    pub fn bind(port: u16) -> Result<Self, BindError> {
        let id = MAIN.with_stack(|stack, _| stack.udp_bind(port)).ok_or(BindError::NotStarted)??;
        Ok(Self { id })
    }

    /// Queues a datagram, waiting for room. [`flush`](crate::flush) sends it.
    pub async fn send_to(&self, data: &[u8], to: SocketAddr) -> Result<(), UdpError> {
        poll_fn(|context| self.poll_send(context.waker(), data, to)).await
    }

    pub(crate) fn poll_send(&self, waker: &Waker, data: &[u8], to: SocketAddr) -> Poll<Result<(), UdpError>> {
        MAIN.with_stack(|stack, _| stack.udp_send(self.id, waker, data, to))
            .unwrap_or(Poll::Ready(Err(UdpError::Unaddressable)))
    }

    /// Waits for a datagram. Returns its length and sender; what is longer than `buffer` is cut off.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> (usize, SocketAddr) {
        poll_fn(|context| self.poll_receive(context.waker(), buffer)).await
    }

    pub(crate) fn poll_receive(&self, waker: &Waker, buffer: &mut [u8]) -> Poll<(usize, SocketAddr)> {
        MAIN.with_stack(|stack, _| stack.udp_receive(self.id, waker, buffer)).unwrap_or(Poll::Pending)
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        MAIN.with_stack(|stack, _| stack.udp_close(self.id));
    }
}
