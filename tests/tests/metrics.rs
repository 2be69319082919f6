//! What machines say about themselves: Prometheus's own checker reads it, a browser shows it, and who asks stops nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;

use image_builder::tools::{self, METRICS_TOOLS, Tool};
use serde_json::Value;
use tests::guest::{self, Guest, PATIENCE, wait_until};
use tests::operator::Operator;
use tests::{load, program};

const SERVICE: &str = "metrics";

/// Series and values.
fn scrape(guest: &Guest) -> BTreeMap<String, f64> {
    let text = guest.curl_of(SERVICE, &["--fail"], "/metrics");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let parse =
        |line: &str| line.rsplit_once(' ').map(|(series, value)| (series.to_owned(), value.parse().unwrap()));
    lines.filter_map(parse).collect()
}

fn json(guest: &Guest, path: &str) -> Value {
    serde_json::from_str(&guest.curl_of(SERVICE, &["--fail"], path)).unwrap()
}

/// What Prometheus's checker has to say; nothing if all is well.
fn check(guest: &Guest) -> String {
    let path = std::env::temp_dir().join(format!("qs-metrics-{}", std::process::id()));
    fs::write(&path, guest.curl_of(SERVICE, &["--fail"], "/metrics")).unwrap();
    let mut promtool = program::command("promtool", PATIENCE);
    let output = promtool.args(["check", "metrics"]).stdin(File::open(&path).unwrap()).output().unwrap();
    fs::remove_file(&path).unwrap();
    let said = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));
    said(&output.stdout) + &said(&output.stderr)
}

#[test]
fn prometheus_accepts_it_in_both_modes() {
    if !guest::has(&[Tool::Promtool], "Prometheus's checker") {
        return;
    }
    let guest = Guest::serving(guest::machine().cpus(2));
    let operator = Operator::of(&guest);
    for mode in ["native", "guest"] {
        assert_eq!(scrape(&guest)[&format!("quicksilver_mode{{mode=\"{mode}\"}}")], 1.0);
        assert_eq!(check(&guest), "", "{mode}");
        operator.toggle();
    }
}

#[test]
fn what_happens_is_counted() {
    let guest = Guest::serving(guest::machine().cpus(2));
    let operator = Operator::of(&guest);
    let before = scrape(&guest);
    let requests = ["-n", "1000", "-c", "5", "-t", "set,get"];
    load::redis_benchmark(guest.at("kv"), PATIENCE, &requests).unwrap();
    for _ in 0..5 {
        guest.curl(&[], "/status");
        operator.toggle();
    }
    assert_eq!(operator.ask("mode guest --expect 0").0, tests::operator::REFUSED);
    let after = scrape(&guest);
    let grown = |series: &str| after[series] - before[series];
    assert!(grown("quicksilver_requests_total{app=\"kv\"}") >= 2000.0);
    assert_eq!(grown("quicksilver_requests_total{app=\"web\"}"), 5.0);
    assert_eq!(grown("quicksilver_switches_total{direction=\"enter\"}"), 3.0);
    assert_eq!(grown("quicksilver_switches_total{direction=\"leave\"}"), 2.0);
    for what in ["duration", "window"] {
        let enters = format!("quicksilver_switch_{what}_seconds_count{{direction=\"enter\"}}");
        assert_eq!(grown(&enters), 3.0);
        assert!(grown(&enters.replace("_count", "_sum")) > 0.0);
    }
    assert_eq!(grown("quicksilver_changes_total"), 5.0);
    assert_eq!(after["quicksilver_mode{mode=\"guest\"}"], 1.0);
    assert!(grown("quicksilver_mode_seconds_total{mode=\"guest\"}") > 0.0);
    assert!(grown("quicksilver_exits_total{reason=\"hypercall\"}") > 0.0);
    assert!(grown("quicksilver_network_received_bytes_total{network=\"main\"}") > 50_000.0);
    // A CPU does not rest longer than time goes by.
    let idle = grown("quicksilver_cpu_idle_seconds_total{cpu=\"0\"}");
    assert!((0.0..=grown("quicksilver_uptime_seconds")).contains(&idle), "{idle}");
    for (series, value) in &before {
        let name = series.split('{').next().unwrap();
        let counts = ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end));
        assert!(!counts || after[series] >= *value, "{series} went back");
    }
}

#[test]
fn state_and_history_are_told_as_json() {
    let guest = Guest::serving(guest::machine().cpus(2));
    let operator = Operator::of(&guest);
    operator.toggle();
    let now = json(&guest, "/api/now");
    assert_eq!(
        (now["mode"].as_str(), now["switches"].as_u64(), now["cpus"].as_u64()),
        (Some("guest"), Some(1), Some(2))
    );
    let event = &now["events"][0];
    assert_eq!((event["direction"].as_str(), event["done"].as_bool()), (Some("enter"), Some(true)));
    let marks = now["marks"].as_array().unwrap().len();
    let cpus = event["cpus"].as_array().unwrap();
    assert!(cpus.len() == 2 && cpus.iter().all(|cpu| cpu.as_array().unwrap().len() == marks), "{event}");
    let mut last = Value::Null;
    wait_until("two samples", || {
        last = json(&guest, "/api/history");
        last["samples"].as_array().unwrap().len() >= 2
    });
    let columns = last["columns"].as_array().unwrap().len();
    assert!(
        last["samples"].as_array().unwrap().iter().all(|row| row.as_array().unwrap().len() == columns + 2)
    );
    // Only what is new, on request.
    let next = last["next"].as_u64().unwrap();
    let rest = json(&guest, &format!("/api/history?from={next}"));
    assert!(rest["samples"].as_array().unwrap().iter().all(|row| row[0].as_u64() >= Some(next)), "{rest}");
}

