//! What several CPUs say in their capability registers.

use x86defs::vmx::capability::{Allowed, Capabilities, Fixed};
use x86defs::vmx::control::secondary;

const CR0: Fixed = Fixed { set: 0x8000_0021, settable: 0xffff_ffff };

/// Bochs 2.7, model corei7_skylake_x, as measured.
pub const BOCHS_SKYLAKE_X: Capabilities = Capabilities {
    basic: 0x00d8_1000_0000_002b,
    pin: Allowed { set: 0x16, settable: 0x7f },
    primary: Allowed { set: 0x0400_6172, settable: 0xf7f9_fffe },
    secondary: Allowed { set: 0, settable: 0x0217_7fff },
    exit: Allowed { set: 0x0003_6dfb, settable: 0x007f_ffff },
    entry: Allowed { set: 0x11fb, settable: 0xffff },
    misc: 0x3004_81e0,
    ept_vpid: 0x0f01_0633_4141,
    cr0: CR0,
    cr4: Fixed { set: 0x2000, settable: 0x0037_27ff },
};

/// A client CPU of the Skylake family: VirtualBox logs in github.com/myspaghetti/macos-virtualbox issues 357 and 224; the
/// secondary controls as QEMU's model "Skylake-Client" lists them.
pub const SKYLAKE_CLIENT: Capabilities = Capabilities {
    basic: 0x00da_0400_0000_0004,
    pin: Allowed { set: 0x16, settable: 0x7f },
    primary: Allowed { set: 0x0400_6172, settable: 0xfff9_fffe },
    secondary: Allowed { set: 0, settable: 0x0003_78ef },
    exit: Allowed { set: 0x0003_6dfb, settable: 0x01ff_ffff },
    entry: Allowed { set: 0x11fb, settable: 0x0003_ffff },
    misc: 0x7004_c1e7,
    ept_vpid: 0x0f01_0673_4141,
    cr0: CR0,
    cr4: Fixed { set: 0x2000, settable: 0x0037_27ff },
};

/// A CPU newer than that, with Processor Trace in VMX: the words in the VirtualBox log of github.com/myspaghetti/macos-virtualbox
/// issue 480; the rest as [`SKYLAKE_CLIENT`], with XSAVES and user wait (QEMU's model "SapphireRapids").
pub const RECENT: Capabilities = Capabilities {
    pin: Allowed { set: 0x16, settable: 0xff },
    primary: Allowed { set: 0x0400_6172, settable: 0xfffb_fffe },
    secondary: Allowed {
        set: 0,
        settable: 0x0003_7bff | secondary::ENABLE_XSAVES | secondary::ENABLE_USER_WAIT_AND_PAUSE,
    },
    exit: Allowed { set: 0x0003_6dfb, settable: 0x137f_ffff },
    entry: Allowed { set: 0x11fb, settable: 0x0016_ffff },
    ..SKYLAKE_CLIENT
};

/// Haswell: VirtualBox log in github.com/myspaghetti/macos-virtualbox issue 662 and in
/// github.com/Stichting-MINIX-Research-Foundation/minix issue 17; the secondary controls as QEMU's model "Haswell" lists them.
pub const HASWELL: Capabilities = Capabilities {
    pin: Allowed { set: 0x16, settable: 0x7f },
    secondary: Allowed { set: 0, settable: 0x78ff },
    exit: Allowed { set: 0x0003_6dfb, settable: 0x007f_ffff },
    entry: Allowed { set: 0x11fb, settable: 0xffff },
    misc: 0x3004_81e5,
    ept_vpid: 0x0f01_0633_4141,
    cr4: Fixed { set: 0x2000, settable: 0x0017_27ff },
    ..SKYLAKE_CLIENT
};

/// Sandy Bridge: no leaves of 1 GiB, no INVPCID. Words of the VirtualBox log in github.com/boot2docker/boot2docker issue 270,
/// the rest as [`HASWELL`].
pub const SANDY_BRIDGE: Capabilities = Capabilities {
    basic: 0x00da_0400_0000_0010,
    secondary: Allowed { set: 0, settable: 0xff },
    ept_vpid: 0x0f01_0611_4141,
    cr4: Fixed { set: 0x2000, settable: 0x0006_27ff },
    ..HASWELL
};

/// Nehalem: EPT and VPID, but no unrestricted guest (QEMU's model "Nehalem").
pub const NEHALEM: Capabilities = Capabilities {
    basic: 0x00da_0400_0000_000e,
    secondary: Allowed { set: 0, settable: 0x6f },
    ..SANDY_BRIDGE
};

/// Core 2 Duo T7700: no TRUE registers, no EPT (QEMU's model "core2duo"; what must be set is what was once reserved, A.2).
pub const CORE_2: Capabilities = Capabilities {
    basic: 0x001a_0400_0000_0007,
    pin: Allowed { set: 0x16, settable: 0x3f },
    primary: Allowed { set: 0x0401_e172, settable: 0xf7f9_fffe },
    secondary: Allowed { set: 0, settable: 1 },
    exit: Allowed { set: 0x0003_6dff, settable: 0x0003_ffff },
    entry: Allowed { set: 0x11ff, settable: 0x1fff },
    misc: 0x0004_03c0,
    ept_vpid: 0,
    cr0: CR0,
    cr4: Fixed { set: 0x2000, settable: 0x27ff },
};
