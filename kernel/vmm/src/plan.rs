//! How the reserve is divided: a computation, so that boot can say at once whether a reserve suffices.

const PAGE: u64 = 4096;
/// One nested table of 4 KiB maps 2 MiB: 0.2 % of memory splits all of it to 4 KiB.
const SPLIT: u64 = 2 << 20;

/// What has to fit in. Bytes but for the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// CPUs.
    pub cpus: u64,
    /// Control block and all that belongs to it, of one CPU.
    pub block: u64,
    /// Stack and descriptor tables of one CPU.
    pub host: u64,
    /// Permission maps and what else there is once.
    pub common: u64,
    /// Tables that are used from the beginning.
    pub tables: u64,
    /// RAM.
    pub memory: u64,
}

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
    /// What there is once.
    pub common: Section,
    /// Control blocks, stacks and descriptor tables.
    pub cpus: Section,
    /// Page tables: those used from the beginning, and those for splitting.
    pub tables: Section,
    /// What is left: pages copied on first write.
    pub arena: Section,
}

/// Why a reserve does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// So many bytes are missing.
    TooSmall(u64),
}

/// Divides a reserve of `reserve` bytes.
pub fn plan(reserve: u64, needs: &Needs) -> Result<Plan, PlanError> {
    let pages = |bytes: u64| bytes.next_multiple_of(PAGE);
    let common = pages(needs.common);
    let cpus = needs.cpus * (pages(needs.block) + pages(needs.host));
    let tables = (needs.tables + needs.memory.div_ceil(SPLIT)) * PAGE;
    let fixed = common + cpus + tables;
    // An arena of at least one page, or no snapshot could ever be taken.
    if fixed + PAGE > reserve {
        return Err(PlanError::TooSmall(fixed + PAGE - reserve));
    }
    Ok(Plan {
        common: Section { offset: 0, length: common },
        cpus: Section { offset: common, length: cpus },
        tables: Section { offset: common + cpus, length: tables },
        arena: Section { offset: fixed, length: (reserve - fixed) & !(PAGE - 1) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn needs(cpus: u64, memory: u64) -> Needs {
        Needs { cpus, block: 5 * PAGE, host: 9 * PAGE, common: 6 * PAGE, tables: 20, memory }
    }

    #[test]
    fn the_smallest_machine_and_the_largest_fit() {
        assert!(plan(2 << 20, &needs(8, 48 << 20)).is_ok());
        assert!(plan(512 << 20, &needs(64, 16 << 30)).is_ok());
        let missing = 64 * 14 * PAGE + (6 + 20 + 24 + 1) * PAGE - (1 << 20);
        assert_eq!(plan(1 << 20, &needs(64, 48 << 20)), Err(PlanError::TooSmall(missing)));
    }

    proptest! {
        #[test]
        fn sections_are_aligned_disjoint_and_within(reserve in 0u64..1 << 31, cpus in 1u64..65, memory in 0u64..1 << 41) {
            if let Ok(plan) = plan(reserve, &needs(cpus, memory)) {
                let mut end = 0;
                for section in [plan.common, plan.cpus, plan.tables, plan.arena] {
                    prop_assert_eq!(section.offset, end);
                    prop_assert_eq!(section.length % PAGE, 0);
                    end += section.length;
                }
                prop_assert!(end <= reserve && plan.arena.length >= PAGE);
            }
        }
    }
}
