//! What is carried between a job and whoever began it, beside what the job says.

use super::Handle;
use net::ssh::{Gone, Output};

/// A load, as the follower's thread sees it.
pub trait Load {
    /// Whether something can be carried now. Asked under the lock of all jobs.
    fn is_ready(&self) -> bool;
    /// Carries what there is.
    fn carry(&self, job: &Handle, output: &mut dyn Output) -> Result<(), Gone>;
    /// Whether the follower is let go: all that it wanted has happened, though the job goes on.
    fn is_over(&self) -> bool {
        false
    }
}

/// Nothing.
impl Load for () {
    fn is_ready(&self) -> bool {
        false
    }
    fn carry(&self, _: &Handle, _: &mut dyn Output) -> Result<(), Gone> {
        Ok(())
    }
}
