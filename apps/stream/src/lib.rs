//! Echo (RFC 862), discard (RFC 863) and chargen (RFC 864) over TCP: what a stream can do, in both directions.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod pattern;

use alloc::rc::Rc;
use alloc::vec::Vec;
use app::task::{Executor, Spawner, yield_now};
use app::{App, AppError, Env, ListenOptions, TcpListener, TcpStream, log};
use core::cell::Cell;

/// The three services.
pub struct Stream;

#[derive(Clone, Copy)]
enum Service {
    Echo,
    Discard,
    Chargen,
}

impl Service {
    const ALL: [Self; 3] = [Self::Echo, Self::Discard, Self::Chargen];

    fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Discard => "discard",
            Self::Chargen => "chargen",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Echo => 7,
            Self::Discard => 9,
            Self::Chargen => 19,
        }
    }
}

/// What all connections share.
struct Shared {
    spawner: Spawner,
    /// Several rounds of the chargen pattern.
    pattern: Vec<u8>,
    open: Cell<usize>,
    most: usize,
}

/// Bytes of a connection's buffer in `echo`.
const ECHO_BUFFER: usize = 64 << 10;

/// Turns after which a task that never waits lets others have theirs.
const TURNS: usize = 16;

impl App for Stream {
    fn name(&self) -> &'static str {
        "stream"
    }

    fn listeners(&self) -> usize {
        Service::ALL.len()
    }

    fn run(&self, env: &'static Env) -> Result<(), AppError> {
        // Buffers as long as a fast link with some delay fills them, where there is the memory.
        let memory = usize::try_from(env.memory_bytes()).unwrap_or(usize::MAX);
        let buffer = (memory / 256).clamp(64 << 10, 1 << 20);
        let options =
            ListenOptions { receive_buffer: buffer, send_buffer: buffer, ..ListenOptions::default() };
        let executor = Executor::new();
        let shared = Rc::new(Shared {
            spawner: executor.spawner(),
            pattern: pattern::rounds(9)?,
            open: Cell::new(0),
            most: (memory / 4 / (2 * buffer + ECHO_BUFFER)).max(4),
        });
        let mut accepting = Vec::new();
        for service in Service::ALL {
            let listener = TcpListener::bind(service.port(), options)?;
            accepting.push(executor.spawner().spawn(accept(service, listener, shared.clone()))?);
            env.ready(service.name(), service.port());
        }
        executor.run(async {
            for task in accepting {
                task.await;
            }
        });
        Ok(())
    }
}

/// Serves a listener, for ever. A connection that there is no memory for is aborted.
async fn accept(service: Service, listener: TcpListener, shared: Rc<Shared>) {
    loop {
        let stream = Rc::new(listener.accept().await);
        let spawned = shared.open.get() < shared.most && {
            let counted = Counted::new(shared.clone());
            let future = serve(service, stream.clone(), counted);
            shared.spawner.spawn(future).is_ok()
        };
        if !spawned {
            stream.abort();
        }
    }
}

/// Counts a connection while it lives.
struct Counted(Rc<Shared>);

impl Counted {
    fn new(shared: Rc<Shared>) -> Self {
        shared.open.set(shared.open.get() + 1);
        Self(shared)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

async fn serve(service: Service, stream: Rc<TcpStream>, shared: Counted) {
    let served = match service {
        Service::Echo => echo(&stream).await,
        Service::Discard => discard(&stream).await,
        Service::Chargen => chargen(&stream, &shared.0).await,
    };
    match served {
        Ok(()) => stream.shutdown(),
        Err(error) => {
            log::debug!("{}: {error}", service.name());
            stream.abort();
        }
    }
}

async fn echo(stream: &TcpStream) -> Result<(), AppError> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(ECHO_BUFFER)?;
    buffer.resize(ECHO_BUFFER, 0);
    loop {
        for _ in 0..TURNS {
            let length = stream.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..length]).await?;
        }
        yield_now().await;
    }
}

async fn discard(stream: &TcpStream) -> Result<(), AppError> {
    loop {
        for _ in 0..TURNS {
            let end = stream.read_with(|input| (input.len(), input.is_empty())).await?;
            if end {
                return Ok(());
            }
        }
        yield_now().await;
    }
}

async fn chargen(stream: &Rc<TcpStream>, shared: &Shared) -> Result<(), AppError> {
    // What the client sends is thrown away meanwhile.
    let input = stream.clone();
    let reading = shared.spawner.spawn(async move { discard(&input).await })?;
    let written = generate(stream, &shared.pattern).await;
    reading.cancel();
    written
}

async fn generate(stream: &TcpStream, pattern: &[u8]) -> Result<(), AppError> {
    loop {
        for _ in 0..TURNS {
            stream.write_all(pattern).await?;
        }
        yield_now().await;
    }
}
