//! TCP connections from the application's side.

use super::connection::{Id, Owner};
use super::egress::mark_dirty;
use super::{Stack, remember};
use crate::error::{ConnectError, TcpError};
use crate::flow::FlowKey;
use crate::tcp::ListenOptions;
use core::net::SocketAddr;
use core::task::{Poll, Waker};
use smoltcp::socket::tcp::{RecvError, State};
use smoltcp::time::Duration;
use smoltcp::wire::IpAddress;

/// How long opening a connection may take, in nanoseconds.
const CONNECT: u64 = 30_000_000_000;
/// How long a connection may take to end after its stream is gone, in nanoseconds.
const LINGER: u64 = 600_000_000_000;
/// How long the peer may be silent meanwhile.
const LINGER_SILENCE: Duration = Duration::from_secs(60);
/// The ports connections are opened from (RFC 6335, 6).
const FIRST_EPHEMERAL: u16 = 49152;
const PORT_ATTEMPTS: usize = 64;

impl Stack {
    /// Begins to open a connection; [`connected`](Self::connected) tells how it ends.
    pub(crate) fn connect(
        &mut self,
        now: u64,
        remote: SocketAddr,
        options: &ListenOptions,
    ) -> Result<Id, ConnectError> {
        let destination = IpAddress::from(remote.ip());
        if remote.port() == 0 || !destination.is_unicast() {
            return Err(ConnectError::Unaddressable);
        }
        let source = self.interface.get_source_address(&destination).ok_or(ConnectError::Unaddressable)?;
        let flow = (0..PORT_ATTEMPTS)
            .map(|_| FIRST_EPHEMERAL | self.random_u32() as u16)
            .map(|port| FlowKey::new(remote, SocketAddr::new(source.into(), port)))
            .find(|flow| !self.flows.contains_key(flow) && !self.listeners.contains_key(&flow.local_port()))
            .ok_or(ConnectError::NoPort)?;
        let mut allocated = self.allocate(options).ok_or(ConnectError::OutOfMemory)?;
        allocated
            .socket_mut()
            .connect(self.interface.context(), remote, flow.local())
            .map_err(|_| ConnectError::Unaddressable)?;
        let id = self.enter(allocated, flow, Owner::Stream, now).ok_or(ConnectError::OutOfMemory)?;
        let connection = self.connections.lookup(id).ok_or(ConnectError::OutOfMemory)?;
        connection.limit = Some(now + CONNECT);
        mark_dirty(connection, &mut self.dirty);
        Ok(id)
    }

