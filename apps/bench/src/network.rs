//! The network: against a peer that serves echo, discard and chargen, such as another machine with `stream`. This system has no
//! loopback, so there is no measuring without one.

use crate::context::{Context, Failure};
use crate::sampler::Sampler;
use alloc::vec::Vec;
use app::task::timeout;
use app::thread::block_on;
use app::{ListenOptions, TcpStream, UdpSocket, flush};
use core::net::SocketAddr;
use core::time::Duration;
use machine::cpu::tsc;

/// How long a peer may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a datagram, and of a message of the TCP round trip.
const MESSAGE: usize = 64;
/// Bytes of a sample of a stream.
const STREAM: usize = 1 << 20;
/// The same in a quick run.
const QUICK: usize = 64 << 10;
/// Bytes of a connection's buffers, each way.
const BUFFER: usize = 256 << 10;

/// The peer's services: their ports lie as RFC 862, 863 and 864 have them, wherever echo is.
#[derive(Clone, Copy)]
enum Service {
    Echo = 0,
    Discard = 2,
    Chargen = 12,
}

fn peer(context: &Context, service: Service) -> Result<SocketAddr, Failure> {
    let echo = context.peer.ok_or(Failure::NoPeer)?.map_err(Failure::BadPeer)?;
    let port = echo.port().checked_add(service as u16);
    Ok(SocketAddr::new(echo.ip(), port.ok_or(Failure::Peer("its ports end before chargen's"))?))
}

/// Waits for a future, no longer than is reasonable.
fn wait<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    block_on(timeout(PATIENCE, future)).unwrap_or(Err(Failure::Peer("no answer")))
}

fn open(context: &Context, service: Service) -> Result<TcpStream, Failure> {
    let to = peer(context, service)?;
    let options = ListenOptions { receive_buffer: BUFFER, send_buffer: BUFFER, ..ListenOptions::default() };
    let refused = |_| Failure::Peer("no connection");
    wait(async move { TcpStream::connect_with(to, &options).await.map_err(refused) })
}

/// A datagram there and back.
pub fn udp(context: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let to = peer(context, Service::Echo)?;
    let socket = UdpSocket::bind(0).map_err(|_| Failure::Peer("no port to send from"))?;
    let mut number = 0u64;
    sampler.time(|| {
        number += 1;
        let mut message = [0; MESSAGE];
        message[..8].copy_from_slice(&number.to_le_bytes());
        wait(async {
            socket.send_to(&message, to).await?;
            flush();
            let mut answer = [0; MESSAGE];
            let (length, _) = socket.recv_from(&mut answer).await;
            if answer[..length] == message { Ok(()) } else { Err(Failure::Peer("another answer")) }
        })
    })
}

/// A message there and back on a connection that is open.
pub fn tcp(context: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let stream = open(context, Service::Echo)?;
    sampler.time(|| {
        wait(async {
            stream.write_all(&[b'x'; MESSAGE]).await?;
            flush();
            let (mut answer, mut length) = ([0; MESSAGE], 0);
            while length < MESSAGE {
                match stream.read(&mut answer[length..]).await? {
                    0 => return Err(Failure::Peer("it hung up")),
                    count => length += count,
                }
            }
            if answer == [b'x'; MESSAGE] { Ok(()) } else { Err(Failure::Peer("another answer")) }
        })
    })
}

/// A connection, from asking for it until it is there. Closing it is not measured.
pub fn connect(context: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    while sampler.wants() {
        let start = tsc();
        let stream = open(context, Service::Echo)?;
        sampler.push(tsc() - start);
        stream.abort();
    }
    Ok(())
}

fn sample(context: &Context) -> usize {
    if context.quick { QUICK } else { STREAM }
}

/// A stream to the peer's discard. The buffers make the first samples too good: they warm up.
pub fn send(context: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let stream = open(context, Service::Discard)?;
    let mut data = Vec::new();
    data.try_reserve_exact(sample(context))?;
    data.resize(sample(context), b'x');
    let send = || wait(async { Ok(stream.write_all(&data).await?) });
    for _ in 0..2 * BUFFER / data.len() {
        send()?;
    }
    sampler.rates(data.len() as u64, send)
}

/// A stream from the peer's chargen.
pub fn receive(context: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let stream = open(context, Service::Chargen)?;
    let wanted = sample(context);
    let receive = || {
        let mut received = 0;
        while received < wanted {
            let take = |input: &[u8]| {
                let count = input.len().min(wanted - received);
                (count, count)
            };
            match wait(async { Ok(stream.read_with(take).await?) })? {
                0 => return Err(Failure::Peer("it hung up")),
                count => received += count,
            }
        }
        Ok(())
    };
    for _ in 0..2 * BUFFER / wanted {
        receive()?;
    }
    sampler.rates(wanted as u64, receive)
}
