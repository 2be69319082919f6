//! The applications under their real clients, and under people who mean no good. The tests share one machine; each
//! leaves it as well as it found it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tests::guest::{self, Guest, PATIENCE, exchange, skip};
use tests::noise::Noise;
use tests::{load, program};

/// The machine, kept while a test uses it.
fn shared() -> Arc<Guest> {
    static SHARED: Mutex<Weak<Guest>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(guest) = shared.upgrade() {
        return guest;
    }
    let guest = Arc::new(Guest::serving(guest::machine().cpus(2).append("kv.maxmemory=64mb")));
    *shared = Arc::downgrade(&guest);
    guest
}

#[test]
fn the_default_run_of_redis_benchmark() {
    // A machine of its own: the noise of other tests may change the shared one's memory limit.
    let guest = Guest::serving(guest::machine().cpus(2));
    // QEMU's user network forgets connections when too many come at once; fifty come in the test on a tap device.
    let rows =
        load::redis_benchmark(guest.at("kv"), Duration::from_secs(240), &["-n", "1000", "-c", "10"]).unwrap();
    assert!(rows.len() >= 19, "{rows:?}");
    let pipelined = ["-t", "set,get", "-n", "20000", "-c", "5", "-P", "16"];
    assert_eq!(load::redis_benchmark(guest.at("kv"), PATIENCE, &pipelined).unwrap().len(), 2);
}

#[test]
fn redis_cli_in_a_session() {
    let guest = shared();
    assert_eq!(
        guest.redis_cli(&["NOSUCHCOMMAND", "a"]),
        "ERR unknown command 'NOSUCHCOMMAND', with args beginning with: 'a' \n".trim_end_matches('\n')
    );
    assert_eq!(guest.redis_cli(&["-3", "HSET", "cli:hash", "a", "1", "b", "2"]), "2");
    assert_eq!(guest.redis_cli(&["-3", "HGET", "cli:hash", "b"]), "2");
    assert_eq!(guest.redis_cli(&["INCRBY", "cli:counter", "41"]), "41");
    assert_eq!(guest.redis_cli(&["OBJECT", "ENCODING", "cli:counter"]), "int");
    assert!(guest.redis_cli(&["INFO"]).contains("redis_version:"));
    assert!(guest.redis_cli(&["--scan", "--pattern", "cli:*"]).lines().count() >= 2);
    // Interactive use: commands on the standard input.
    let script = "printf 'MULTI\\nSET cli:t 1\\nINCR cli:t\\nEXEC\\nDEL cli:t\\n' | redis-cli -p \"$1\"";
    let port = guest.at("kv").port().to_string();
    let said = program::run("sh", PATIENCE, ["-c", script, "sh", &port]).unwrap();
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["OK", "QUEUED", "QUEUED", "OK", "2", "1"]);
}

#[test]
fn the_python_client() {
    let script = r#"
import sys, redis
for protocol in (2, 3):
    try:
        r = redis.Redis(port=int(sys.argv[1]), protocol=protocol, decode_responses=True)
    except TypeError:
        r = redis.Redis(port=int(sys.argv[1]), decode_responses=True)
    assert r.ping()
    r.delete("py:h", "py:l", "py:s", "py:z", "py:n")
    assert r.hset("py:h", mapping={"a": 1, "b": 2}) == 2 and r.hgetall("py:h") == {"a": "1", "b": "2"}
    assert r.rpush("py:l", "x", "y") == 2 and r.lrange("py:l", 0, -1) == ["x", "y"]
    assert r.sadd("py:s", "m") == 1 and r.smembers("py:s") == {"m"}
    assert r.zadd("py:z", {"one": 1, "two": 2.5}) == 2
    assert r.zrange("py:z", 0, -1, withscores=True) in ([("one", 1.0), ("two", 2.5)], [["one", 1.0], ["two", 2.5]])
    with r.pipeline(transaction=True) as p:
        p.incr("py:n").incr("py:n").expire("py:n", 100)
        assert p.execute() == [1, 2, True]
    assert 0 < r.ttl("py:n") <= 100
    assert set(r.scan_iter("py:*")) >= {"py:h", "py:l", "py:n"}
    try:
        r.execute_command("NOSUCH")
        raise AssertionError("no error")
    except redis.ResponseError as error:
        assert "unknown command" in str(error)
    r.set("py:b", b"\x00\xff" * 50000)
    assert r.strlen("py:b") == 100000
    assert r.delete("py:b") == 1
"#;
    let has_client = |python: &&str| program::run(python, PATIENCE, ["-c", "import redis"]).is_ok();
    let Some(python) = ["/usr/bin/python3", "python3"].into_iter().find(has_client) else {
        return skip("the Python client", &"Python's redis module is not installed (python3-redis)");
    };
    let guest = shared();
    let port = guest.at("kv").port().to_string();
    program::run(python, PATIENCE, ["-c", script, &port]).unwrap();
}

