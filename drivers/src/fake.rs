//! What fake devices do with the memory that drivers lend them.

/// Reads memory as a device does.
pub(crate) fn word<T: Copy>(address: u64) -> T {
    // SAFETY: addresses come from the driver under test.
    unsafe { (address as *const T).read_volatile() }
}

/// Writes memory as a device does.
pub(crate) fn put<T: Copy>(address: u64, value: T) {
    // SAFETY: as above.
    unsafe { (address as *mut T).write_volatile(value) }
}

/// A device that may be told of this memory spoils nobody's.
pub(crate) fn assert_pooled(address: u64, length: u32) {
    let memory = address..address + u64::from(length);
    assert!(
        machine::dma::holds(memory.clone()),
        "the device is told of {memory:x?}, which is not of the pool"
    );
}