#[test]
fn it_is_read_only_and_bounded() {
    let guest = Guest::serving(guest::machine().cpus(1));
    let status = |options: &[&str], path: &str| {
        let fixed = ["--output", "/dev/null", "--write-out", "%{http_code}"];
        guest.curl_of(SERVICE, &[options, &fixed].concat(), path)
    };
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        assert_eq!(status(&["--request", method], "/metrics"), "405", "{method}");
    }
    assert_eq!(status(&["--head"], "/metrics"), "200");
    assert_eq!(status(&[], "/none"), "404");
    let head = guest.curl_of(SERVICE, &["--head"], "/");
    assert!(head.contains("Content-Security-Policy: default-src 'none';"), "{head}");
    // All seats are taken by silent ones: the applications serve on, and when these go others are answered again.
    let silent: Vec<TcpStream> = (0..40).map(|_| guest.connect(SERVICE)).collect();
    guest.assert_well();
    drop(silent);
    let address = format!("http://{}/metrics", guest.at(SERVICE));
    wait_until("an answer again", || {
        program::run("curl", PATIENCE, ["--silent", "--fail", "--max-time", "5", &address]).is_ok()
    });
}

#[test]
fn it_listens_where_it_is_told_or_not_at_all() {
    let guest = Guest::serving(guest::machine().append("metrics.port=off"));
    assert!(guest.serial_text().contains("metrics: off") && !guest.serial_text().contains("ready: metrics"));
    drop(guest);
    let guest = Guest::serving(guest::machine().append("metrics.port=9200").forward(9200));
    let text = guest.curl_of("9200", &["--fail"], "/metrics");
    assert!(text.contains("quicksilver_build_info{"), "{text}");
}

/// What a browser shows, and what it complains about. The picture stays beside other artefacts of the tests.
fn browse(url: &str, name: &str, scheme: u8, size: (u32, u32)) -> (String, String) {
    let profile = std::env::temp_dir().join(format!("qs-browser-{}-{name}", std::process::id()));
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("dashboard-{name}.png"));
    drop(fs::remove_file(&picture));
    let chromium = tools::program(Tool::Chromium).unwrap();
    let mut shown = (String::new(), String::new());
    for what in ["--dump-dom".to_owned(), format!("--screenshot={}", picture.display())] {
        let mut browser = program::command(chromium.to_str().unwrap(), PATIENCE);
        browser.args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--enable-logging=stderr",
        ]);
        browser.arg(format!("--user-data-dir={}", profile.display()));
        browser.arg(format!("--blink-settings=preferredColorScheme={scheme}"));
        browser.arg(format!("--window-size={},{}", size.0, size.1));
        let output = browser.args(["--virtual-time-budget=4000", &what, url]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        shown.0 += &String::from_utf8_lossy(&output.stdout);
        shown.1 += &String::from_utf8_lossy(&output.stderr);
    }
    drop(fs::remove_dir_all(&profile));
    assert!(fs::metadata(&picture).unwrap().len() > 20_000, "{} is empty", picture.display());
    shown
}

#[test]
fn the_dashboard_shows_it() {
    if !guest::has(METRICS_TOOLS, "the dashboard in a browser") {
        return;
    }
    let guest = Guest::serving(guest::machine().cpus(2));
    let operator = Operator::of(&guest);
    for _ in 0..3 {
        let requests = ["-n", "1000", "-c", "5", "-t", "set,get"];
        load::redis_benchmark(guest.at("kv"), PATIENCE, &requests).unwrap();
        operator.toggle();
    }
    wait_until("some samples", || json(&guest, "/api/history")["next"].as_u64() >= Some(3));
    let url = format!("http://{}/", guest.at(SERVICE));
    for (name, scheme, size) in
        [("dark", 0, (1280, 1330)), ("light", 1, (1280, 1330)), ("phone", 0, (500, 2150))]
    {
        let (page, complaints) = browse(&url, name, scheme, size);
        assert!(!complaints.contains("CONSOLE"), "{name}: {complaints}");
        for part in [
            "<span id=\"mode\" class=\"badge guest\">guest</span>",
            "kv,web,stream · AMD SVM · version",
            "<div class=\"name\">Switches</div><div class=\"value\">3<",
            "class=\"area\" d=\"M",
            "class=\"enter\"",
            "class=\"leave\"",
            "class=\"inguest\"",
            "class=\"work\"",
            ">hypercall</th>",
            "CPU 1",
        ] {
            assert!(page.contains(part), "{name}: {part} is missing in {page}");
        }
        let (shown, _) = page.split_once("<script>").unwrap();
        assert!(!shown.contains("NaN") && !shown.contains("undefined"), "{name}: {shown}");
    }
}