#[test]
fn memory_has_a_limit_and_reaching_it_is_an_error() {
    let guest = shared();
    let mut stream = guest.connect("kv");
    let value = vec![b'v'; 1 << 20];
    let mut refused = None;
    for index in 0..100 {
        let head = format!("*3\r\n$3\r\nSET\r\n$8\r\nfill:{index:03}\r\n${}\r\n", value.len());
        stream.write_all(&[head.as_bytes(), &value, b"\r\n"].concat()).unwrap();
        let answer = line(&mut stream);
        if answer != "+OK" {
            refused = Some(answer);
            break;
        }
    }
    assert!(refused.as_deref().is_some_and(|answer| answer.starts_with("-OOM")), "{refused:?}");
    for index in 0..100 {
        stream.write_all(format!("DEL fill:{index:03}\r\n").as_bytes()).unwrap();
        assert!(line(&mut stream).starts_with(':'));
    }
    guest.assert_well();
}

fn line(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).trim_end().to_owned()
}

#[test]
fn curl_gets_pages() {
    let guest = shared();
    let code = ["--output", "/dev/null", "--write-out", "%{http_code} %{num_connects}\n"];
    assert_eq!(guest.curl(&code, "/nosuch"), "404 1\n");
    assert_eq!(guest.curl(&[&code[..], &["--head"]].concat(), "/"), "200 1\n");
    assert_eq!(
        guest.curl(&["--request", "BREW", "--output", "/dev/null", "--write-out", "%{http_code}"], "/").len(),
        3
    );

    // Two requests, one connection.
    let url = format!("http://{}/", guest.at("http"));
    let twice = guest.curl(&[&code[..], &["--output", "/dev/null", &url]].concat(), "/");
    assert_eq!(twice, "200 1\n200 0\n");

    let page = guest.curl(&[], "/index.html");
    let part = guest.curl(&["--range", "3-12"], "/index.html");
    assert_eq!(part, page[3..13]);
    let tag = guest.curl(&["--head"], "/");
    let tag = tag
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("etag: ").map(str::to_owned))
        .unwrap();
    assert_eq!(
        guest.curl(&[&code[..], &["--header", &format!("If-None-Match: {tag}")]].concat(), "/"),
        "304 1\n"
    );
    assert!(guest.curl(&["--path-as-is", "--include"], "/../../etc/passwd").starts_with("HTTP/1.1 4"));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let guest = shared();
    let request = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n");
    let all = [
        request("/", ""),
        request("/nosuch", ""),
        request("/status", ""),
        request("/", "Connection: close\r\n"),
    ];
    let answer = exchange(guest.connect("http"), all.concat().as_bytes());
    let text = String::from_utf8_lossy(&answer);
    let statuses: Vec<&str> = text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "404", "200", "200"]);
}

