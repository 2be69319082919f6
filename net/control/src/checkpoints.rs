//! What a machine says of its checkpoints that others wait for, and how one on its own disk is named.

/// Said by the job when memory is frozen.
pub const FROZEN: &str = "frozen: the machine goes on";
/// The beginning of the log's line that says that a restored system goes on.
pub const RESTORED: &str = "restored: goes on from a checkpoint";
/// The end of the log's line that says that a machine does not go on from what its command line names.
pub const AFRESH: &str = "this machine starts afresh";

/// Which one of the machine's own disk is meant: by `disk` the latest, by `disk:` what follows. `None`: none of the disk.
pub fn on_disk(word: &str) -> Option<&str> {
    match word.strip_prefix("disk")? {
        "" => Some("latest"),
        rest => rest.strip_prefix(':'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_named_with_or_without_which() {
        for (word, which) in [
            ("disk", Some("latest")),
            ("disk:7", Some("7")),
            ("disk:", Some("")),
            ("disk.qsc", None),
            ("./disk", None),
            ("", None),
        ] {
            assert_eq!(on_disk(word), which, "{word}");
        }
    }
}
