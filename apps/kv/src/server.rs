//! The application: one task per connection, all on one thread, so that the store needs no lock.
use crate::config::parse_memory;
use crate::session::{Session, Status};
use crate::store::Store;
use alloc::rc::Rc;
use alloc::string::ToString;
use alloc::vec::Vec;
use app::requests::Meter;
use app::time::Instant;
use app::{App, AppError, Env, ListenOptions, TcpError, TcpListener, TcpStream, task, time};
use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use machine::cpu;

/// The store as an application: settings `kv.maxmemory` (such as `64mb`; by default six tenths of the memory) and
/// `kv.requirepass`.
pub struct Server;

/// The port of Redis.
const PORT: u16 = 6379;
/// How often keys are removed whose time is over, and how many at once.
const EXPIRE_INTERVAL: Duration = Duration::from_millis(100);
const EXPIRE_BUDGET: usize = 2_000;
/// Output buffers larger than this are given back when they are empty.
const KEPT_OUTPUT: usize = 128 * 1024;

/// What the connections share.
struct Shared {
    store: RefCell<Store>,
    /// Input on its way from the network to a session: used between two waits only.
    input: RefCell<Vec<u8>>,
    meter: Meter,
}

impl App for Server {
    fn name(&self) -> &'static str {
        "kv"
    }

    fn run(&self, env: &'static Env) -> Result<(), AppError> {
        let mut store = Store::new([entropy(), entropy()], now());
        let limit = match env.setting("kv.maxmemory") {
            Some(text) => parse_memory(text.as_bytes()).ok_or(AppError::Setting {
                key: "kv.maxmemory",
                expected: "a number of bytes, such as 64mb",
            })?,
            None => usize::try_from(env.memory_bytes() / 10 * 6).unwrap_or(usize::MAX),
        };
        store.set_maxmemory(limit);
        if let Some(password) = env.setting("kv.requirepass") {
            store.set_password(password.as_bytes());
        }
        let options = ListenOptions { backlog: 1024, no_delay: true, ..ListenOptions::default() };
        let listener = TcpListener::bind(PORT, options)?;
        let meter = Meter::new(self.name());
        let shared = Rc::new(Shared { store: RefCell::new(store), input: RefCell::default(), meter });
        let executor = task::Executor::new();
        let spawner = executor.spawner();
        let clock = shared.clone();
        spawner.spawn(async move { keep_time(&clock).await })?;
        env.ready("kv", PORT);
        executor.run(async {
            loop {
                let stream = listener.accept().await;
                if shared.store.borrow_mut().is_full() {
                    stream.try_write(b"-ERR max number of clients reached\r\n");
                    continue;
                }
                let shared = shared.clone();
                if spawner.spawn(async move { serve(&shared, &stream).await }).is_err() {
                    log::warn!(target: "kv", "no memory for one more connection");
                }
            }
        })
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    u64::try_from(time::wall_clock().as_millis()).unwrap_or(u64::MAX)
}

/// Half of the hash key. Without a source of entropy in the CPU the time of boot must do.
fn entropy() -> u64 {
    cpu::hardware_random().unwrap_or_else(|| {
        cpu::tsc().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(time::wall_clock().subsec_nanos())
    })
}

/// Removes keys whose time is over.
async fn keep_time(shared: &Shared) {
    loop {
        task::sleep(EXPIRE_INTERVAL).await;
        shared.store.borrow_mut().tick(now());
        while shared.store.borrow_mut().expire_cycle(now(), EXPIRE_BUDGET) == EXPIRE_BUDGET {
            task::yield_now().await;
        }
    }
}

/// What a connection waited for.
enum Event {
    /// There is input, in `Shared::input`; or none any more.
    Input(Result<(), TcpError>),
    /// The store has something for it, or a wait is over.
    News,
}

/// Waits for input (if the session takes any), news or the deadline of a blocked command.
async fn next_event(shared: &Shared, stream: &TcpStream, session: &Session) -> Event {
    let read = pin!(stream.read_with(|data| {
        let mut input = shared.input.borrow_mut();
        input.clear();
        // As much as there is memory for; the rest is offered again.
        let taken =
            if input.try_reserve(data.len()).is_ok() { data.len() } else { input.capacity().min(data.len()) };
        input.extend_from_slice(&data[..taken]);
        (taken, ())
    }));
    let alarm = pin!(async {
        match session.deadline() {
            Some(deadline) => task::sleep(Duration::from_millis(deadline.saturating_sub(now()))).await,
            None => core::future::pending().await,
        }
    });
    let (mut read, mut alarm) = (read, alarm);
    let takes_input = session.wants_input();
    let blocked = session.is_blocked();
    poll_fn(|cx| {
        session.client().set_waker(cx.waker());
        if session.client().has_news() || (blocked && alarm.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Event::News);
        }
        if takes_input { read.as_mut().poll(cx).map(Event::Input) } else { Poll::Pending }
    })
    .await
}

async fn serve(shared: &Shared, stream: &TcpStream) {
    let mut session = Session::new(&mut shared.store.borrow_mut(), stream.peer().to_string(), now());
    // An error means that the peer is gone: there is nobody to tell.
    let _ = converse(shared, stream, &mut session).await;
    session.close(&mut shared.store.borrow_mut());
    stream.shutdown();
}

async fn converse(shared: &Shared, stream: &TcpStream, session: &mut Session) -> Result<(), TcpError> {
    let mut out = Vec::new();
    // Input that was not taken because there was too much output.
    let mut rest: Vec<u8> = Vec::new();
    loop {
        let event = next_event(shared, stream, session).await;
        let taken = Instant::now();
        let mut status = match event {
            Event::News => session.poll(&mut shared.store.borrow_mut(), now(), &mut out),
            Event::Input(result) => {
                result?;
                let input = shared.input.borrow();
                if input.is_empty() {
                    return Ok(());
                }
                let fed = session.feed(&mut shared.store.borrow_mut(), now(), &input, &mut out);
                if fed.consumed < input.len() {
                    rest.extend_from_slice(&input[fed.consumed..]);
                }
                fed.status
            }
        };
        loop {
            send(stream, &mut out).await?;
            let goes_on = status == Status::Full || (!rest.is_empty() && session.wants_input());
            if status == Status::Close || !goes_on {
                break;
            }
            let fed = session.feed(&mut shared.store.borrow_mut(), now(), &rest, &mut out);
            rest.drain(..fed.consumed);
            status = fed.status;
        }
        shared.meter.answered(session.take_executed(), taken);
        if status == Status::Close {
            return Ok(());
        }
    }
}

async fn send(stream: &TcpStream, out: &mut Vec<u8>) -> Result<(), TcpError> {
    if !out.is_empty() {
        stream.write_all(out).await?;
        if out.capacity() > KEPT_OUTPUT {
            *out = Vec::new();
        } else {
            out.clear();
        }
    }
    Ok(())
}
