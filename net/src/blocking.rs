//! The same sockets for threads that wait. Every call sends what it has queued.

use crate::error::{ConnectError, TcpError, UdpError};
use crate::runtime::MAIN;
use crate::{ListenOptions, TcpListener, TcpStream, UdpSocket};
use core::net::SocketAddr;
use machine::time::Instant;

/// Waits for the next connection.
pub fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept_blocking()
}

/// Opens a connection.
pub fn connect(remote: SocketAddr, options: &ListenOptions) -> Result<TcpStream, ConnectError> {
    let stream = TcpStream::begin(remote, options)?;
    stream.runtime().block(|waker| stream.poll_connected(waker))?;
    Ok(stream)
}

/// Waits for data and reads it; 0 bytes is the end of the stream.
pub fn read(stream: &TcpStream, buffer: &mut [u8]) -> Result<usize, TcpError> {
    stream.runtime().block(|waker| stream.poll_read(waker, buffer))
}

/// Like [`read`]; `None` if nothing has come by the deadline.
pub fn read_until(
    stream: &TcpStream,
    buffer: &mut [u8],
    deadline: Instant,
) -> Option<Result<usize, TcpError>> {
    stream.runtime().block_until(deadline, |waker| stream.poll_read(waker, buffer))
}

/// Like [`write_all`]; `None` if not all could be queued by the deadline.
pub fn write_all_until(
    stream: &TcpStream,
    mut data: &[u8],
    deadline: Instant,
) -> Option<Result<(), TcpError>> {
    while !data.is_empty() {
        match stream.runtime().block_until(deadline, |waker| stream.poll_write(waker, data))? {
            Ok(count) => data = &data[count..],
            Err(error) => return Some(Err(error)),
        }
    }
    stream.runtime().flush();
    Some(Ok(()))
}

/// See [`TcpStream::read_with`].
pub fn read_with<R>(stream: &TcpStream, f: impl FnOnce(&[u8]) -> (usize, R)) -> Result<R, TcpError> {
    let mut f = Some(f);
    stream.runtime().block(|waker| stream.poll_read_with(waker, &mut f))
}

/// Waits for room and writes as much of `data` as there is room for.
pub fn write(stream: &TcpStream, data: &[u8]) -> Result<usize, TcpError> {
    let count = stream.runtime().block(|waker| stream.poll_write(waker, data));
    stream.runtime().flush();
    count
}

/// Writes all of `data`.
pub fn write_all(stream: &TcpStream, mut data: &[u8]) -> Result<(), TcpError> {
    while !data.is_empty() {
        let count = stream.runtime().block(|waker| stream.poll_write(waker, data))?;
        data = &data[count..];
    }
    stream.runtime().flush();
    Ok(())
}

/// Sends a datagram.
pub fn send_to(socket: &UdpSocket, data: &[u8], to: SocketAddr) -> Result<(), UdpError> {
    let result = MAIN.block(|waker| socket.poll_send(waker, data, to));
    MAIN.flush();
    result
}

/// Waits for a datagram. Returns its length and sender; what is longer than `buffer` is cut off.
pub fn recv_from(socket: &UdpSocket, buffer: &mut [u8]) -> (usize, SocketAddr) {
    MAIN.block(|waker| socket.poll_receive(waker, buffer))
}
