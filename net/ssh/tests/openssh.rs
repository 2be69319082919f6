//! The server and OpenSSH's own client, over TCP on the host.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output as Done, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use control::Role;
use control::request::{Request, Verb};
use ssh::{Caller, End, Identities, Key, Line, Operator, Output, Phase, exit};

/// How long a stranger may take here.
const GRACE: Duration = Duration::from_secs(2);

/// A stream of the standard library's in the words of the embedded ones.
struct Tcp<'a> {
    stream: &'a TcpStream,
    phase: &'a Cell<Phase>,
    begun: Instant,
}

impl Tcp<'_> {
    fn ready(&self) -> Result<&TcpStream, ErrorKind> {
        let patience = match self.phase.get() {
            // All of it, however it comes in pieces.
            Phase::Login => match GRACE.checked_sub(self.begun.elapsed()).filter(|left| !left.is_zero()) {
                Some(left) => Some(left),
                None => return Err(ErrorKind::TimedOut),
            },
            Phase::Over => return Err(ErrorKind::TimedOut),
            Phase::Idle | Phase::Command => None,
        };
        self.stream.set_read_timeout(patience).map_err(|error| error.kind())?;
        Ok(self.stream)
    }
}

impl embedded_io_async::ErrorType for Tcp<'_> {
    type Error = embedded_io::ErrorKind;
}

impl embedded_io_async::Read for Tcp<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, embedded_io::ErrorKind> {
        self.ready()?.read(buffer).map_err(|error| error.kind().into())
    }
}

impl embedded_io_async::Write for Tcp<'_> {
    async fn write(&mut self, data: &[u8]) -> Result<usize, embedded_io::ErrorKind> {
        self.ready()?.write(data).map_err(|error| error.kind().into())
    }

    async fn flush(&mut self) -> Result<(), embedded_io::ErrorKind> {
        Ok(())
    }
}

/// Says what it was asked.
struct Echo;

impl Operator for Echo {
    fn execute(&self, caller: &Caller, request: &Request, output: &mut dyn Output) -> u8 {
        let line = format!("{} {} {}\n", caller.name, caller.role, request.json);
        match &request.verb {
            Verb::Stats => {
                (0..4000).try_for_each(|_| output.out(&line)).map_or(exit::UNKNOWN, |()| exit::DONE)
            }
            Verb::JobWatch(status) => {
                let _ = output.err("progress\n");
                *status as u8
            }
            verb => {
                let _ = output.out(&format!("{verb:?} {line}"));
                exit::DONE
            }
        }
    }
}

/// A server with the keys of three operators, and a client's files.
struct World {
    address: SocketAddr,
    directory: PathBuf,
}

static STRANGERS: AtomicU64 = AtomicU64::new(0);
static ENDED: Mutex<u64> = Mutex::new(0);

fn keygen(path: &Path) -> [u8; 32] {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status();
    assert!(made.unwrap().success());
    let text = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    let blob = base64(text.split(' ').nth(1).unwrap());
    blob[blob.len() - 32..].try_into().unwrap()
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = text.bytes().filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte)).fold(
        (Vec::new(), 0u32, 0),
        |(mut bytes, bits, count), digit| {
            let (bits, count) = (bits << 6 | digit as u32, count + 6);
            if count >= 8 {
                bytes.push((bits >> (count - 8)) as u8);
                return (bytes, bits & ((1 << (count - 8)) - 1), count - 8);
            }
            (bytes, bits, count)
        },
    );
    bits.0.shrink_to_fit();
    bits.0
}

fn random(bytes: &mut [u8]) {
    std::fs::File::open("/dev/urandom").unwrap().read_exact(bytes).unwrap();
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let directory = std::env::temp_dir().join(format!("qs-ssh-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&directory));
        std::fs::create_dir_all(&directory).unwrap();
        let roles = [("observer", Role::Observe), ("operator", Role::Operate), ("admin", Role::Admin)];
        let keys =
            roles.map(|(name, role)| Key { public: keygen(&directory.join(name)), role, name: name.into() });
        keygen(&directory.join("stranger"));
        let mut seed = [0; 32];
        random(&mut seed);
        let identities = Identities::new(&seed, keys.to_vec());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || serve_all(&listener, Box::leak(Box::new(identities))));
        let scan =
            Command::new("ssh-keyscan").args(["-p", &address.port().to_string(), "127.0.0.1"]).output();
        let known = scan.unwrap().stdout;
        assert!(String::from_utf8_lossy(&known).contains("ssh-ed25519"));
        std::fs::write(directory.join("known_hosts"), known).unwrap();
        World { address, directory }
    })
}

