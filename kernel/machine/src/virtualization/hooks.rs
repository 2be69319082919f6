//! Who is called when the switch's interrupts arrive: rooms above this one.

use spin::Once;

static RENDEZVOUS: Once<fn()> = Once::new();
static REPORT: Once<fn()> = Once::new();

/// Says who takes part in a rendezvous on each CPU, and who looks after the VMM's reports. Both run with interrupts off, as
/// interrupt handlers. Once, before the first of these interrupts.
pub fn set(rendezvous: fn(), report: fn()) {
    RENDEZVOUS.call_once(|| rendezvous);
    REPORT.call_once(|| report);
}

pub(crate) fn rendezvous() {
    if let Some(hook) = RENDEZVOUS.get() {
        hook();
    }
}

pub(crate) fn report() {
    if let Some(hook) = REPORT.get() {
        hook();
    }
}
