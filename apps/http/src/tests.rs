//! Whole exchanges: what goes in, what comes out, however it is cut.
use crate::{Connection, Date, Live, Output, Server, Site};
use alloc::boxed::Box;
use app::File;
use proptest::prelude::*;
use std::format;
use std::string::{String, ToString};
use std::sync::LazyLock;
use std::vec;
use std::vec::Vec;

static BIG: [u8; 100_000] = [b'b'; 100_000];
static FILES: [File; 5] = [
    File { path: "big.bin", data: &BIG },
    File { path: "docs/index.html", data: b"<p>docs" },
    File { path: "empty.txt", data: b"" },
    File { path: "index.html", data: b"<p>hello" },
    File { path: "ten.txt", data: b"0123456789" },
];

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let make = |server: &Server, from| format!("{{\"open\":{},\"from\":{from}}}\n", server.open());
    let live = Live { path: "status", media_type: "application/json", make: Box::new(make) };
    Server::new(Site::new(&FILES, "X-Further: x\r\n").unwrap(), vec![live])
});

/// Gives the pieces to a connection. Returns what it sends, and whether it closes.
fn exchange<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, bool) {
    let date = Date::at(784_111_777);
    let mut connection = Connection::default();
    let mut sent = Vec::new();
    for mut piece in pieces {
        while !piece.is_empty() {
            let mut output = Output::default();
            let taken = connection.receive(piece, &SERVER, &date, &mut output);
            assert!(taken > 0 || !output.is_empty(), "stuck at {}", piece.escape_ascii());
            assert!(taken == piece.len() || !output.is_empty());
            output.finish(&SERVER, &date).unwrap();
            sent.extend_from_slice(&output.bytes);
            sent.extend_from_slice(output.body);
            piece = &piece[taken..];
        }
    }
    (sent, connection.is_closed())
}

fn text(input: &str) -> (String, bool) {
    let (sent, closed) = exchange([input.as_bytes()]);
    (String::from_utf8(sent).unwrap(), closed)
}

/// The status code of the answer to the only request in `input`, and whether the connection closes.
fn status(input: &str) -> (u16, bool) {
    let (sent, closed) = text(input);
    (sent.strip_prefix("HTTP/1.1 ").expect("an answer")[..3].parse().unwrap(), closed)
}

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
}

#[test]
fn a_page_is_sent_with_its_fields() {
    let (sent, closed) = text(&get("/", ""));
    let etag = sent.split("ETag: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let expected = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nContent-Type: text/html; charset=utf-8\r\nETag: {etag}\r\n\
         Accept-Ranges: bytes\r\nCache-Control: no-cache\r\nX-Further: x\r\n\
         Server: Quicksilver\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n<p>hello"
    );
    assert_eq!((sent, closed), (expected, false));
}

