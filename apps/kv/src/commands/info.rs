//! INFO.
use super::client::VERSION;
use super::{Context, Done};
use crate::store::Store;
use alloc::format;
use alloc::string::String;

const SECTIONS: [&str; 9] =
    ["server", "clients", "memory", "persistence", "stats", "replication", "cpu", "cluster", "keyspace"];

fn human(bytes: usize) -> String {
    let bytes = bytes as f64;
    for (unit, size) in [("G", 1024.0 * 1024.0 * 1024.0), ("M", 1024.0 * 1024.0), ("K", 1024.0)] {
        if bytes >= size {
            return format!("{:.2}{unit}", bytes / size);
        }
    }
    format!("{bytes}B")
}

fn section(store: &Store, name: &str) -> String {
    let stats = &store.stats;
    match name {
        "server" => {
            let uptime = store.now.saturating_sub(stats.started) / 1000;
            format!(
                "# Server\r\nredis_version:{VERSION}\r\nredis_mode:standalone\r\nos:Quicksilver x86_64\r\narch_bits:64\r\nrun_id:{}\r\ntcp_port:6379\r\nserver_time_usec:{}\r\nuptime_in_seconds:{uptime}\r\nuptime_in_days:{}\r\n",
                store.run_id,
                store.now * 1000,
                uptime / 86_400,
            )
        }
        "clients" => format!(
            "# Clients\r\nconnected_clients:{}\r\nmaxclients:{}\r\nblocked_clients:{}\r\n",
            store.clients.len(),
            store.config.max_clients,
            store.clients.values().filter(|client| client.blocked.borrow().is_some()).count(),
        ),
        "memory" => {
            let (used, limit) = (store.used_memory(), store.config.maxmemory);
            format!(
                "# Memory\r\nused_memory:{used}\r\nused_memory_human:{}\r\nused_memory_peak:{}\r\nused_memory_peak_human:{}\r\nused_memory_dataset:{}\r\nmaxmemory:{limit}\r\nmaxmemory_human:{}\r\nmaxmemory_policy:{}\r\n",
                human(used),
                stats.peak,
                human(stats.peak),
                store.used_data(),
                human(limit),
                store.config.policy_name(),
            )
        }
        "persistence" => format!(
            "# Persistence\r\nloading:0\r\nrdb_changes_since_last_save:{}\r\nrdb_bgsave_in_progress:0\r\naof_enabled:0\r\n",
            store.dirty,
        ),
        "stats" => format!(
            "# Stats\r\ntotal_connections_received:{}\r\ntotal_commands_processed:{}\r\ninstantaneous_ops_per_sec:{}\r\ntotal_net_input_bytes:{}\r\ntotal_net_output_bytes:{}\r\nrejected_connections:{}\r\nexpired_keys:{}\r\nevicted_keys:{}\r\nkeyspace_hits:{}\r\nkeyspace_misses:{}\r\npubsub_channels:{}\r\npubsub_patterns:{}\r\ntotal_error_replies:{}\r\n",
            stats.connections,
            stats.commands,
            stats.ops_per_second,
            stats.input,
            stats.output,
            stats.rejected,
            stats.expired,
            stats.evicted,
            stats.hits,
            stats.misses,
            store.channels.len(),
            store.patterns.len(),
            stats.errors,
        ),
        "replication" => {
            String::from("# Replication\r\nrole:master\r\nconnected_slaves:0\r\nmaster_repl_offset:0\r\n")
        }
        "cpu" => String::from("# CPU\r\n"),
        "cluster" => String::from("# Cluster\r\ncluster_enabled:0\r\n"),
        _ => {
            let mut text = String::from("# Keyspace\r\n");
            for (number, db) in store.dbs.iter().enumerate().filter(|(_, db)| !db.table.is_empty()) {
                let (keys, volatile) = (db.table.len(), db.volatile());
                text.push_str(&format!("db{number}:keys={keys},expires={volatile},avg_ttl=0\r\n"));
            }
            text
        }
    }
}

pub(crate) fn info(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let everything = args.len() == 1
        || args.from(1).iter().any(|name| {
            ["all", "default", "everything"].iter().any(|word| name.eq_ignore_ascii_case(word.as_bytes()))
        });
    let mut text = String::new();
    for name in SECTIONS {
        if everything || args.from(1).iter().any(|wanted| wanted.eq_ignore_ascii_case(name.as_bytes())) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            text.push_str(&section(context.store, name));
        }
    }
    context.out.verbatim(text.as_bytes());
    Ok(())
}
