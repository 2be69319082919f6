//! A network card that fails on purpose, at a chosen step of its life: for tests of a swap, on the host and in whole machines.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use crate::swap::Step;
use crate::{
    Device, DeviceState, ExportedState, LifecycleError, LinkInfo, MacAddr, NetDevice, RxFrame, TransmitError,
    TxMeta,
};

/// Which step of a card fails the next time it is made: once, then all is as it should be.
#[derive(Debug, Default)]
pub struct Plan(AtomicUsize);

impl Plan {
    /// None fails.
    pub const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// This one fails, or none.
    pub fn fail_at(&self, step: Option<Step>) {
        self.0.store(step.map_or(0, Self::number), Ordering::Release);
    }

    fn number(step: Step) -> usize {
        1 + step as usize
    }

    fn is_at(&self, step: Step) -> bool {
        self.0.load(Ordering::Acquire) == Self::number(step)
    }

    /// Whether this step fails now; then the plan is carried out.
    fn takes(&self, step: Step) -> bool {
        self.0.compare_exchange(Self::number(step), 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn meet(&self, step: Step) -> Result<(), LifecycleError> {
        if self.takes(step) { Err(LifecycleError::Timeout) } else { Ok(()) }
    }
}

/// A card that does what another one does, but where the plan has it fail.
pub struct FailingNet {
    card: Box<dyn NetDevice>,
    plan: &'static Plan,
    /// It has been resumed, and nothing was sent since.
    is_fresh: bool,
}

impl FailingNet {
    /// Fails where the plan says so.
    pub fn new(card: Box<dyn NetDevice>, plan: &'static Plan) -> Self {
        Self { card, plan, is_fresh: false }
    }
}

impl Device for FailingNet {
    fn name(&self) -> &'static str {
        self.card.name()
    }

    fn state(&self) -> DeviceState {
        self.card.state()
    }

    fn quiesce(&mut self) -> Result<(), LifecycleError> {
        self.plan.meet(Step::Quiesce)?;
        self.card.quiesce()
    }

    fn export(&self) -> Result<ExportedState, LifecycleError> {
        self.plan.meet(Step::Export)?;
        self.card.export()
    }

    fn import(&mut self, state: &ExportedState) -> Result<(), LifecycleError> {
        self.plan.meet(Step::Import)?;
        self.card.import(state)
    }

    fn resume(&mut self) -> Result<(), LifecycleError> {
        self.plan.meet(Step::Resume)?;
        self.is_fresh = true;
        self.card.resume()
    }

    fn halt(&mut self) {
        self.card.halt();
    }

    fn abandon(&mut self) {
        self.card.abandon();
    }
}

impl NetDevice for FailingNet {
    /// A card that is not to be adopted has the address of a group.
    fn link(&self) -> LinkInfo {
        let mut link = self.card.link();
        if self.is_fresh && self.plan.takes(Step::Replace) {
            link.mac = MacAddr([1, 0, 0, 0, 0, 0]);
        }
        link
    }

    fn link_up(&self) -> bool {
        !(self.is_fresh && self.plan.is_at(Step::Connect)) && self.card.link_up()
    }

    fn warm_up(&self) -> Duration {
        self.card.warm_up()
    }

    fn receive(&mut self) -> Option<RxFrame> {
        self.card.receive()
    }

    fn recycle(&mut self, frame: RxFrame) {
        self.card.recycle(frame);
    }

    fn can_transmit(&mut self) -> bool {
        self.card.can_transmit()
    }

    fn transmit(
        &mut self,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> TxMeta,
    ) -> Result<(), TransmitError> {
        self.is_fresh = false;
        self.card.transmit(len, fill)
    }

    fn flush(&mut self) {
        self.card.flush();
    }

    fn set_interrupts(&mut self, enabled: bool) -> bool {
        self.card.set_interrupts(enabled)
    }
}
