use super::cpus::*;
use super::*;
use proptest::prelude::*;

/// CPUs that can carry the monitor, with the secondary controls they get.
const ABLE: [(Capabilities, u32); 8] = [
    // EPT, RDTSCP, VPID, unrestricted guest, INVPCID, XSAVES.
    (BOCHS_SKYLAKE_X, 0x0010_10aa),
    // User wait and pause, too.
    (ARROW_LAKE, 0x0410_10aa),
    (TIGER_LAKE, 0x0010_10aa),
    (ICE_LAKE, 0x0010_10aa),
    (SKYLAKE_X, 0x0010_10aa),
    (BROADWELL, 0x10aa),
    (SANDY_BRIDGE, 0xaa),
    (ARRANDALE, 0xaa),
];

#[test]
fn able_cpus_get_the_least_that_is_needed() {
    for (can, secondary) in ABLE {
        let controls = Controls::for_sleeping_system(&can).unwrap();
        assert_eq!(controls.pin, 0x16);
        // What must be set, the MSR bitmap, the secondary controls; no CR3 exits.
        assert_eq!(controls.primary, 0x9400_6172);
        assert_eq!(controls.secondary, secondary);
        // What must be set, debug controls, 64-bit host, PAT and EFER saved and loaded.
        assert_eq!(controls.exit, 0x003f_6fff);
        assert_eq!(controls.entry, 0xd3ff);
        assert_eq!((controls.flush_ept, controls.flush_vpid), (Flush::Single, Some(Flush::Single)));
        for (word, allowed) in [
            (controls.pin, can.pin),
            (controls.primary, can.primary),
            (controls.secondary, can.secondary),
            (controls.exit, can.exit),
            (controls.entry, can.entry),
        ] {
            assert!(allowed.permits(word), "{word:#x} {allowed:x?}");
        }
    }
}

#[test]
fn others_are_refused_with_a_reason() {
    let refused = |can: Capabilities| Controls::for_sleeping_system(&can).unwrap_err();
    assert_eq!(refused(PENRYN), Unavailable::NoTrueControls);
    assert_eq!(refused(NEHALEM), Unavailable::NoUnrestrictedGuest);
    let old = Capabilities { basic: SANDY_BRIDGE.basic, ..PENRYN };
    assert_eq!(refused(old), Unavailable::NoEpt);
    let without = |bits: u64| refused(Capabilities { ept_vpid: BROADWELL.ept_vpid & !bits, ..BROADWELL });
    assert_eq!(without(can::EPT_FOUR_LEVELS), Unavailable::NoFourLevelEpt);
    assert_eq!(without(can::EPT_WRITE_BACK), Unavailable::NoWriteBackEpt);
    assert_eq!(without(can::EPT_2M), Unavailable::NoLargeEptLeaves);
    assert_eq!(without(can::INVEPT), Unavailable::NoInvept);
    assert_eq!(without(can::INVEPT_SINGLE | can::INVEPT_ALL), Unavailable::NoInvept);
    let mut can = BROADWELL;
    can.exit.settable &= !exit::LOAD_EFER;
    let missing = MissingControl { word: Word::Exit, unsettable: exit::LOAD_EFER, forced: 0 };
    assert_eq!(refused(can), Unavailable::MissingControl(missing));
    let mut can = BROADWELL;
    can.primary.set |= primary::HLT_EXITING;
    let missing = MissingControl { word: Word::Primary, unsettable: 0, forced: primary::HLT_EXITING };
    assert_eq!(refused(can), Unavailable::MissingControl(missing));
}

#[test]
fn what_flushes_decides_about_the_identifier() {
    let flushes = |bits: u64| {
        let can = Capabilities { ept_vpid: BROADWELL.ept_vpid & !bits, ..BROADWELL };
        let controls = Controls::for_sleeping_system(&can).unwrap();
        assert_eq!(controls.flush_vpid.is_some(), controls.secondary & secondary::ENABLE_VPID != 0);
        (controls.flush_ept, controls.flush_vpid)
    };
    assert_eq!(flushes(can::INVEPT_SINGLE), (Flush::All, Some(Flush::Single)));
    assert_eq!(flushes(can::INVVPID_SINGLE), (Flush::Single, Some(Flush::All)));
    assert_eq!(flushes(can::INVVPID_SINGLE | can::INVVPID_ALL), (Flush::Single, None));
    let mut can = BROADWELL;
    can.secondary.settable &= !secondary::ENABLE_VPID;
    assert_eq!(Controls::for_sleeping_system(&can).unwrap().flush_vpid, None);
}

proptest! {
    /// Whatever a CPU allows (what must be set can be set): a word that it permits, with all that was asked for.
    #[test]
    fn a_chosen_word_is_permitted(wanted: u32, optional: u32, unwanted: u32, set: u32, settable: u32) {
        let wish = Wish { wanted, optional: optional & !unwanted, unwanted: unwanted & !wanted };
        let allowed = Allowed { set, settable: settable | set };
        match choose(Word::Pin, wish, allowed) {
            Ok(word) => {
                prop_assert!(allowed.permits(word));
                prop_assert_eq!(word & wanted, wanted);
                prop_assert_eq!(word & wish.unwanted, 0);
                prop_assert_eq!(word & !(wanted | wish.optional), set & !(wanted | wish.optional));
            }
            Err(missing) => prop_assert!(missing.unsettable | missing.forced != 0),
        }
    }
}
