//! The finished image, looked at from outside.

use std::fs;
use std::mem::MaybeUninit;

use hermit_entry::elf::KernelObject;
use image_builder::{elf, kernel, workspace::Workspace};
use tests::guest;

#[test]
fn hermits_own_loader_takes_it() {
    let file = fs::read(guest::image("kv")).unwrap();
    let object = KernelObject::parse(&file).unwrap();
    assert!(object.hermit_version().is_some(), "no Hermit version in the notes");
    let start = object.start_addr().expect("the image is linked at a fixed address");
    assert_eq!(start % (2 << 20), 0, "{start:#x}");
    let mut memory = vec![MaybeUninit::new(0xa5); object.mem_size()];
    let loaded = object.load_kernel(&mut memory, start);
    let range = loaded.load_info.kernel_image_addr_range;
    assert_eq!(range, start..start + memory.len() as u64);
    assert!(range.contains(&loaded.entry_point), "{:#x} in {range:x?}", loaded.entry_point);
}

#[test]
fn it_is_small_whole_and_safe() {
    let image = kernel::image(&Workspace::find().unwrap(), &kernel::Content::of("kv")).unwrap();
    let report = image.report;
    assert!(report.file <= 4 << 20, "the issue's limit is 4 MiB: {report}");
    assert!(report.functions > 100, "{report}");
    assert_eq!(report.file, fs::metadata(&image.elf).unwrap().len());
    // What is finished already is not finished again, but the unfinished file passes all checks as often as one likes:
    // no segment both writable and executable, all doors there, no function of ours with data below its stack pointer.
    let unfinished = fs::read(&image.unstripped).unwrap();
    assert_eq!(elf::finish(&unfinished).unwrap().report, report);
}
