//! TCP for tasks.

use crate::error::{BindError, ConnectError, TcpError};
use crate::runtime::{Network, Runtime};
use crate::stack::Id;
use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::{Poll, Waker};
use core::time::Duration;

/// What connections are made of, and how many wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// How many handshakes may be under way, and how many connections wait to be accepted. At least 1.
    pub backlog: usize,
    /// Bytes of received data held for each connection; the window offered to the peer. 1 KiB to 64 MiB.
    pub receive_buffer: usize,
    /// Bytes held for each connection until the peer has acknowledged them. 1 KiB to 64 MiB.
    pub send_buffer: usize,
    /// Asks an idle peer so often whether it is there; one that stays silent four times is given up.
    pub keep_alive: Option<Duration>,
    /// Sends small pieces at once, even while others are on the way (no Nagle algorithm, RFC 9293, 3.7.4).
    pub no_delay: bool,
    /// The network to listen on, or to connect from.
    pub network: Network,
}

impl Default for ListenOptions {
    /// 256 waiting, 16 KiB each way, no keep-alive, no delay, on the main network.
    fn default() -> Self {
        Self {
            backlog: 256,
            receive_buffer: 16 << 10,
            send_buffer: 16 << 10,
            keep_alive: None,
            no_delay: true,
            network: Network::Main,
        }
    }
}

/// Accepts connections on one port, on every address of one network. Dropped, it listens no more.
#[derive(Debug)]
pub struct TcpListener {
    port: u16,
    runtime: &'static Runtime,
}

impl TcpListener {
    /// Listens on a port.
    pub fn bind(port: u16, options: ListenOptions) -> Result<Self, BindError> {
        let runtime = options.network.runtime();
        runtime.with_stack(|stack, _| stack.listen(port, options)).ok_or(BindError::NotStarted)??;
        Ok(Self { port, runtime })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for the next connection.
    pub async fn accept(&self) -> TcpStream {
        poll_fn(|context| self.poll_accept(context.waker())).await
    }

    /// Waits, with the whole thread, for the next connection.
    pub fn accept_blocking(&self) -> TcpStream {
        self.runtime.block(|waker| self.poll_accept(waker))
    }

    fn poll_accept(&self, waker: &Waker) -> Poll<TcpStream> {
        let runtime = self.runtime;
        runtime
            .with_stack(|stack, _| stack.accept(self.port, waker))
            .unwrap_or(Poll::Pending)
            .map(|id| TcpStream { id, runtime })
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        self.runtime.with_stack(|stack, _| stack.unlisten(self.port));
    }
}

/// A TCP connection. What is written is queued; [`flush`](crate::flush) sends it, which the task executor calls before it
/// sleeps. One task may wait to read and one to write.
///
/// Dropped, it sends what is queued and its FIN; data that still comes is thrown away.
#[derive(Debug)]
pub struct TcpStream {
    id: Id,
    runtime: &'static Runtime,
}

impl TcpStream {
    /// Opens a connection, with the default [`ListenOptions`].
    pub async fn connect(remote: SocketAddr) -> Result<Self, ConnectError> {
        Self::connect_with(remote, &ListenOptions::default()).await
    }

    /// Opens a connection. The backlog does not matter.
    pub async fn connect_with(remote: SocketAddr, options: &ListenOptions) -> Result<Self, ConnectError> {
        let stream = Self::begin(remote, options)?;
        poll_fn(|context| stream.poll_connected(context.waker())).await?;
        Ok(stream)
    }

    pub(crate) fn begin(remote: SocketAddr, options: &ListenOptions) -> Result<Self, ConnectError> {
        let runtime = options.network.runtime();
        let id = runtime
            .with_stack(|stack, now| stack.connect(now, remote, options))
            .ok_or(ConnectError::NotStarted)??;
        runtime.flush();
        Ok(Self { id, runtime })
    }

    /// What it runs on.
    pub(crate) fn runtime(&self) -> &'static Runtime {
        self.runtime
    }

    pub(crate) fn poll_connected(&self, waker: &Waker) -> Poll<Result<(), ConnectError>> {
        self.runtime
            .with_stack(|stack, _| stack.connected(self.id, waker))
            .unwrap_or(Poll::Ready(Err(ConnectError::NotStarted)))
    }