#[test]
fn a_head_has_no_body() {
    let (sent, _) = text("HEAD /ten.txt HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(sent.contains("\r\nContent-Length: 10\r\n") && sent.ends_with("\r\n\r\n"));
    let (sent, _) = text("HEAD /none HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(sent.starts_with("HTTP/1.1 404") && sent.ends_with("\r\n\r\n"));
    let (sent, _) = text("HEAD /status HTTP/1.1\r\nHost: h\r\nRange: bytes=0-1\r\n\r\n");
    assert!(sent.starts_with("HTTP/1.1 200") && sent.ends_with("\r\n\r\n"));
}

#[test]
fn big_files_are_not_copied() {
    let mut output = Output::default();
    let input = get("/big.bin", "").repeat(2);
    let taken = Connection::default().receive(input.as_bytes(), &SERVER, &Date::default(), &mut output);
    assert_eq!(taken, input.len() / 2);
    assert!(core::ptr::eq(output.body, &raw const BIG));
    assert!(output.bytes.len() < 400);
    let (sent, closed) = exchange([input.as_bytes()]);
    assert_eq!((sent.len(), closed), (2 * (output.bytes.len() + BIG.len()), false));
    assert!(sent.ends_with(&BIG));
}

#[test]
fn live_resources_are_made_for_each_request() {
    for (target, from) in [("/status", 0), ("/status?from=7", 7)] {
        let (sent, _) = text(&get(target, "Range: bytes=0-1\r\n"));
        let body = format!("{{\"open\":0,\"from\":{from}}}\n");
        let length = body.len();
        assert!(
            sent.starts_with(&format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n"
            )) && sent.ends_with(&format!("\r\n\r\n{body}")),
            "{sent}"
        );
    }
}

#[test]
fn answers_are_counted() {
    let mut connection = Connection::default();
    let input = get("/status", "") + &get("/ten.txt", "") + "POST / HTTP/1.1\r\nHost: h\r\n\r\nGET ";
    let mut output = Output::default();
    let mut taken = connection.receive(input.as_bytes(), &SERVER, &Date::default(), &mut output);
    // What is live is made outside, before anything else is answered.
    assert_eq!(taken, get("/status", "").len());
    output.finish(&SERVER, &Date::default()).unwrap();
    taken += connection.receive(&input.as_bytes()[taken..], &SERVER, &Date::default(), &mut output);
    assert_eq!((taken, connection.take_answered(), connection.take_answered()), (input.len(), 3, 0));
}

#[test]
fn directories_want_a_slash() {
    let (sent, _) = text(&get("/docs", ""));
    assert!(sent.starts_with("HTTP/1.1 301 Moved Permanently\r\nLocation: /docs/\r\n"));
    assert!(text(&get("/docs/", "")).0.ends_with("<p>docs"));
    assert!(text(&get("http://h/docs/./x/%2E./index.html?q", "")).0.ends_with("<p>docs"));
}

#[test]
fn requests_may_follow_each_other() {
    let (sent, closed) = text(
        &(get("/", "")
            + "\r\n\r\n"
            + &get("/none", "")
            + &get("/ten.txt", "Connection: x, Close\r\n")
            + &get("/", "")),
    );
    let statuses: Vec<_> = sent.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "404", "200"]);
    assert!(closed && sent.ends_with("Connection: close\r\n\r\n0123456789"));
}

