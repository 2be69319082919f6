//! Asks a service whether it answers, in its own protocol.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One try. For services whose protocol is not known here, that a connection comes about has to do.
pub fn try_once(service: &str, address: SocketAddr, patience: Duration) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let (question, answers): (&[u8], &[&[u8]]) = match service {
        // A store with a password answers too.
        "kv" => (b"PING\r\n", &[b"+PONG", b"-NOAUTH"]),
        "http" => (b"GET / HTTP/1.1\r\nHost: quicksilver\r\nConnection: close\r\n\r\n", &[b"HTTP/1."]),
        _ => return Ok(()),
    };
    stream.write_all(question)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 64];
    loop {
        if answers.iter().any(|expected| answer.starts_with(expected)) {
            return Ok(());
        }
        if !answers.iter().any(|expected| expected.starts_with(&answer)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer in another protocol"));
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => answer.extend_from_slice(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Serves one connection with an answer that comes in two pieces.
    fn probe(service: &str, pieces: [&'static [u8]; 2]) -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _question = stream.read(&mut [0; 512]).unwrap();
            for piece in pieces {
                // The prober may have seen enough and hung up.
                drop(stream.write_all(piece));
            }
        });
        let result = try_once(service, address, Duration::from_secs(5));
        server.join().unwrap();
        result
    }

    #[test]
    fn answers_are_told_from_noise() {
        assert!(probe("kv", [b"+PO", b"NG\r\n"]).is_ok());
        assert!(probe("kv", [b"-NOAUTH ", b"\r\n"]).is_ok());
        assert!(probe("http", [b"HTTP", b"/1.1 404 Not Found\r\n"]).is_ok());
        assert!(probe("kv", [b"+PO", b"RK\r\n"]).is_err());
        assert!(probe("kv", [b"", b""]).is_err());
    }
}
