//! What an application is told about the machine it runs on.
use alloc::string::String;
use alloc::vec::Vec;
use machine::sync::Mutex;
use machine::time::Instant;

/// A file packed into the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Relative to the packed directory, `/` between the parts, none in front: `css/site.css`.
    pub path: &'static str,
    /// The content.
    pub data: &'static [u8],
}

/// Settings, files and figures of the machine: one for all applications.
pub struct Env {
    command_line: &'static str,
    files: &'static [File],
    memory_bytes: u64,
    free_memory: fn() -> u64,
    cpus: usize,
    listeners: usize,
    /// What is ready, in the order in which it was.
    ready: Mutex<Vec<(String, u16)>>,
}

impl Env {
    /// An environment with this kernel command line, no files, one CPU and no figures of memory.
    pub const fn new(command_line: &'static str) -> Self {
        Self {
            command_line,
            files: &[],
            memory_bytes: 0,
            free_memory: || 0,
            cpus: 1,
            listeners: 0,
            ready: Mutex::new(Vec::new()),
        }
    }

    /// With the files packed into the image, sorted by path (in byte order).
    #[must_use]
    pub const fn with_files(mut self, files: &'static [File]) -> Self {
        self.files = files;
        self
    }

    /// With the bytes of memory the machine has for the system, and a way to ask how many of them are free.
    #[must_use]
    pub const fn with_memory(mut self, bytes: u64, free: fn() -> u64) -> Self {
        self.memory_bytes = bytes;
        self.free_memory = free;
        self
    }

    /// With the number of CPUs that run.
    #[must_use]
    pub const fn with_cpus(mut self, cpus: usize) -> Self {
        self.cpus = cpus;
        self
    }

    /// With the sum of all applications' `listeners()`: when so many are ready, the boot is over.
    #[must_use]
    pub const fn with_listeners(mut self, listeners: usize) -> Self {
        self.listeners = listeners;
        self
    }

    /// The value of `key=value` on the kernel command line, the last one if it is there more than once.
    pub fn setting(&self, key: &str) -> Option<&'static str> {
        let settings = self.command_line.split_ascii_whitespace().filter_map(|word| word.split_once('='));
        settings.filter(|(name, _)| *name == key).map(|(_, value)| value).next_back()
    }

    /// The kernel command line as it was given.
    pub fn command_line(&self) -> &'static str {
        self.command_line
    }

    /// The files packed into the image, sorted by path.
    pub fn files(&self) -> &'static [File] {
        self.files
    }

    /// The packed file of this path.
    pub fn file(&self, path: &str) -> Option<&'static File> {
        self.files.binary_search_by(|file| file.path.cmp(path)).ok().map(|index| &self.files[index])
    }

    /// Memory the machine has for the system, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Memory that is free at this moment, in bytes.
    pub fn free_memory_bytes(&self) -> u64 {
        (self.free_memory)()
    }

    /// CPUs that run.
    pub fn cpus(&self) -> usize {
        self.cpus
    }

    /// Says in the log that `service` answers on TCP `port`; the last of all listeners ends the boot.
    pub fn ready(&self, service: &str, port: u16) {
        announce(service, port);
        let count = {
            let mut ready = self.ready.lock();
            ready.push((service.into(), port));
            ready.len()
        };
        if count == self.listeners {
            let milliseconds = Instant::now().as_nanos() / 1_000_000;
            log::info!(target: "boot", "serving after {milliseconds} ms");
        }
    }

    /// Says once more what is ready: in the log of another machine, on which the system goes on.
    pub fn announce(&self) {
        self.ready.lock().iter().for_each(|(service, port)| announce(service, *port));
    }
}

fn announce(service: &str, port: u16) {
    log::info!(target: service, "ready: {service} on tcp port {port}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_words_with_an_equals_sign() {
        let env = Env::new("quiet log=info  kv.maxmemory=64mb empty= a=b=c log=debug");
        assert_eq!(env.setting("kv.maxmemory"), Some("64mb"));
        assert_eq!(env.setting("log"), Some("debug"));
        assert_eq!(env.setting("empty"), Some(""));
        assert_eq!(env.setting("a"), Some("b=c"));
        assert_eq!(env.setting("quiet"), None);
        assert_eq!(env.setting("kv"), None);
    }

    #[test]
    fn files_are_found_by_path() {
        static FILES: [File; 3] = [
            File { path: "a/b.txt", data: b"b" },
            File { path: "a/c.txt", data: b"c" },
            File { path: "index.html", data: b"i" },
        ];
        let env = Env::new("").with_files(&FILES);
        assert_eq!(env.file("a/c.txt").map(|file| file.data), Some(&b"c"[..]));
        assert_eq!(env.file("a"), None);
        assert_eq!(env.file("/index.html"), None);
    }
}