fn serve_all(listener: &TcpListener, identities: &'static Identities) {
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        thread::spawn(move || {
            let phase = Cell::new(Phase::Login);
            let is_gone = || {
                let looked = stream
                    .set_read_timeout(Some(Duration::from_millis(1)))
                    .and_then(|()| stream.peek(&mut [0]));
                matches!(looked, Ok(0)) || looked.is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
            };
            let line = Line {
                stream: Tcp { stream: &stream, phase: &phase, begun: Instant::now() },
                phase: &phase,
                is_gone: &is_gone,
            };
            if ssh::serve(line, identities, random, &Echo) == End::Stranger {
                STRANGERS.fetch_add(1, Ordering::SeqCst);
            }
            *ENDED.lock().unwrap() += 1;
        });
    }
}

fn client(key: &str, user: &str) -> Command {
    let world = world();
    let mut command = Command::new("ssh");
    command.arg("-F").arg("none").arg("-p").arg(world.address.port().to_string());
    command.arg("-i").arg(world.directory.join(key)).args([
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "BatchMode=yes",
    ]);
    command.args(["-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=/dev/null"]);
    command.arg("-o").arg(format!("UserKnownHostsFile={}", world.directory.join("known_hosts").display()));
    command.arg(format!("{user}@127.0.0.1")).stdin(Stdio::null());
    command
}

