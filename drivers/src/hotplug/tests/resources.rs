extern crate std;
use crate::hotplug::{Taken, behind, number_bus, window};
use crate::pci::tests::{FakeSpace, at};
use crate::pci::{ConfigSpace, Function, Window, enumerate};

const BRIDGE: [(u16, u32); 2] = [(0, 0x000c_1b36), (0x0c, 0x1_0000)];

fn bridge(space: &FakeSpace, device: u8) -> Function {
    enumerate(space).into_iter().find(|function| function.address == at(0, device, 0)).unwrap()
}

#[test]
fn buses_without_a_number_get_the_next() {
    let mut space = FakeSpace::default();
    space.put(at(0, 2, 0), &BRIDGE);
    space.put(at(0, 2, 0), &[(0x18, 0x20_04_01_00)]);
    space.put(at(0, 3, 0), &BRIDGE);
    space.put(at(0, 3, 0), &[(0x18, 0x2000_0000)]);
    space.sizes.insert((at(0, 3, 0), 0x18), u32::MAX);
    let functions = enumerate(&space);
    let (first, second) = (bridge(&space, 2), bridge(&space, 3));
    assert_eq!((behind(&space, &first), behind(&space, &second)), (Some(1), None));
    assert_eq!(number_bus(&space, &first, &functions, 255), Some(1));
    assert_eq!(number_bus(&space, &second, &functions, 4), None);
    assert_eq!(number_bus(&space, &second, &functions, 255), Some(5));
    assert_eq!(space.read(second.address, 0x18), 0x2005_0500);
    assert_eq!(behind(&space, &second), Some(5));
}

#[test]
fn a_window_is_the_firmwares_or_is_opened() {
    let mut space = FakeSpace::default();
    space.put(at(0, 2, 0), &BRIDGE);
    space.put(at(0, 2, 0), &[(0x20, 0xfe9f_fe80)]);
    space.put(at(0, 3, 0), &BRIDGE);
    // Closed: the base is above the limit.
    space.put(at(0, 3, 0), &[(0x20, 0x0000_fff0)]);
    space.sizes.insert((at(0, 3, 0), 0x20), u32::MAX);
    let mut machine = Window { next: 0xc000_1000, end: 0xc080_0000 };
    let open = |device, machine: &mut Window| {
        window(&space, &bridge(&space, device), machine, 0x20_0000).map(|window| (window.next, window.end))
    };
    assert_eq!(open(2, &mut machine), Some((0xfe80_0000, 0xfea0_0000)));
    assert_eq!(machine.next, 0xc000_1000);
    assert_eq!(open(3, &mut machine), Some((0xc010_0000, 0xc030_0000)));
    assert_eq!((space.read(at(0, 3, 0), 0x20), machine.next), (0xc020_c010, 0xc030_0000));
    // It is open now, and forwards in both directions.
    assert_eq!(open(3, &mut machine), Some((0xc010_0000, 0xc030_0000)));
    assert_eq!(space.read(at(0, 3, 0), 4) & 7, 7);
    let mut full = Window { next: 0xc070_0000, end: 0xc080_0000 };
    space.write(at(0, 3, 0), 0x20, 0);
    assert_eq!(open(3, &mut full), None);
}

#[test]
fn addresses_in_use_are_left_alone() {
    let mut space = FakeSpace::default();
    space.put(at(0, 2, 0), &BRIDGE);
    space.put(at(0, 2, 0), &[(0x20, 0xfe9f_fe80), (0x24, 0xfd5f_fd41), (0x10, 0xfea1_1000)]);
    space.sizes.insert((at(0, 2, 0), 0x10), 0xffff_f000);
    // One in use, which is not asked for its length; and one that is not.
    space.put(at(0, 4, 0), &[(0, 0x10d3_8086), (4, 4), (0x10, 0xc200_0000)]);
    space.put(at(0, 5, 0), &[(0, 0x1041_1af4), (0x10, 0xc001), (0x20, 0xc800_000c), (0x24, 0)]);
    space.sizes.insert((at(0, 5, 0), 0x20), 0xffff_c00c);
    space.sizes.insert((at(0, 5, 0), 0x24), u32::MAX);
    let mut taken = Taken::new();
    for function in enumerate(&space) {
        taken.add_function(&space, &function);
    }
    let gap = |taken: &Taken, from: u64, to: u64| {
        let Window { next, end } = taken.largest_gap(from..to);
        (next, end)
    };
    assert_eq!(gap(&taken, 0xc000_0000, 0xfe00_0000), (0xc810_0000, 0xfd40_0000));
    assert_eq!(gap(&taken, 0xc000_0000, 0xc280_0000), (0xc000_0000, 0xc200_0000));
    assert_eq!(gap(&taken, 0xc000_0000, 0xc7f0_0000), (0xc400_0000, 0xc7f0_0000));
    assert_eq!(gap(&taken, 0xfe80_0000, 0xfe90_0000), (0xfe80_0000, 0xfe80_0000));
    taken.add(0xc000_0000..0xfe00_0000);
    assert_eq!(gap(&taken, 0xc000_0000, 0xfe00_0000), (0xc000_0000, 0xc000_0000));
}
