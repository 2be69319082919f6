//! The example: what an application looks like. `cargo qs run hello`, then `nc 127.0.0.1 8080`.
#![no_std]

use app::{App, AppError, Env, ListenOptions, TcpListener, log, task, thread, time::Duration};

/// Greets whoever connects.
pub struct Hello;

impl App for Hello {
    fn name(&self) -> &'static str {
        "hello"
    }

    fn run(&self, env: &'static Env) -> Result<(), AppError> {
        // A thread, which may compute for as long as it likes, here with floating point.
        let term = |k: usize| [4.0, -4.0][k % 2] / (2 * k + 1) as f64;
        let pi = thread::Builder::new("pi").spawn(move || (0..1_000_000).map(term).sum::<f64>())?;
        log::info!("pi is about {:.5}", pi.join());

        // A file of the image, if it was built with one (`--files DIRECTORY`).
        let greeting = env.file("greeting.txt").map_or(&b"Hello from Quicksilver!\n"[..], |file| file.data);

        // Tasks: many of them on one thread. One wakes up every minute, and there is one for each connection.
        let listener = TcpListener::bind(8080, ListenOptions::default())?;
        let executor = task::Executor::new();
        let spawner = executor.spawner();
        spawner.spawn(async {
            loop {
                task::sleep(Duration::from_secs(60)).await;
                log::info!("still here");
            }
        })?;
        env.ready("hello", 8080);
        executor.run(async {
            loop {
                let stream = listener.accept().await;
                let greet = async move {
                    if stream.write_all(greeting).await.is_ok() {
                        stream.shutdown();
                    }
                };
                // Without memory for the task, the connection is dropped and the next one served.
                spawner.spawn(greet).ok();
            }
        })
    }
}