fn done(command: &mut Command) -> (i32, String, String) {
    let Done { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// OpenSSH's status for its own failures.
const NO_CONNECTION: i32 = 255;

#[test]
fn commands_are_carried_out() {
    let (status, out, err) = done(client("admin", "admin").arg("mode guest --deadline 7"));
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("Switch(Switch { target: Guest, dry_run: false, deadline: 7ms"), "{out}");
    assert!(out.ends_with("admin admin false\n"), "{out}");
    let (status, out, _) = done(client("operator", "admin").args(["version", "--json"]));
    assert_eq!((status, out.as_str()), (0, "Version operator operate true\n"));
}

#[test]
fn every_exit_status_arrives_and_progress_is_apart() {
    for expected in [0, 1, 2, 3, 6, 7, 200] {
        let told = done(client("admin", "admin").arg(format!("job watch {expected}")));
        assert_eq!(told, (expected, String::new(), "progress\n".to_owned()));
    }
}

#[test]
fn long_answers_arrive_whole() {
    let (status, out, _) = done(client("observer", "observe").arg("stats"));
    assert_eq!((status, out.lines().count()), (0, 4000));
    assert!(out.lines().all(|line| line == "observer observe false"));
}

#[test]
fn nonsense_is_a_usage_error() {
    let (status, out, err) = done(client("admin", "admin").arg("reboot 'now'"));
    assert_eq!((status, out.as_str(), err.as_str()), (2, "", "there is no 'reboot': see help\n"));
    let (status, out, err) = done(client("admin", "admin").arg("x\"y --json"));
    assert_eq!((status, err.as_str()), (2, ""));
    assert_eq!(out, "{\"error\":\"there is no 'x\\\"y': see help\"}\n");
    assert_eq!(done(client("admin", "admin").arg("x".repeat(30_000))).0, 2);
    // More than a packet holds ends the connection.
    assert_eq!(done(client("admin", "admin").arg("x".repeat(100_000))).0, NO_CONNECTION);
}

#[test]
fn roles_bound_what_may_be_said() {
    for (key, user, may) in [
        ("observer", "admin", false),
        ("operator", "observe", false),
        ("operator", "operate", true),
        ("operator", "admin", true),
        ("admin", "operate", true),
        ("admin", "observe", false),
    ] {
        let (status, out, err) = done(client(key, user).arg("mode toggle"));
        assert_eq!(status, if may { 0 } else { 3 }, "{key} {user}: {out}{err}");
        assert_eq!(err.contains("takes the role operate: you have observe"), !may, "{err}");
        assert_eq!(done(client(key, user).arg("status")).0, 0);
    }
}

#[test]
fn strangers_get_nowhere() {
    let refused = |command: &mut Command| {
        let (status, out, err) = done(command);
        assert_eq!((status, out.as_str()), (NO_CONNECTION, ""), "{err}");
        err
    };
    assert!(refused(client("stranger", "admin").arg("status")).contains("Permission denied (publickey)"));
    assert!(refused(client("admin", "root").arg("status")).contains("Permission denied (publickey)"));
    assert!(refused(client("admin", &"a".repeat(200)).arg("status")).contains("Permission denied"));
    let mut password = client("stranger", "admin");
    password.args(["-o", "PreferredAuthentications=password,keyboard-interactive", "status"]);
    assert!(refused(&mut password).contains("Permission denied (publickey)"));
    for old in [
        "KexAlgorithms=diffie-hellman-group14-sha1",
        "HostKeyAlgorithms=ssh-rsa",
        "Ciphers=aes128-cbc",
        "Ciphers=aes128-ctr",
    ] {
        refused(client("admin", "admin").args(["-o", old, "status"]));
    }
}

#[test]
fn nothing_but_commands() {
    // A session without a command is told what there is, and ends.
    let (status, out, _) = done(client("admin", "admin").arg("-T"));
    assert!(status == 0 && out.contains("Help") && out.contains("Status"), "{out}");
    let subsystem = done(client("admin", "admin").args(["-s", "sftp"]));
    assert!(subsystem.0 != 0 && subsystem.1.is_empty(), "{subsystem:?}");
    // Forwarding is refused when somebody comes to use it.
    let mut forward = client("admin", "admin");
    let (status, _, err) = done(forward.args(["-W", "127.0.0.1:1"]));
    assert!(status != 0 && err.contains("open failed"), "{status} {err}");
    let mut remote = client("admin", "admin");
    remote.args(["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "status"]);
    assert_eq!(done(&mut remote).0, NO_CONNECTION);
    // At a terminal, too: the client asks for one of the server's, gets none, and goes on.
    let session = client("admin", "admin");
    let words = std::iter::once(session.get_program()).chain(session.get_args());
    let line = words.map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ");
    let (status, out, err) = done(Command::new("script").args(["-q", "-e", "-c", &line, "/dev/null"]));
    assert!(status == 0 && out.contains("Help") && out.contains("Status"), "{status} {out} {err}");
}

#[test]
fn ten_at_once_and_many_in_one_connection() {
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| assert_eq!(done(client("admin", "admin").arg("status")).0, 0));
        }
    });
    let socket = world().directory.join("master");
    let shared = |rest: &[&str]| {
        let mut command = client("admin", "admin");
        command
            .arg("-S")
            .arg(&socket)
            .args(["-o", "ControlMaster=auto", "-o", "ControlPersist=yes"])
            .args(rest);
        command
    };
    // The master stays in the background, with the standard streams of the first: those go nowhere.
    assert!(shared(&["status"]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    for status in 0..40 {
        assert_eq!(done(shared(&[]).arg(format!("job watch {status}"))).0, status);
    }
    drop(done(&mut shared(&["-O", "exit"])));
}

/// The greeting and key exchange of a real client, cut at each byte; then garbage, giants and silence.
#[test]
fn broken_clients_leave_nothing_behind() {
    let greet = |said: &[u8]| {
        let mut stream = TcpStream::connect(world().address).unwrap();
        stream.set_read_timeout(Some(3 * GRACE)).unwrap();
        // The server may be gone before all is said.
        drop(stream.write_all(said));
        stream
    };
    let until_end = |mut stream: TcpStream| {
        let mut said = Vec::new();
        match stream.read_to_end(&mut said) {
            Ok(_) => said,
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::WouldBlock, "the server waits for ever");
                said
            }
        }
    };
    let ended = || *ENDED.lock().unwrap();
    let (strangers, before) = (STRANGERS.load(Ordering::SeqCst), ended());
    let mut count = 0;
    let mut expect_end = |stream| {
        count += 1;
        until_end(stream)
    };
    let hello = b"SSH-2.0-test\r\n";
    for length in 0..hello.len() {
        let stream = greet(&hello[..length]);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        expect_end(stream);
    }
    for said in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"SSH-1.5-old\r\n",
        &[0xff; 4096],
        b"SSH-2.0-test\r\n\xff\xff\xff\xff\x00",
        b"SSH-2.0-test\r\n\x00\x00\x00\x00\x00",
        b"SSH-2.0-test\r\n\x00\x00\x00\x0c\x0a\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"SSH-2.0-test\r\n\x00\x01\x00\x04\x0a",
    ] {
        expect_end(greet(said));
    }
    // One who says nothing, and one who says a byte at a time, are hung up on.
    expect_end(greet(b""));
    let mut slow = greet(b"SSH-2.0-");
    while slow.write_all(b"x").is_ok() {
        thread::sleep(GRACE / 8);
    }
    expect_end(slow);
    let deadline = Instant::now() + 3 * GRACE;
    while ended() < before + count && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(ended() >= before + count, "each session has ended");
    assert!(STRANGERS.load(Ordering::SeqCst) >= strangers + count);
    assert_eq!(done(client("admin", "admin").arg("status")).0, 0);
}
