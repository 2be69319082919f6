//! Whatever comes in: no panic, bounded memory, well-formed replies, and the same replies however the input is cut.
mod common;

use common::reply_length;
use proptest::prelude::*;

const NOW: u64 = 1_700_000_000_000;

/// A connection and its store.
struct Peer {
    store: kv::Store,
    session: kv::Session,
    out: Vec<u8>,
    closed: bool,
}

impl Peer {
    fn new() -> Self {
        let mut store = kv::Store::new([7, 9], NOW);
        store.set_maxmemory(16 << 20);
        let session = kv::Session::new(&mut store, "127.0.0.1:1".into(), NOW);
        Self { store, session, out: Vec::new(), closed: false }
    }

    fn feed(&mut self, mut input: &[u8]) {
        while !self.closed {
            let fed = self.session.feed(&mut self.store, NOW, input, &mut self.out);
            input = &input[fed.consumed..];
            self.closed = fed.status == kv::Status::Close;
            if fed.status != kv::Status::Full && (input.is_empty() || !self.session.wants_input()) {
                return;
            }
        }
    }

    fn check(&self) {
        let mut at = 0;
        while at < self.out.len() {
            at += reply_length(&self.out[at..]).expect("the last reply is complete");
        }
    }
}

/// A request with arguments that commands are likely to make something of.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let words = vec![
        "set",
        "get",
        "append",
        "setrange",
        "setbit",
        "incrby",
        "incrbyfloat",
        "lpush",
        "rpush",
        "lrange",
        "ltrim",
        "linsert",
        "lpos",
        "lmove",
        "blpop",
        "hset",
        "hincrby",
        "hincrbyfloat",
        "hrandfield",
        "sadd",
        "spop",
        "srandmember",
        "sinterstore",
        "zadd",
        "zrange",
        "zunionstore",
        "zrangebyscore",
        "zremrangebyrank",
        "zpopmin",
        "scan",
        "sort",
        "expire",
        "getex",
        "copy",
        "rename",
        "multi",
        "exec",
        "watch",
        "discard",
        "hello",
        "client",
        "config",
        "command",
        "info",
        "object",
        "bitcount",
        "bitpos",
        "bitop",
        "lcs",
        "subscribe",
        "publish",
        "reset",
    ];
    let argument = prop_oneof![
        4 => prop::sample::select(vec![
            "a", "b", "c", "0", "1", "-1", "2", "3", "10", "-9223372036854775808", "9223372036854775807", "1e308",
            "inf", "-inf", "nan", "(1", "[a", "-", "+", "get", "and", "not", "nx", "xx", "gt", "ex", "px", "limit",
            "withscores", "byscore", "bylex", "rev", "count", "match", "left", "right", "before", "store", "alpha",
            "rank", "docs", "list", "encoding", "weights", "aggregate", "max", "incr", "replace", "db", "*", "",
        ]).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    (prop::sample::select(words), prop::collection::vec(argument, 0..6)).prop_map(|(name, args)| {
        let mut bytes = format!("*{}\r\n${}\r\n{name}\r\n", args.len() + 1, name.len()).into_bytes();
        for arg in args {
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            bytes.extend_from_slice(&arg);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(input in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let mut peer = Peer::new();
        peer.feed(&input);
        peer.check();
    }

    #[test]
    fn random_requests(requests in prop::collection::vec(request(), 1..60)) {
        let mut peer = Peer::new();
        for request in &requests {
            peer.feed(request);
        }
        peer.check();
        prop_assert!(peer.store.used_memory() < 700 << 20);
        let used = peer.store.used_memory();
        let mut other = kv::Session::new(&mut peer.store, "127.0.0.1:2".into(), NOW);
        other.feed(&mut peer.store, NOW, b"CONFIG SET maxmemory 0\r\nFLUSHALL\r\n", &mut Vec::new());
        prop_assert!(peer.store.used_memory() <= used);
        prop_assert!(peer.store.used_memory() < 4 << 20, "{} of {used} stay", peer.store.used_memory());
    }

    #[test]
    fn mutated_requests(
        requests in prop::collection::vec(request(), 1..10),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..10),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut input = requests.concat();
        for (index, byte) in changes {
            let at = index.index(input.len());
            input[at] = byte;
        }
        input.truncate(cut.index(input.len()) + 1);
        let mut peer = Peer::new();
        peer.feed(&input);
        peer.check();
    }

    #[test]
    fn cuts_make_no_difference(requests in prop::collection::vec(request(), 1..8), noise in prop::collection::vec(any::<u8>(), 0..20)) {
        let mut input = b"PING\r\nset a \"x\\x41\"\r\n*0\r\n".to_vec();
        // These report the state of the buffers, which does depend on the cuts.
        let reports = |request: &&Vec<u8>| request.windows(4).any(|word| word == b"info" || word == b"clie");
        requests.iter().filter(|request| !reports(request)).for_each(|request| input.extend(request));
        input.extend(noise);
        let mut whole = Peer::new();
        whole.feed(&input);
        for cut in 0..=input.len() {
            let mut halves = Peer::new();
            halves.feed(&input[..cut]);
            halves.feed(&input[cut..]);
            prop_assert_eq!(halves.out.escape_ascii().to_string(), whole.out.escape_ascii().to_string(), "cut at {}", cut);
        }
        let mut single = Peer::new();
        input.chunks(1).for_each(|byte| single.feed(byte));
        prop_assert_eq!(&single.out, &whole.out);
    }
}

fn replies(input: &[u8]) -> String {
    let mut peer = Peer::new();
    peer.feed(input);
    assert!(peer.closed, "the connection ends");
    peer.out.escape_ascii().to_string()
}

#[test]
fn protocol_errors_have_the_texts_of_redis() {
    let error = |text: &str| format!("-ERR Protocol error: {text}\\r\\n");
    for (input, text) in [
        (&b"*abc\r\n"[..], "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*1\r\nx3\r\n", "expected \\'$\\', got \\'x\\'"),
        (b"*1\r\n$abc\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"get \"a\r\n", "unbalanced quotes in request"),
    ] {
        assert_eq!(replies(input), error(text));
    }
    assert_eq!(replies(&[b'a'; 70_000]), error("too big inline request"));
    assert_eq!(replies(&[&b"*"[..], &[b'1'; 70_000]].concat()), error("too big mbulk count string"));
    assert_eq!(replies(&[&b"*1\r\n$"[..], &[b'1'; 70_000]].concat()), error("too big bulk count string"));
}

#[test]
fn strangers_may_send_little() {
    let mut peer = Peer::new();
    peer.store.set_password(b"secret");
    let mut stranger = kv::Session::new(&mut peer.store, "127.0.0.1:3".into(), NOW);
    let mut out = Vec::new();
    let fed = stranger.feed(&mut peer.store, NOW, b"GET a\r\nAUTH wrong\r\n*11\r\n", &mut out);
    assert_eq!(fed.status, kv::Status::Close);
    let expected = "-NOAUTH Authentication required.\r\n-WRONGPASS invalid username-password pair or user is disabled.\r\n-ERR Protocol error: unauthenticated multibulk length\r\n";
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

#[test]
fn the_memory_limit_is_an_error_and_holds() {
    let mut peer = Peer::new();
    for number in 0..100_000 {
        peer.feed(format!("SET key:{number} {}\r\n", "x".repeat(300)).as_bytes());
    }
    let oom = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    assert!(peer.out.ends_with(oom));
    assert!(peer.store.used_memory() < 17 << 20);
    peer.out.clear();
    peer.feed(
        b"GET key:1\r\nDEL key:1\r\nCONFIG SET maxmemory-policy allkeys-lru\r\nSET new value\r\nGET new\r\n",
    );
    assert!(peer.out.ends_with(b":1\r\n+OK\r\n+OK\r\n$5\r\nvalue\r\n"));
}

#[test]
fn announced_bytes_cost_nothing() {
    let mut peer = Peer::new();
    peer.feed(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$536870912\r\nabc");
    assert!(peer.store.used_memory() < 1 << 20);
    // A request beyond the buffers' share of the memory ends the connection.
    for _ in 0..100 {
        peer.feed(&[b'x'; 1 << 20]);
    }
    assert!(peer.closed);
    assert!(peer.store.used_memory() < 8 << 20);
}

#[test]
fn blocked_clients_are_served_in_order_and_give_up_in_time() {
    let mut store = kv::Store::new([1, 1], NOW);
    let mut sessions: Vec<_> = (0..3).map(|_| kv::Session::new(&mut store, String::new(), NOW)).collect();
    let mut out = Vec::new();
    assert_eq!(
        sessions[0].feed(&mut store, NOW, b"BLPOP q 0\r\nPING\r\n", &mut out).status,
        kv::Status::Blocked
    );
    assert_eq!(
        sessions[1].feed(&mut store, NOW, b"BLMOVE q r LEFT RIGHT 1.5\r\n", &mut out).status,
        kv::Status::Blocked
    );
    assert!(out.is_empty());
    assert_eq!(sessions[1].deadline(), Some(NOW + 1500));
    sessions[2].feed(&mut store, NOW, b"RPUSH q a\r\n", &mut out);
    assert_eq!(std::mem::take(&mut out), b":1\r\n");
    assert!(sessions[0].client().has_news() && !sessions[1].client().has_news());
    assert_eq!(sessions[0].poll(&mut store, NOW, &mut out), kv::Status::Open);
    assert_eq!(std::mem::take(&mut out), b"*2\r\n$1\r\nq\r\n$1\r\na\r\n+PONG\r\n");
    assert_eq!(sessions[1].poll(&mut store, NOW + 1499, &mut out), kv::Status::Blocked);
    assert_eq!(sessions[1].poll(&mut store, NOW + 1500, &mut out), kv::Status::Open);
    assert_eq!(std::mem::take(&mut out), b"$-1\r\n");
    sessions[1].close(&mut store);
    sessions[2].feed(&mut store, NOW, b"RPUSH q b\r\nLLEN q\r\n", &mut out);
    assert_eq!(out, b":1\r\n:1\r\n");
}

#[test]
fn requests_are_counted_whole_however_they_come() {
    // Blank lines and empty arrays are none; each command in a transaction is one, and so is one that waits.
    let input = b"PING\r\n\r\n*0\r\nMULTI\r\nSET a 1\r\nEXEC\r\nNOSUCH\r\n*1\r\n$4\r\nPING\r\nBLPOP q 0\r\n";
    for size in [1, 7, input.len()] {
        let mut peer = Peer::new();
        input.chunks(size).for_each(|piece| peer.feed(piece));
        assert_eq!((peer.session.take_executed(), peer.session.take_executed()), (7, 0), "pieces of {size}");
    }
}
