//! Requests to the store.

use kv::{Session, Status, Store};

use super::pieces;

/// Some moment, in milliseconds since 1970.
const NOW: u64 = 1_700_000_000_000;

/// Memory that the store may fill, in bytes.
const MEMORY: usize = 1 << 20;

/// Feeds a connection, and another one afterwards: whatever the first did, the second is served.
pub fn resp(input: &[u8]) {
    let mut store = Store::new([1, 2], NOW);
    store.set_maxmemory(MEMORY);
    let mut session = Session::new(&mut store, "10.0.0.1:1000".into(), NOW);
    let mut output = Vec::new();
    'pieces: for mut piece in pieces(input) {
        // A blocked command would wait for ever for somebody else.
        while !piece.is_empty() && !session.is_blocked() {
            let fed = session.feed(&mut store, NOW, piece, &mut output);
            output.clear();
            if fed.status == Status::Close {
                break 'pieces;
            }
            assert!(fed.consumed > 0 || fed.status == Status::Full, "input neither taken nor refused");
            piece = &piece[fed.consumed..];
        }
    }
    session.close(&mut store);
    // Buffers of connections count too, and a buffer may be as large as the input.
    assert!(
        store.used_memory() <= MEMORY + input.len() * 4 + (64 << 10),
        "{} bytes in use",
        store.used_memory()
    );

    let mut other = Session::new(&mut store, "10.0.0.1:1001".into(), NOW);
    other.feed(&mut store, NOW, b"PING\r\n", &mut output);
    // The first may have set a password.
    assert!(
        output.starts_with(b"+PONG\r\n") || output.starts_with(b"-NOAUTH"),
        "{:?}",
        output.escape_ascii()
    );
    other.close(&mut store);
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let commands: &[&str] = &[
        "SET key value EX 10 NX GET",
        "GET key",
        "MSET a 1 b 2 c 3",
        "INCRBYFLOAT a 1.5e3",
        "APPEND key more",
        "SETRANGE key 100 x",
        "BITCOUNT key 0 -1",
        "HSET hash f1 v1 f2 v2",
        "HINCRBY hash f1 -7",
        "HSCAN hash 0 MATCH f* COUNT 10",
        "RPUSH list a b c d",
        "LRANGE list 0 -1",
        "LINSERT list BEFORE b x",
        "BLPOP list 0.1",
        "SADD set a b c",
        "SINTERSTORE other set set",
        "SPOP set 2",
        "ZADD zset XX CH 1.5 a -inf b (3 c",
        "ZRANGE zset (1 +inf BYSCORE LIMIT 0 10 WITHSCORES",
        "ZUNIONSTORE out 2 zset zset WEIGHTS 1 2 AGGREGATE MAX",
        "SCAN 0 MATCH [a-z]* TYPE string COUNT 5",
        "HELLO 3 AUTH default x SETNAME y",
        "MULTI",
        "EXEC",
        "WATCH a",
        "CLIENT SETNAME me",
        "CONFIG GET max*",
        "SUBSCRIBE channel",
        "EXPIRE a 100 GT",
        "SORT list ALPHA DESC LIMIT 0 2",
        "OBJECT ENCODING a",
        "INFO everything",
        "COMMAND DOCS get",
        "FLUSHALL",
    ];
    let mut seeds = Vec::new();
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        let mut array = format!("\x07*{}\r\n", words.len());
        for word in words {
            array.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        seeds.push(array.into_bytes());
        seeds.push(format!("\u{7f}{command}\r\nSET k \"quo\\x41ted\" \r\n").into_bytes());
    }
    // All after one another, and lengths that promise too much.
    let all = seeds.iter().flat_map(|seed| seed[1..].to_vec()).collect::<Vec<u8>>();
    seeds.push([b"\x40", &all[..]].concat());
    for promise in ["*1000000000\r\n", "*2\r\n$536870912\r\n", "*-1\r\n", "*1\r\n$-1\r\n", "$1\r\na\r\n"] {
        seeds.push(format!("\x05{promise}").into_bytes());
    }
    seeds
}
