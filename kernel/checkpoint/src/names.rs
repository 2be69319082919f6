//! What features are called.
//!
//! Sources: Intel SDM vol. 2, CPUID, and vol. 1, 13.3 (XCR0); AMD64 APM vol. 3, appendix E.

use crate::{Register, Word};

/// The name of one of a word's bits.
pub fn of(word: &Word, bit: u32) -> Option<&'static str> {
    // From bit 0 on; a dash where there is no name.
    let names = match (word.leaf, word.subleaf, word.register) {
        (0, 0, Register::Xcr0) => {
            "x87-state sse-state avx-state bndregs-state bndcsr-state opmask-state zmm-hi256-state hi16-zmm-state - \
             pkru-state - - - - - - - tilecfg-state tiledata-state"
        }
        (1, 0, Register::Ecx) => {
            "sse3 pclmulqdq dtes64 monitor ds-cpl vmx smx est tm2 ssse3 cnxt-id sdbg fma cx16 xtpr pdcm - pcid dca \
             sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave osxsave avx f16c rdrand hypervisor"
        }
        (1, 0, Register::Edx) => {
            "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 psn clfsh - ds acpi mmx fxsr \
             sse sse2 ss htt tm - pbe"
        }
        (7, 0, Register::Ebx) => {
            "fsgsbase tsc-adjust sgx bmi1 hle avx2 fdp-excptn-only smep bmi2 erms invpcid rtm rdt-m zero-fcs-fds mpx \
             rdt-a avx512f avx512dq rdseed adx smap avx512-ifma - clflushopt clwb intel-pt avx512pf avx512er avx512cd \
             sha avx512bw avx512vl"
        }
        (7, 0, Register::Ecx) => {
            "prefetchwt1 avx512-vbmi umip pku ospke waitpkg avx512-vbmi2 cet-ss gfni vaes vpclmulqdq avx512-vnni \
             avx512-bitalg tme avx512-vpopcntdq - la57 - - - - - rdpid kl bus-lock-detect cldemote - movdiri \
             movdir64b enqcmd sgx-lc pks"
        }
        (7, 0, Register::Edx) => {
            "- sgx-keys avx512-4vnniw avx512-4fmaps fsrm uintr - - avx512-vp2intersect srbds-ctrl md-clear \
             rtm-always-abort - rtm-force-abort serialize hybrid tsxldtrk - pconfig arch-lbr cet-ibt - amx-bf16 \
             avx512-fp16 amx-tile amx-int8 ibrs stibp l1d-flush arch-capabilities core-capabilities ssbd"
        }
        (7, 1, Register::Eax) => {
            "sha512 sm3 sm4 rao-int avx-vnni avx512-bf16 lass cmpccxadd archperfmonext - fzrm fsrs fsrcs - - - - fred \
             lkgs wrmsrns nmi-src amx-fp16 hreset avx-ifma - - lam msrlist"
        }
        (0xd, 1, Register::Eax) => "xsaveopt xsavec xgetbv1 xsaves xfd",
        (0x8000_0001, 0, Register::Ecx) => {
            "lahf-lm cmp-legacy svm extapic altmovcr8 abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - \
             lwp fma4 tce - nodeid - tbm topoext perfctr-core perfctr-nb - dbx perftsc perfctr-l2i monitorx \
             addr-mask-ext"
        }
        (0x8000_0001, 0, Register::Edx) => {
            "- - - - - - - - - - - syscall - - - - - - - - nx - mmxext - - fxsr-opt pdpe1gb rdtscp - lm 3dnowext 3dnow"
        }
        (0x8000_0007, 0, Register::Edx) => "- - - - - - - - invariant-tsc",
        (0x8000_0008, 0, Register::Ebx) => {
            "clzero irperf xsaveerptr invlpgb rdpru - - - mcommit wbnoinvd - - amd-ibpb int-wbinvd amd-ibrs amd-stibp \
             - - - - - - - - amd-ssbd"
        }
        _ => return None,
    };
    names.split_ascii_whitespace().nth(bit as usize).filter(|name| *name != "-")
}
