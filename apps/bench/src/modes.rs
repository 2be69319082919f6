//! The modes of the machine, as benchmarks need them.

pub use inner::Modes;

#[cfg(all(bare_metal, feature = "vmm"))]
mod inner {
    use crate::figure::Mode;
    use alloc::string::{String, ToString};
    use core::time::Duration;
    use mode::Phase;
    use mode::bare::{look, request};

    /// Switches are waited for: a pin or a busy host may hold one up.
    const DEADLINE: Duration = Duration::from_secs(20);

    const fn phase(mode: Mode) -> Phase {
        match mode {
            Mode::Native => Phase::Native,
            Mode::Guest => Phase::Guest,
        }
    }

    /// Takes the machine from mode to mode, and at the end to that in which it began.
    #[derive(Debug)]
    pub struct Modes {
        begin: Option<Phase>,
        /// Why there is no guest mode.
        refusal: Option<String>,
    }

    impl Modes {
        /// Tries whether the machine switches.
        pub fn new() -> Self {
            let begin = look(|figures, _| figures.phase).ok();
            let refusal = request(Some(Phase::Guest), DEADLINE).err().map(|error| error.to_string());
            Self { begin, refusal }
        }

        /// Why there is no guest mode, if so.
        pub fn refusal(&self) -> Option<&str> {
            self.refusal.as_deref()
        }

        /// Switches, unless it is there already.
        pub fn switch_to(&self, mode: Mode) -> Result<(), String> {
            if self.refusal.is_some() && mode == Mode::Native {
                return Ok(());
            }
            request(Some(phase(mode)), DEADLINE).map(|_| ()).map_err(|error| error.to_string())
        }

        /// Counts the switches of the machine, whoever asked for them.
        pub fn switches(&self) -> u64 {
            look(|figures, _| figures.switches).unwrap_or(0)
        }
    }

    impl Drop for Modes {
        fn drop(&mut self) {
            if let Some(Err(error)) = self.begin.map(|phase| request(Some(phase), DEADLINE)) {
                log::error!("the machine does not go back to its mode: {error}");
            }
        }
    }
}

#[cfg(not(all(bare_metal, feature = "vmm")))]
mod inner {
    use crate::figure::Mode;
    use alloc::string::String;

    /// One mode only.
    #[derive(Debug)]
    pub struct Modes;

    impl Modes {
        /// Nothing to be tried.
        pub fn new() -> Self {
            Self
        }

        /// Always.
        pub fn refusal(&self) -> Option<&str> {
            Some("the VMM was left out of this image")
        }

        /// There is nowhere to go.
        pub fn switch_to(&self, _: Mode) -> Result<(), String> {
            Ok(())
        }

        /// None.
        pub fn switches(&self) -> u64 {
            0
        }
    }
}
