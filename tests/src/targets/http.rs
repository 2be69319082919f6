//! Requests to the HTTP server.

use app::File;
use http::{Connection, Date, Live, Output, Server, Site};

use super::pieces;

static FILES: &[File] = &[
    File { path: "index.html", data: b"<!doctype html><title>index</title>" },
    File { path: "sub/index.html", data: b"sub" },
    File { path: "large.bin", data: &[7; 20_000] },
    File { path: "404.html", data: b"not here" },
];

/// Feeds a connection in pieces and another one in a whole: the answers must not differ.
pub fn http(input: &[u8]) {
    let whole = answers(std::iter::once(input.get(1..).unwrap_or(&[])));
    assert_eq!(answers(pieces(input)), whole, "the answers depend on how the input was cut");
}

fn answers<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let make = |_: &Server, from| format!("{{\"from\":{from}}}\n");
    let live = Live { path: "status", media_type: "application/json", make: Box::new(make) };
    let server = Server::new(Site::new(FILES, "").expect("the host has memory"), vec![live]);
    let (mut connection, date) = (Connection::default(), Date::at(0));
    let mut sent = Vec::new();
    for mut piece in pieces {
        while !piece.is_empty() && !connection.is_closed() {
            let mut output = Output::default();
            let taken = connection.receive(piece, &server, &date, &mut output);
            assert!(taken > 0 || !output.is_empty(), "input neither taken nor answered");
            piece = &piece[taken..];
            output.finish(&server, &date).expect("the host has memory");
            sent.extend_from_slice(&output.bytes);
            sent.extend_from_slice(output.body);
        }
    }
    sent
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let requests: &[&str] = &[
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /sub HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "HEAD /large.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=10-19\r\n\r\n",
        "GET /large.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=-5\r\nIf-Range: \"x\"\r\n\r\n",
        "GET /%2e%2e/etc HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET /status?from=3 HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\nGET /nosuch HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: x\r\n\r\n",
        "GET http://a/index.html HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "BREW / HTTP/1.1\r\n\r\n",
        "GET / HTTP/9.9\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
    ];
    let mut seeds: Vec<Vec<u8>> =
        requests.iter().map(|request| format!("\x03{request}").into_bytes()).collect();
    seeds.push(format!("\x40{}", requests[..7].concat()).into_bytes());
    seeds.push(format!("\x7fGET /{} HTTP/1.1\r\n\r\n", "a".repeat(9000)).into_bytes());
    seeds.push(format!("\x7fGET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(2000)).into_bytes());
    seeds
}
