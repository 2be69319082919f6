//! How the reserve will be divided: a computation, so that boot can say at once whether a reserve suffices.

/// Control block, host save area, bitmaps: pages of each CPU.
const CPU_PAGES: u64 = 8;
/// Host stack and descriptor tables of each CPU, in pages.
const STACK_PAGES: u64 = 8;
const PAGE: u64 = 4096;
/// One nested table of 4 KiB maps 2 MiB: 0.2 % of memory splits all of it to 4 KiB.
const SPLIT: u64 = 2 << 20;

/// A part of the reserve, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Offset, a multiple of 4 KiB.
    pub offset: u64,
    /// Length, a multiple of 4 KiB.
    pub length: u64,
}

/// The division.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Control blocks and permission maps.
    pub control: Section,
    /// Host stacks and descriptor tables.
    pub stacks: Section,
    /// Nested tables in reserve for splitting.
    pub split_tables: Section,
    /// What is left: pages copied on first write.
    pub arena: Section,
}

/// Why a reserve does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// So many bytes are missing.
    TooSmall(u64),
}

/// Divides a reserve of `reserve` bytes for `cpus` CPUs and `memory` bytes of RAM.
pub fn plan(reserve: u64, cpus: u64, memory: u64) -> Result<Plan, PlanError> {
    let lengths = [cpus * CPU_PAGES * PAGE, cpus * STACK_PAGES * PAGE, memory.div_ceil(SPLIT) * PAGE];
    let fixed: u64 = lengths.iter().sum();
    // An arena of at least one page, or no snapshot could ever be taken.
    if fixed + PAGE > reserve {
        return Err(PlanError::TooSmall(fixed + PAGE - reserve));
    }
    let [control, stacks, tables] = lengths;
    Ok(Plan {
        control: Section { offset: 0, length: control },
        stacks: Section { offset: control, length: stacks },
        split_tables: Section { offset: control + stacks, length: tables },
        arena: Section { offset: fixed, length: (reserve - fixed) & !(PAGE - 1) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_smallest_machine_and_the_largest_fit() {
        assert!(plan(2 << 20, 1, 48 << 20).is_ok());
        assert!(plan(512 << 20, 64, 16 << 30).is_ok());
        assert_eq!(
            plan(1 << 20, 64, 48 << 20),
            Err(PlanError::TooSmall(64 * 16 * PAGE + 24 * PAGE + PAGE - (1 << 20)))
        );
    }

    proptest! {
        #[test]
        fn sections_are_aligned_disjoint_and_within(reserve in 0u64..1 << 31, cpus in 1u64..65, memory in 0u64..1 << 41) {
            if let Ok(plan) = plan(reserve, cpus, memory) {
                let mut end = 0;
                for section in [plan.control, plan.stacks, plan.split_tables, plan.arena] {
                    prop_assert_eq!(section.offset, end);
                    prop_assert_eq!(section.length % PAGE, 0);
                    end += section.length;
                }
                prop_assert!(end <= reserve && plan.arena.length >= PAGE);
            }
        }
    }
}
