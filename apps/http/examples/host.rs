//! The server's core on sockets of the host, to be tried with curl and wrk:
//! `cargo run --release -p http --example host -- DIRECTORY [PORT]`
use app::File;
use http::{Connection, Date, Output, Server, Site};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap_or_else(|| "apps/web/files".into());
    let port = arguments.next().map_or(Ok(8080), |port| port.parse()).map_err(std::io::Error::other)?;
    let mut files = Vec::new();
    collect(Path::new(&directory), "", &mut files)?;
    let site = Site::new(files.leak(), "").map_err(std::io::Error::other)?;
    let server = Arc::new(Server::new(site, Vec::new()));
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("http://127.0.0.1:{port}/");
    for stream in listener.incoming() {
        let (stream, server) = (stream?, server.clone());
        std::thread::spawn(move || {
            server.count_accepted();
            // A client that goes away ends its connection, not the server.
            drop(serve(stream, &server));
            server.count_closed();
        });
    }
    Ok(())
}

fn collect(directory: &Path, prefix: &str, files: &mut Vec<File>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files)?;
        } else {
            files.push(File { path: path.leak(), data: std::fs::read(entry.path())?.leak() });
        }
    }
    Ok(())
}

fn serve(mut stream: TcpStream, server: &Server) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = Connection::default();
    let mut date = Date::default();
    let mut input = vec![0; 16 << 10];
    while !connection.is_closed() {
        let length = stream.read(&mut input)?;
        if length == 0 {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(std::io::Error::other)?;
        date.update(now.as_secs());
        let mut rest = &input[..length];
        while !rest.is_empty() {
            let mut output = Output::default();
            rest = &rest[connection.receive(rest, server, &date, &mut output)..];
            output.finish(server, &date).map_err(std::io::Error::other)?;
            stream.write_all(&output.bytes)?;
            stream.write_all(output.body)?;
        }
    }
    // What is still on its way must be read, or closing resets the connection and the client loses the answer.
    stream.shutdown(std::net::Shutdown::Write)?;
    while stream.read(&mut input)? > 0 {}
    Ok(())
}