    /// Waits for data and reads it; 0 bytes is the end of the stream.
    pub async fn read(&self, buffer: &mut [u8]) -> Result<usize, TcpError> {
        poll_fn(|context| self.poll_read(context.waker(), buffer)).await
    }

    pub(crate) fn poll_read(&self, waker: &Waker, buffer: &mut [u8]) -> Poll<Result<usize, TcpError>> {
        self.runtime
            .with_stack(|stack, _| stack.read(self.id, waker, buffer))
            .unwrap_or(Poll::Ready(Err(TcpError::Reset)))
    }

    /// Waits for data and lets `f` look at it where it lies: as far as it is in one piece. `f` returns how many bytes are
    /// done with, and a result. An empty slice is the end of the stream.
    ///
    /// What `f` leaves is offered again at once, not only when there is more: copy the beginning of something longer.
    /// `f` runs under the network's lock. It must not call into this crate, nor wait.
    pub async fn read_with<R>(&self, f: impl FnOnce(&[u8]) -> (usize, R)) -> Result<R, TcpError> {
        let mut f = Some(f);
        poll_fn(|context| self.poll_read_with(context.waker(), &mut f)).await
    }

    pub(crate) fn poll_read_with<R>(
        &self,
        waker: &Waker,
        f: &mut Option<impl FnOnce(&[u8]) -> (usize, R)>,
    ) -> Poll<Result<R, TcpError>> {
        self.runtime
            .with_stack(|stack, _| stack.read_with(self.id, waker, f))
            .unwrap_or(Poll::Ready(Err(TcpError::Reset)))
    }

    /// Waits for room and queues as much of `data` as there is room for.
    pub async fn write(&self, data: &[u8]) -> Result<usize, TcpError> {
        poll_fn(|context| self.poll_write(context.waker(), data)).await
    }

    pub(crate) fn poll_write(&self, waker: &Waker, data: &[u8]) -> Poll<Result<usize, TcpError>> {
        let result = self.runtime.with_stack(|stack, _| stack.write(self.id, Some(waker), data));
        if let Some(Poll::Pending) = result {
            // Full: what is queued has to leave before there is room, however long other tasks go on.
            self.runtime.flush();
        }
        result.unwrap_or(Poll::Ready(Err(TcpError::Reset)))
    }

    /// Queues all of `data`, waiting for room as often as it takes.
    pub async fn write_all(&self, mut data: &[u8]) -> Result<(), TcpError> {
        while !data.is_empty() {
            let count = self.write(data).await?;
            data = &data[count..];
        }
        Ok(())
    }

    /// Queues as much of `data` as there is room for now; 0 also where the connection is over.
    pub fn try_write(&self, data: &[u8]) -> usize {
        match self.runtime.with_stack(|stack, _| stack.write(self.id, None, data)) {
            Some(Poll::Ready(Ok(count))) => count,
            _ => 0,
        }
    }

    /// Room for [`try_write`](Self::try_write), in bytes.
    pub fn writable(&self) -> usize {
        self.runtime.with_stack(|stack, _| stack.writable(self.id)).unwrap_or(0)
    }

    /// Whether the peer has ended the stream and all of it is read, or the connection is over.
    pub fn is_closed(&self) -> bool {
        let mut look = Some(|data: &[u8]| (0, data.is_empty()));
        !matches!(self.poll_read_with(Waker::noop(), &mut look), Poll::Pending | Poll::Ready(Ok(false)))
    }

    /// Ends our half of the stream, after what is queued.
    pub fn shutdown(&self) {
        self.runtime.with_stack(|stack, _| stack.shutdown(self.id));
    }

    /// Resets the connection; what is queued is lost.
    pub fn abort(&self) {
        self.runtime.with_stack(|stack, _| stack.abort(self.id));
    }

    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.ends().1
    }

    /// This end.
    pub fn local(&self) -> SocketAddr {
        self.ends().0
    }

    fn ends(&self) -> (SocketAddr, SocketAddr) {
        self.runtime
            .with_stack(|stack, _| stack.ends(self.id))
            .flatten()
            .expect("a stream's connection lives as long as it")
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        self.runtime.with_stack(|stack, now| stack.release(self.id, now));
    }
}