#[test]
fn http_1_0_closes_unless_asked() {
    let (sent, closed) = text("GET / HTTP/1.0\r\n\r\n");
    assert!(closed && sent.contains("\r\nConnection: close\r\n"));
    let (sent, closed) = text("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
    assert!(!closed && sent.contains("\r\nConnection: keep-alive\r\n"));
}

#[test]
fn ranges_give_parts() {
    let (sent, _) = text(&get("/ten.txt", "Range: bytes=2-4\r\n"));
    assert!(
        sent.starts_with(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\nContent-Range: bytes 2-4/10\r\n"
        )
    );
    assert!(sent.ends_with("\r\n\r\n234"));
    let (sent, closed) = text(&get("/ten.txt", "Range: bytes=10-\r\n"));
    assert!(
        sent.starts_with("HTTP/1.1 416 ") && sent.contains("\r\nContent-Range: bytes */10\r\n") && !closed
    );
    assert!(text(&get("/ten.txt", "Range: bytes=2-4\r\nIf-Range: \"x\"\r\n")).0.ends_with("0123456789"));
    assert_eq!(status(&get("/empty.txt", "Range: bytes=-5\r\n")), (416, false));
}

#[test]
fn a_known_version_is_not_sent_again() {
    let etag = |sent: &str| sent.split("ETag: ").nth(1).unwrap().split("\r\n").next().unwrap().to_string();
    let tag = etag(&text(&get("/ten.txt", "")).0);
    let (sent, closed) =
        text(&get("/ten.txt", &format!("If-None-Match: \"x\", W/{tag}\r\nRange: bytes=0-1\r\n")));
    assert!(sent.starts_with("HTTP/1.1 304 Not Modified\r\n") && sent.ends_with("\r\n\r\n") && !closed);
    assert_eq!(etag(&sent), tag);
    assert_eq!(status(&get("/ten.txt", &format!("If-Range: {tag}\r\nRange: bytes=0-1\r\n"))), (206, false));
    assert_eq!(status(&get("/ten.txt", "If-None-Match: \"x\"\r\n")), (200, false));
}

#[test]
fn wrong_requests_are_refused() {
    let long = "a".repeat(9000);
    let many = "A: b\r\n".repeat(70);
    let cases = [
        (get("/..", ""), 400, false),
        (get("/%00", ""), 400, false),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400, true),
        (get("/", "Host: again\r\n"), 400, true),
        ("GET /\r\n\r\n".into(), 400, true),
        ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400, true),
        ("\0\x01\x02\n\n".into(), 400, true),
        (get("/", "A : b\r\n"), 400, true),
        (get("/", "A: b\r\n folded\r\n"), 400, true),
        (get("/", "Content-Length: x\r\n"), 400, true),
        (get("/", "Content-Length: -1\r\n"), 400, true),
        (get("/", "Content-Length: 1\r\nContent-Length: 2\r\n"), 400, true),
        (get("/", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 400, true),
        (get("/", "Transfer-Encoding: chunked\r\n") + "x", 400, true),
        (get("/", "Content-Length: 1048577\r\n"), 413, true),
        (get("/", "Content-Length: 99999999999999999999999999\r\n"), 413, true),
        (get("/", "Transfer-Encoding: chunked\r\n") + "ffffffff\r\n", 413, true),
        (get("/", "Transfer-Encoding: gzip, chunked\r\n"), 501, true),
        (get("/", "Expect: miracles\r\n"), 417, true),
        (get(&format!("/{long}"), ""), 414, true),
        (format!("GET /{long}"), 414, true),
        (get("/", &format!("A: {long}\r\n")), 431, true),
        (get("/", &many), 431, true),
        ("POST / HTTP/1.1\r\nHost: h\r\n\r\n".into(), 405, false),
        ("BREW / HTTP/1.1\r\nHost: h\r\n\r\n".into(), 501, false),
        ("get / HTTP/1.1\r\nHost: h\r\n\r\n".into(), 501, false),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n".into(), 505, true),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505, true),
        ("GET / HTTP/11\r\nHost: h\r\n\r\n".into(), 400, true),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".into(), 405, false),
        ("GET * HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400, false),
    ];
    for (input, code, closed) in cases {
        assert_eq!(status(&input), (code, closed), "{}", &input[..input.len().min(200)]);
    }
}

#[test]
fn bodies_are_skipped() {
    let body = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nGET ";
    let chunks =
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n4;x\r\nGET \r\n0\r\nT: t\r\n\r\n";
    let (sent, closed) =
        text(&format!("{body}{chunks}{}", get("/ten.txt", "Content-Length: 2, 2\r\n") + "xx"));
    let statuses: Vec<_> = sent.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!((&statuses[..], closed), (&["405", "405", "200"][..], false));
    assert!(sent.contains("\r\nAllow: GET, HEAD\r\n"));
}

#[test]
fn a_client_that_waits_is_told_to_go_on_or_refused() {
    let (sent, closed) = text(&(get("/ten.txt", "Expect: 100-continue\r\nContent-Length: 1\r\n") + "x"));
    assert!(sent.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n") && !closed);
    let upload = "PUT /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(status(upload), (405, true));
}

/// Pieces of requests, some whole, some broken.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(get("/", "").into_bytes()),
        2 => Just(get("/big.bin", "Range: bytes=5-50000\r\n").into_bytes()),
        2 => Just(get("/none/%41/../x", "If-None-Match: *\r\n").into_bytes()),
        2 => Just((get("/ten.txt", "Content-Length: 3\r\n") + "abc").into_bytes()),
        2 => Just((get("/ten.txt", "Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n0\r\nX: y\r\n\r\n").into_bytes()),
        1 => Just(b"HEAD / HTTP/1.0\nConnection: keep-alive\n\n".to_vec()),
        1 => Just(b"POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n".to_vec()),
        1 => (0..9000usize).prop_map(|length| get(&"/a".repeat(length / 2), "").into_bytes()),
        1 => (0..9000usize).prop_map(|length| get("/", &format!("A: {}\r\n", "a".repeat(length))).into_bytes()),
        1 => Just(b"\r\n".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b':'), Just(b' '), Just(b'/'), Just(b'G')], 0..8),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn the_split_of_the_input_does_not_matter(input in input(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8), drop_at in any::<prop::sample::Index>(), flip in any::<Option<(prop::sample::Index, u8)>>()) {
        let mut input = input;
        if !input.is_empty() {
            if let Some((at, byte)) = flip {
                let at = at.index(input.len());
                input[at] = byte;
            }
            input.truncate(drop_at.index(input.len() * 3).min(input.len()));
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let whole = exchange([&input[..]]);
        prop_assert_eq!(&exchange(cuts.windows(2).map(|cut| &input[cut[0]..cut[1]])), &whole);
        prop_assert_eq!(&exchange(input.chunks(1)), &whole);
    }

    #[test]
    fn random_bytes_do_no_harm(input in proptest::collection::vec(any::<u8>(), 0..3000)) {
        exchange(input.chunks(7));
    }
}
