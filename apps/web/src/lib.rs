//! A web server of the files packed into the image, with a JSON status at `/status`.
#![no_std]
extern crate alloc;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use app::requests::Meter;
use app::time::{Duration, Instant};
use app::{App, AppError, Env, ListenOptions, TcpListener};
use http::{Limits, Live, RECEIVE_BUFFER, Server, Site};

/// The web server. Settings: `web.port` (80) and `web.maxclients` (as many as a quarter of the memory has buffers for).
pub struct Web;

/// The TCP port without a setting.
const PORT: u16 = 80;

/// Bytes of a connection besides its buffers, about.
const CONNECTION_MEMORY: usize = 2 << 10;

impl App for Web {
    fn name(&self) -> &'static str {
        "web"
    }

    fn run(&self, env: &'static Env) -> Result<(), AppError> {
        let port = number(env, "web.port", "a port number")?.unwrap_or(PORT);
        let memory = usize::try_from(env.memory_bytes()).unwrap_or(usize::MAX);
        let send_buffer = (memory / 8192).clamp(8 << 10, 64 << 10);
        let affordable = (memory / 4 / (RECEIVE_BUFFER + send_buffer + CONNECTION_MEMORY)).max(16);
        let connections = number(env, "web.maxclients", "a number of connections")?.unwrap_or(affordable);

        let status = Live {
            path: "status",
            media_type: "application/json",
            make: Box::new(move |server, _| figures(env, server)),
        };
        let server = Server::new(Site::new(env.files(), "")?, vec![status]);
        let options =
            ListenOptions { receive_buffer: RECEIVE_BUFFER, send_buffer, ..ListenOptions::default() };
        let listener = TcpListener::bind(port, options)?;
        env.ready("http", port);
        let limits = Limits { connections, gap: Duration::ZERO };
        Ok(http::serve(&listener, server, limits, Some(Meter::new(self.name())))?)
    }
}

fn number<T: core::str::FromStr>(
    env: &Env,
    key: &'static str,
    expected: &'static str,
) -> Result<Option<T>, AppError> {
    let parse = |value: &str| value.parse().map_err(|_| AppError::Setting { key, expected });
    env.setting(key).map(parse).transpose()
}

/// The figures of `/status`, as JSON.
fn figures(env: &Env, server: &Server) -> String {
    let uptime = Duration::from_nanos(Instant::now().as_nanos());
    let (seconds, milliseconds) = (uptime.as_secs(), uptime.subsec_millis());
    let (memory, free, cpus) = (env.memory_bytes(), env.free_memory_bytes(), env.cpus());
    let (open, accepted, requests) = (server.open(), server.accepted(), server.requests());
    format!(
        "{{\"mode\":\"native\",\"uptime_seconds\":{seconds}.{milliseconds:03},\"cpus\":{cpus},\
         \"memory\":{{\"total_bytes\":{memory},\"free_bytes\":{free}}},\
         \"connections\":{{\"open\":{open},\"accepted\":{accepted}}},\"requests\":{requests}}}\n"
    )
}