    /// Whether the connection is open by now.
    pub(crate) fn connected(&mut self, id: Id, waker: &Waker) -> Poll<Result<(), ConnectError>> {
        let Some(connection) = self.connections.lookup(id) else {
            return Poll::Ready(Err(ConnectError::Refused));
        };
        match connection.socket().state() {
            State::SynSent | State::SynReceived => {
                remember(&mut connection.write_waker, waker);
                Poll::Pending
            }
            State::Closed if connection.failure.is_some() => Poll::Ready(Err(ConnectError::TimedOut)),
            State::Closed => Poll::Ready(Err(ConnectError::Refused)),
            _ => {
                connection.limit = None;
                self.output.statistics.connected += 1;
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Reads into `buffer`; 0 is the end of the stream.
    pub(crate) fn read(&mut self, id: Id, waker: &Waker, buffer: &mut [u8]) -> Poll<Result<usize, TcpError>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let Some(connection) = self.connections.lookup(id) else {
            return Poll::Ready(Err(TcpError::Reset));
        };
        let waiting = connection.socket().recv_queue();
        match connection.socket_mut().recv_slice(buffer) {
            Ok(0) => {
                remember(&mut connection.read_waker, waker);
                Poll::Pending
            }
            Ok(count) => {
                self.opened(id, waiting);
                Poll::Ready(Ok(count))
            }
            Err(error) => self.read_end(id, error).map_ok(|()| 0),
        }
    }

    /// Lets `f` look at what has come, as far as it lies in one piece, and takes off what `f` says; an empty slice is the
    /// end of the stream. `f` is taken when called.
    pub(crate) fn read_with<R>(
        &mut self,
        id: Id,
        waker: &Waker,
        f: &mut Option<impl FnOnce(&[u8]) -> (usize, R)>,
    ) -> Poll<Result<R, TcpError>> {
        let Some(connection) = self.connections.lookup(id) else {
            return Poll::Ready(Err(TcpError::Reset));
        };
        let waiting = connection.socket().recv_queue();
        if waiting == 0 && connection.socket().may_recv() {
            remember(&mut connection.read_waker, waker);
            return Poll::Pending;
        }
        let f = f.take().expect("polled once more after it was ready");
        if waiting == 0 {
            return match self.read_end(id, RecvError::InvalidState) {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(f(&[]).1)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            };
        }
        let result = connection.socket_mut().recv(|data| {
            let (consumed, result) = f(data);
            (consumed.min(data.len()), result)
        });
        self.opened(id, waiting);
        Poll::Ready(result.map_err(|_| TcpError::Reset))
    }

    /// After data was taken: `waiting` bytes lay there before.
    fn opened(&mut self, id: Id, waiting: usize) {
        let Some(connection) = self.connections.lookup(id) else { return };
        // Only a buffer that was half full can have shrunk the window so far that the peer must hear of the new one.
        if waiting >= connection.socket().recv_capacity() / 2 {
            mark_dirty(connection, &mut self.dirty);
        }
    }

    fn read_end(&mut self, id: Id, error: RecvError) -> Poll<Result<(), TcpError>> {
        let connection = self.connections.lookup(id);
        Poll::Ready(match connection {
            Some(connection) if connection.finished || error == RecvError::Finished => Ok(()),
            Some(connection) => Err(connection.failure.unwrap_or(TcpError::Reset)),
            None => Err(TcpError::Reset),
        })
    }

    /// Queues as much of `data` as there is room for, and at least one byte. Waits if there is a waker.
    pub(crate) fn write(
        &mut self,
        id: Id,
        waker: Option<&Waker>,
        data: &[u8],
    ) -> Poll<Result<usize, TcpError>> {
        let Some(connection) = self.connections.lookup(id) else {
            return Poll::Ready(Err(TcpError::Reset));
        };
        match connection.socket_mut().send_slice(data) {
            Ok(0) if !data.is_empty() => {
                if let Some(waker) = waker {
                    remember(&mut connection.write_waker, waker);
                }
                Poll::Pending
            }
            Ok(count) => {
                mark_dirty(connection, &mut self.dirty);
                Poll::Ready(Ok(count))
            }
            Err(_) if connection.socket().state() == State::Closed => {
                Poll::Ready(Err(connection.failure.unwrap_or(TcpError::Reset)))
            }
            Err(_) => Poll::Ready(Err(TcpError::Closed)),
        }
    }

    /// Room for data to be written, in bytes.
    pub(crate) fn writable(&mut self, id: Id) -> usize {
        let socket = self.connections.lookup(id).map(|connection| connection.socket());
        socket
            .filter(|socket| socket.may_send())
            .map_or(0, |socket| socket.send_capacity() - socket.send_queue())
    }

    /// Sends a FIN after what is queued.
    pub(crate) fn shutdown(&mut self, id: Id) {
        if let Some(connection) = self.connections.lookup(id) {
            connection.socket_mut().close();
            mark_dirty(connection, &mut self.dirty);
        }
    }

    /// Resets the connection.
    pub(crate) fn abort(&mut self, id: Id) {
        if let Some(connection) = self.connections.lookup(id) {
            connection.socket_mut().abort();
            connection.finished = false;
            Self::wake(&mut self.wakers, connection.read_waker.take());
            Self::wake(&mut self.wakers, connection.write_waker.take());
            mark_dirty(connection, &mut self.dirty);
        }
    }

    /// The application lets go: what is queued is still sent, then the connection ends by itself.
    pub(crate) fn release(&mut self, id: Id, now: u64) {
        let Some(connection) = self.connections.lookup(id) else { return };
        connection.owner = Owner::Orphan;
        connection.read_waker = None;
        connection.write_waker = None;
        if connection.is_over() || !connection.mapped {
            return self.remove(id);
        }
        let socket = connection.socket_mut();
        while matches!(socket.recv(|data| (data.len(), data.len())), Ok(1..)) {}
        socket.close();
        socket.set_timeout(Some(LINGER_SILENCE));
        if socket.state() == State::Closed && socket.remote_endpoint().is_none() {
            return self.remove(id);
        }
        connection.limit = Some(now + LINGER);
        self.timers.schedule(connection);
        mark_dirty(connection, &mut self.dirty);
    }

    /// Both ends of a connection: ours, the peer's.
    pub(crate) fn ends(&mut self, id: Id) -> Option<(SocketAddr, SocketAddr)> {
        self.connections.lookup(id).map(|connection| (connection.flow.local(), connection.flow.remote()))
    }
}
