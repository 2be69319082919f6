//! A peer on the host for what a machine measures of its network: echo (TCP and UDP), discard and chargen, at ports that lie as the
//! standard ones do.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;

/// How far discard's and chargen's ports are above echo's.
const OFFSETS: [u16; 3] = [0, 2, 12];

/// Serves for as long as the process lives, and returns echo's port.
///
/// # Panics
/// When there are no ports.
pub fn serve() -> u16 {
    let bind = |port: u16| -> io::Result<_> {
        let listeners = OFFSETS.map(|offset| TcpListener::bind((Ipv4Addr::LOCALHOST, port + offset)));
        let [echo, discard, chargen] = listeners;
        Ok((UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?, echo?, discard?, chargen?))
    };
    let found = (20_000..30_000).step_by(16).find_map(|port| Some((port, bind(port).ok()?)));
    let (port, (datagrams, echo, discard, chargen)) = found.unwrap_or_else(|| panic!("no free ports"));
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = datagrams.recv_from(&mut buffer) {
            drop(datagrams.send_to(&buffer[..length], from));
        }
    });
    accept(echo, |mut stream| io::copy(&mut stream.try_clone()?, &mut stream).map(drop));
    accept(discard, |mut stream| io::copy(&mut stream, &mut io::sink()).map(drop));
    accept(chargen, |mut stream| io::copy(&mut io::repeat(b'x'), &mut stream).map(drop));
    port
}

fn accept(listener: TcpListener, serve: fn(TcpStream) -> io::Result<()>) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever hangs up has had enough.
            thread::spawn(move || drop(stream.set_nodelay(true).and_then(|()| serve(stream))));
        }
    });
}
