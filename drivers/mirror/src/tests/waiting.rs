use super::*;

/// A disk of a user, and what is noted of it.
fn flush(disk: &mut FakeDisk, unflushed: &mut Unflushed) -> Result<(), BlockError> {
    Used { disk, unflushed, new: None }.flush()
}

fn write(disk: &mut FakeDisk, unflushed: &mut Unflushed, sector: u64) -> Result<(), BlockError> {
    Used { disk, unflushed, new: None }.write(sector, &[1; SECTOR])
}

#[test]
fn a_disk_is_known_again_after_it_was_written() {
    let mut disk = old();
    let identity = Identity::of(&mut disk).unwrap();
    write(&mut disk, &mut Unflushed::default(), HEAD).unwrap();
    assert_eq!(identity.check(&mut disk), Ok(()));
}

#[test]
fn another_disk_is_told_from_it() {
    let mut disk = old();
    let identity = Identity::of(&mut disk).unwrap();
    let check = |mut other: FakeDisk| identity.check(&mut other);
    assert_eq!(check(disk_of(SECTORS + 1, PARTITION)), Err(Stranger::Size(SECTORS + 1, SECTORS)));
    assert_eq!(check(disk_of(SECTORS, PARTITION - 1)), Err(Stranger::Table));
    assert_eq!(check(blank(SECTORS)), Err(Stranger::Table));
    let mut broken = old();
    broken.unreadable = 1..2;
    assert_eq!(check(broken), Err(Stranger::Unreadable(BlockError::Io)));
    let read_only = FakeDisk { read_only: true, ..old() };
    assert_eq!(check(read_only), Err(Stranger::Mode));
    // The one that was replaced is none that is waited for.
    gpt::mark_replaced(&mut disk).unwrap();
    assert_eq!(check(disk), Err(Stranger::Table));
}

#[test]
fn what_was_not_flushed_is_told_once() {
    let (mut disk, mut unflushed) = (old(), Unflushed::default());
    write(&mut disk, &mut unflushed, HEAD).unwrap();
    flush(&mut disk, &mut unflushed).unwrap();
    unflushed.lose();
    assert_eq!(flush(&mut disk, &mut unflushed), Ok(()), "all had been flushed");
    write(&mut disk, &mut unflushed, HEAD).unwrap();
    unflushed.lose();
    // What is written after its return does not hide that.
    write(&mut disk, &mut unflushed, HEAD + 1).unwrap();
    assert_eq!(flush(&mut disk, &mut unflushed), Err(BlockError::Lost));
    assert_eq!(flush(&mut disk, &mut unflushed), Ok(()));
}

#[test]
fn a_write_that_failed_may_be_lost_too() {
    let (mut disk, mut unflushed) = (old(), Unflushed::default());
    disk.patience = Some(0);
    assert_eq!(write(&mut disk, &mut unflushed, HEAD), Err(BlockError::Io));
    disk.patience = None;
    unflushed.lose();
    assert_eq!(flush(&mut disk, &mut unflushed), Err(BlockError::Lost));
}