#[test]
fn wrk_is_served_without_errors() {
    let guest = shared();
    let result = load::wrk(guest.at("http"), "/", 8, 2).unwrap();
    assert!(result.requests_a_second > 0.0 && result.refused == 0, "{result:?}");
    guest.assert_well();
}

#[test]
fn streams_carry_megabytes_both_ways() {
    let guest = shared();
    let mut chargen = guest.connect("chargen");
    let mut received = vec![0; 4 << 20];
    chargen.read_exact(&mut received).unwrap();
    assert!(received.iter().all(|byte| byte.is_ascii_graphic() || b" \r\n".contains(byte)));
    drop(chargen);

    assert_eq!(exchange(guest.connect("discard"), &vec![7; 4 << 20]), b"");

    // A megabyte through echo, written and read at the same time.
    let sent = Noise::new(1).bytes(1 << 20);
    let mut stream = guest.connect("echo");
    let mut writer = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&sent).unwrap());
        let mut back = vec![0; sent.len()];
        stream.read_exact(&mut back).unwrap();
        assert!(back == sent, "the echo differs");
    });
}

#[test]
fn hundreds_of_idle_connections_do_not_matter() {
    let guest = shared();
    let mut idle = Vec::new();
    for _ in 0..250 {
        // Each is accepted before the next one comes: QEMU's user network keeps hardly any waiting.
        let mut stream = guest.connect("kv");
        stream.write_all(b"PING\r\n").unwrap();
        assert_eq!(line(&mut stream), "+PONG");
        idle.push(stream);
    }
    guest.assert_well();
    for stream in &mut idle {
        stream.write_all(b"ECHO still\r\n").unwrap();
        assert_eq!((line(stream), line(stream)), ("$5".into(), "still".into()));
    }
}

#[test]
fn bad_input_is_answered_with_an_error_or_an_end() {
    let guest = shared();
    let mut noise = Noise::new(7);
    for service in ["kv", "http", "echo", "discard"] {
        for length in [0, 1, 2, 100, 1000, 10_000] {
            exchange(guest.connect(service), &noise.bytes(length));
        }
    }
    // Truncated: the client goes away in the middle.
    for (service, start) in
        [("kv", "*3\r\n$3\r\nSET\r\n$1000\r\nabc"), ("http", "GET / HTTP/1.1\r\nHost: a\r\nX-")]
    {
        exchange(guest.connect(service), start.as_bytes());
    }
    // Oversized: a clear protocol error, and memory stays bounded.
    for (service, start, answer) in [
        ("kv", "*99999999999\r\n", "-ERR Protocol error"),
        ("kv", "*1\r\n$99999999999\r\n", "-ERR Protocol error"),
        ("kv", "*1\r\nxx\r\n", "-ERR Protocol error"),
        ("http", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", "HTTP/1.1 4"),
        ("http", "\0\0\0\0 nonsense\r\n\r\n", "HTTP/1.1 4"),
    ] {
        let said = exchange(guest.connect(service), start.as_bytes());
        assert!(said.starts_with(answer.as_bytes()), "{start:?}: {}", said.escape_ascii());
    }
    exchange(guest.connect("kv"), &vec![b'a'; 1 << 20]);
    exchange(guest.connect("http"), &vec![b'a'; 1 << 20]);
    let said =
        exchange(guest.connect("http"), format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(20_000)).as_bytes());
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 4"), "{}", said.escape_ascii());
    for service in ["kv", "http"] {
        for target in tests::targets::TARGETS.iter().filter(|target| ["resp", "http"].contains(&target.name))
        {
            for seed in (target.seeds)().iter().take(20) {
                // What blocks for ever or ends the machine is not noise.
                let mutation = noise.mutate(&seed[1..]);
                if !mutation.windows(8).any(|word| word.eq_ignore_ascii_case(b"SHUTDOWN")) {
                    exchange(guest.connect(service), &mutation);
                }
            }
        }
    }
    guest.redis_cli(&["CONFIG", "SET", "maxmemory", "64mb"]);
    guest.assert_well();
}
