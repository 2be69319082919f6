//! What the stack counts.

/// Why a received or a ready frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drop {
    Malformed,
    Fragment,
    Checksum,
    ForeignAddress,
    DeviceFull,
    TooLong,
}

/// Counters since the stack was started. All only grow, but for `connections` and `buffer_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames received.
    pub received_frames: u64,
    /// Bytes received, Ethernet headers included.
    pub received_bytes: u64,
    /// Frames sent; one that the device cuts into segments counts once.
    pub sent_frames: u64,
    /// Bytes sent, Ethernet headers included.
    pub sent_bytes: u64,
    /// Received frames dropped: lengths contradict each other.
    pub dropped_malformed: u64,
    /// Received frames dropped: an IP fragment.
    pub dropped_fragments: u64,
    /// Received frames dropped: wrong transport checksum.
    pub dropped_checksum: u64,
    /// Received TCP segments dropped: sent to another Ethernet address.
    pub dropped_foreign: u64,
    /// Answers dropped because the device had no room.
    pub dropped_device_full: u64,
    /// Frames dropped because the device can't send as long a one.
    pub dropped_too_long: u64,
    /// Connections there are, in every state.
    pub connections: u64,
    /// Bytes of memory that they hold.
    pub buffer_bytes: u64,
    /// Connections handed to listeners.
    pub accepted: u64,
    /// Connections opened from here.
    pub connected: u64,
    /// Connections refused because the listener's queue was full.
    pub refused_backlog: u64,
    /// Connections refused for want of memory, or because there were too many.
    pub refused_memory: u64,
    /// Half-open connections dropped: never completed, or pushed out by later ones.
    pub half_open_dropped: u64,
    /// Connections ended by a timeout.
    pub timed_out: u64,
    /// TCP segments sent again.
    pub retransmits: u64,
}

impl Statistics {
    pub(crate) fn count_drop(&mut self, reason: Drop) {
        *match reason {
            Drop::Malformed => &mut self.dropped_malformed,
            Drop::Fragment => &mut self.dropped_fragments,
            Drop::Checksum => &mut self.dropped_checksum,
            Drop::ForeignAddress => &mut self.dropped_foreign,
            Drop::DeviceFull => &mut self.dropped_device_full,
            Drop::TooLong => &mut self.dropped_too_long,
        } += 1;
    }
}
