//! What several CPUs say in their capability registers: the public dumps that Bochs's source keeps beside its models
//! (`bochs/cpu/cpudb/intel`), as values of the registers, TRUE ones where the CPU has them.

use x86defs::vmx::capability::{Allowed, Capabilities, Fixed};

/// The registers of one CPU.
struct Dump {
    basic: u64,
    pin: u64,
    primary: u64,
    secondary: u64,
    exit: u64,
    entry: u64,
    misc: u64,
    ept_vpid: u64,
    cr4_fixed1: u64,
}

const fn read(dump: &Dump) -> Capabilities {
    Capabilities {
        basic: dump.basic,
        pin: Allowed::from_msr(dump.pin),
        primary: Allowed::from_msr(dump.primary),
        secondary: Allowed::from_msr(dump.secondary),
        exit: Allowed::from_msr(dump.exit),
        entry: Allowed::from_msr(dump.entry),
        misc: dump.misc,
        ept_vpid: dump.ept_vpid,
        cr0: Fixed { set: 0x8000_0021, settable: 0xffff_ffff },
        cr4: Fixed { set: 0x2000, settable: dump.cr4_fixed1 },
    }
}

/// Bochs 2.7 itself, model corei7_skylake_x, as measured; the lower halves of the exit and entry controls and MISC as its
/// source computes them.
pub const BOCHS_SKYLAKE_X: Capabilities = read(&Dump {
    basic: 0x00d8_1000_0000_002b,
    pin: 0x0000_007f_0000_0016,
    primary: 0xf7f9_fffe_0400_6172,
    secondary: 0x0217_7fff_0000_0000,
    exit: 0x007f_ffff_0003_6dfb,
    entry: 0x0000_ffff_0000_11fb,
    misc: 0x2004_01e0,
    ept_vpid: 0x0f01_0633_4141,
    cr4_fixed1: 0x0037_27ff,
});

/// Arrow Lake.
pub const ARROW_LAKE: Capabilities = read(&Dump {
    basic: 0x03da_0600_0000_0015,
    pin: 0x0000_00ff_0000_0016,
    primary: 0xfffb_fffe_0400_6172,
    secondary: 0xc75f_7fff_0000_0000,
    exit: 0xff7f_ffff_0003_6dfb,
    entry: 0x007e_ffff_0000_11fb,
    misc: 0x7004_c1e7,
    ept_vpid: 0x0f01_06f3_4141,
    cr4_fixed1: 0x1bf7_6fff,
});

/// Tiger Lake.
pub const TIGER_LAKE: Capabilities = read(&Dump {
    basic: 0x01da_0500_0000_0013,
    pin: 0x0000_00ff_0000_0016,
    primary: 0xfffb_fffe_0400_6172,
    secondary: 0x035f_3fff_0000_0000,
    exit: 0x137f_ffff_0003_6dfb,
    entry: 0x0016_ffff_0000_11fb,
    misc: 0x7004_c1e7,
    ept_vpid: 0x0f01_06f3_4141,
    cr4_fixed1: 0x00ff_2fff,
});

/// Ice Lake U.
pub const ICE_LAKE: Capabilities = read(&Dump {
    basic: 0x00da_0500_0000_0013,
    pin: 0x0000_00ff_0000_0016,
    primary: 0xfff9_fffe_0400_6172,
    secondary: 0x335f_bfff_0000_0000,
    exit: 0x037f_ffff_0003_6dfb,
    entry: 0x0006_ffff_0000_11fb,
    misc: 0x7004_c1e7,
    ept_vpid: 0x0f01_0673_4141,
    cr4_fixed1: 0x0077_2fff,
});

/// Skylake X.
pub const SKYLAKE_X: Capabilities = read(&Dump {
    basic: 0x00da_0400_0000_0004,
    pin: 0x0000_00ff_0000_0016,
    primary: 0xfff9_fffe_0400_6172,
    secondary: 0x025d_3fff_0000_0000,
    exit: 0x01ff_ffff_0003_6dfb,
    entry: 0x0003_ffff_0000_11fb,
    misc: 0x7004_c1e7,
    ept_vpid: 0x0f01_0673_4141,
    cr4_fixed1: 0x0037_27ff,
});

/// Broadwell ULT: no XSAVES.
pub const BROADWELL: Capabilities = read(&Dump {
    basic: 0x00da_0400_0000_0012,
    pin: 0x0000_007f_0000_0016,
    primary: 0xfff9_fffe_0400_6172,
    secondary: 0x0005_7cff_0000_0000,
    exit: 0x007f_ffff_0003_6dfb,
    entry: 0x0000_ffff_0000_11fb,
    misc: 0x3004_81e5,
    ept_vpid: 0x0f01_0633_4141,
    cr4_fixed1: 0x0037_67ff,
});

/// Sandy Bridge 2600K: no leaves of 1 GiB, no INVPCID.
pub const SANDY_BRIDGE: Capabilities = read(&Dump {
    basic: 0x00da_0400_0000_0010,
    pin: 0x0000_007f_0000_0016,
    primary: 0xfff9_fffe_0400_6172,
    secondary: 0x0000_00ff_0000_0000,
    exit: 0x007f_ffff_0003_6dfb,
    entry: 0x0000_ffff_0000_11fb,
    misc: 0x1004_01e5,
    ept_vpid: 0x0f01_0611_4141,
    cr4_fixed1: 0x0006_27ff,
});

/// Arrandale M520: the first with unrestricted guests.
pub const ARRANDALE: Capabilities = read(&Dump {
    basic: 0x00da_0400_0000_000f,
    pin: 0x0000_007f_0000_0016,
    primary: 0xfff9_fffe_0400_6172,
    secondary: 0x0000_00ff_0000_0000,
    exit: 0x007f_ffff_0003_6dfb,
    entry: 0x0000_ffff_0000_11fb,
    misc: 0x0004_01e5,
    ept_vpid: 0x0f01_0611_4141,
    cr4_fixed1: 0x67ff,
});

/// Nehalem, its predecessor: EPT and VPID, but no unrestricted guest (the secondary controls of QEMU's model "Nehalem"; all
/// else as [`ARRANDALE`]).
pub const NEHALEM: Capabilities = Capabilities { secondary: Allowed { set: 0, settable: 0x6f }, ..ARRANDALE };

/// Penryn T9600: no TRUE registers, no EPT.
pub const PENRYN: Capabilities = read(&Dump {
    basic: 0x005a_0800_0000_000d,
    pin: 0x0000_003f_0000_0016,
    primary: 0xf7f9_fffe_0401_e172,
    secondary: 0x0000_0041_0000_0000,
    exit: 0x0003_ffff_0003_6dff,
    entry: 0x0000_3fff_0000_11ff,
    misc: 0x0004_03c0,
    ept_vpid: 0,
    cr4_fixed1: 0x0004_67ff,
});
