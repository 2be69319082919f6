//! The table of applications: which are in the image is decided by Cargo features `app-NAME`.

use app::{App, Env};
use machine::thread;

include!(concat!(env!("OUT_DIR"), "/packed_files.rs"));

/// The applications of this image, in the order in which they start.
pub static APPS: &[&dyn App] = &[
    #[cfg(feature = "app-kv")]
    &kv::Server,
    #[cfg(feature = "app-web")]
    &web::Web,
    #[cfg(feature = "app-stream")]
    &stream::Stream,
    #[cfg(feature = "app-hello")]
    &hello::Hello,
    #[cfg(feature = "app-bench")]
    &bench::Bench,
    #[cfg(feature = "app-selftest")]
    &selftest::SelfTest,
    #[cfg(feature = "app-faults")]
    &faults::Faults,
];

/// Starts each application on a thread of its own.
pub fn start(env: &'static Env) {
    for app in APPS {
        let run = move || match app.run(env) {
            Ok(()) => log::info!("{} has ended", app.name()),
            Err(error) => log::error!("{} failed: {error}", app.name()),
        };
        if let Err(error) = thread::Builder::new(app.name()).stack_size(256 * 1024).spawn(run) {
            log::error!("{} was not started: {error:?}", app.name());
        }
    }
}
