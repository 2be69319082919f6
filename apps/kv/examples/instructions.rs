//! Runs one command many times, for `valgrind --tool=callgrind` or `perf stat`: `… instructions 100000 GET key:000000000001`.
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let times: usize = args.first().and_then(|times| times.parse().ok()).unwrap_or(1);
    let mut request = format!("*{}\r\n", args.len().max(1) - 1);
    for arg in args.iter().skip(1) {
        request.push_str(&format!("${}\r\n{arg}\r\n", arg.len()));
    }
    let mut store = kv::Store::new([1, 2], 1);
    store.set_maxmemory(1 << 30);
    let mut session = kv::Session::new(&mut store, String::new(), 1);
    let mut out = Vec::new();
    session.feed(&mut store, 1, b"SET key:000000000001 xxx\r\nHSET h f v\r\nRPUSH l a\r\n", &mut out);
    for _ in 0..times {
        out.clear();
        session.feed(&mut store, 1, request.as_bytes(), &mut out);
    }
    println!("{}", String::from_utf8_lossy(&out));
}
