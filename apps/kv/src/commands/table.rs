//! The table of commands, and how a name is found in it.
use super::{
    ADMIN, BLOCKING, Command, Context, Done, FAST, GROWS, MOVABLE, NO_AUTH, NO_MULTI, NOT_QUEUED, PUBSUB,
    READ, WRITE,
};
use super::{
    bits, blocking, client, expiry, hashes, info, introspection, keys, lists, pubsub, scan, server, sets,
    sort, sorted_ranges, sorted_sets, sorted_store, string_numbers, strings, transactions,
};

type Run = fn(&mut Context<'_, '_>) -> Done;

const fn c(
    name: &'static str,
    arity: i16,
    flags: u16,
    keys: (i8, i8, i8),
    group: &'static str,
    run: Run,
) -> Command {
    Command { name, arity, flags, keys, group, run }
}

#[rustfmt::skip]
const TABLE: [Command; COMMANDS_LEN] = [
    c("ping", -1, FAST | PUBSUB, (0, 0, 0), "connection", string_numbers::ping),
    c("echo", 2, FAST, (0, 0, 0), "connection", string_numbers::echo),
    c("hello", -1, FAST | NO_AUTH, (0, 0, 0), "connection", client::hello),
    c("auth", -2, FAST | NO_AUTH, (0, 0, 0), "connection", client::auth),
    c("quit", -1, FAST | NO_AUTH | PUBSUB | NOT_QUEUED, (0, 0, 0), "connection", client::quit),
    c("select", 2, FAST, (0, 0, 0), "connection", client::select),
    c("reset", 1, FAST | NO_AUTH | PUBSUB | NOT_QUEUED, (0, 0, 0), "connection", client::reset),
    c("client", -2, 0, (0, 0, 0), "connection", client::client),
    c("command", -1, 0, (0, 0, 0), "server", introspection::command),
    c("config", -2, ADMIN, (0, 0, 0), "server", server::config),
    c("info", -1, 0, (0, 0, 0), "server", info::info),
    c("dbsize", 1, READ | FAST, (0, 0, 0), "server", keys::dbsize),
    c("flushdb", -1, WRITE, (0, 0, 0), "server", keys::flushdb),
    c("flushall", -1, WRITE, (0, 0, 0), "server", keys::flushall),
    c("swapdb", 3, WRITE | FAST, (0, 0, 0), "server", keys::swapdb),
    c("time", 1, FAST, (0, 0, 0), "server", string_numbers::time),
    c("debug", -2, ADMIN, (0, 0, 0), "server", keys::debug),
    c("memory", -2, READ, (0, 0, 0), "server", keys::memory),
    c("object", -2, READ, (2, 2, 1), "generic", keys::object),
    c("type", 2, READ | FAST, (1, 1, 1), "generic", keys::type_of),
    c("del", -2, WRITE, (1, -1, 1), "generic", keys::del),
    c("unlink", -2, WRITE | FAST, (1, -1, 1), "generic", keys::del),
    c("exists", -2, READ | FAST, (1, -1, 1), "generic", keys::exists),
    c("touch", -2, READ | FAST, (1, -1, 1), "generic", keys::touch),
    c("expire", -3, WRITE | FAST, (1, 1, 1), "generic", expiry::expire),
    c("pexpire", -3, WRITE | FAST, (1, 1, 1), "generic", expiry::pexpire),
    c("expireat", -3, WRITE | FAST, (1, 1, 1), "generic", expiry::expireat),
    c("pexpireat", -3, WRITE | FAST, (1, 1, 1), "generic", expiry::pexpireat),
    c("ttl", 2, READ | FAST, (1, 1, 1), "generic", expiry::ttl),
    c("pttl", 2, READ | FAST, (1, 1, 1), "generic", expiry::pttl),
    c("expiretime", 2, READ | FAST, (1, 1, 1), "generic", expiry::expiretime),
    c("pexpiretime", 2, READ | FAST, (1, 1, 1), "generic", expiry::pexpiretime),
    c("persist", 2, WRITE | FAST, (1, 1, 1), "generic", expiry::persist),
    c("rename", 3, WRITE, (1, 2, 1), "generic", keys::rename),
    c("renamenx", 3, WRITE | FAST, (1, 2, 1), "generic", keys::renamenx),
    c("copy", -3, WRITE | GROWS, (1, 2, 1), "generic", keys::copy),
    c("move", 3, WRITE | FAST, (1, 1, 1), "generic", keys::move_key),
    c("randomkey", 1, READ, (0, 0, 0), "generic", keys::randomkey),
    c("keys", 2, READ, (0, 0, 0), "generic", keys::keys),
    c("scan", -2, READ, (0, 0, 0), "generic", scan::scan),
    c("sort", -2, WRITE | GROWS, (1, 1, 1), "generic", sort::sort),
    c("sort_ro", -2, READ, (1, 1, 1), "generic", sort::sort),
    c("get", 2, READ | FAST, (1, 1, 1), "string", strings::get),
    c("set", -3, WRITE | GROWS, (1, 1, 1), "string", strings::set),
    c("setnx", 3, WRITE | GROWS | FAST, (1, 1, 1), "string", strings::setnx),
    c("setex", 4, WRITE | GROWS, (1, 1, 1), "string", strings::setex),
    c("psetex", 4, WRITE | GROWS, (1, 1, 1), "string", strings::psetex),
    c("getset", 3, WRITE | GROWS | FAST, (1, 1, 1), "string", strings::getset),
    c("getdel", 2, WRITE | FAST, (1, 1, 1), "string", strings::getdel),
    c("getex", -2, WRITE | FAST, (1, 1, 1), "string", strings::getex),
    c("mget", -2, READ | FAST, (1, -1, 1), "string", strings::mget),
    c("mset", -3, WRITE | GROWS, (1, -1, 2), "string", strings::mset),
    c("msetnx", -3, WRITE | GROWS, (1, -1, 2), "string", strings::msetnx),
    c("append", 3, WRITE | GROWS | FAST, (1, 1, 1), "string", strings::append),
    c("strlen", 2, READ | FAST, (1, 1, 1), "string", strings::strlen),
    c("getrange", 4, READ, (1, 1, 1), "string", strings::getrange),
    c("substr", 4, READ, (1, 1, 1), "string", strings::getrange),
    c("setrange", 4, WRITE | GROWS, (1, 1, 1), "string", strings::setrange),
    c("lcs", -3, READ, (1, 2, 1), "string", strings::lcs),
    c("incr", 2, WRITE | GROWS | FAST, (1, 1, 1), "string", string_numbers::incr),
    c("decr", 2, WRITE | GROWS | FAST, (1, 1, 1), "string", string_numbers::decr),
    c("incrby", 3, WRITE | GROWS | FAST, (1, 1, 1), "string", string_numbers::incrby),
    c("decrby", 3, WRITE | GROWS | FAST, (1, 1, 1), "string", string_numbers::decrby),
    c("incrbyfloat", 3, WRITE | GROWS | FAST, (1, 1, 1), "string", string_numbers::incrbyfloat),
    c("setbit", 4, WRITE | GROWS, (1, 1, 1), "bitmap", bits::setbit),
    c("getbit", 3, READ | FAST, (1, 1, 1), "bitmap", bits::getbit),
    c("bitcount", -2, READ, (1, 1, 1), "bitmap", bits::bitcount),
    c("bitpos", -3, READ, (1, 1, 1), "bitmap", bits::bitpos),
    c("bitop", -4, WRITE | GROWS, (2, -1, 1), "bitmap", bits::bitop),
    c("hset", -4, WRITE | GROWS | FAST, (1, 1, 1), "hash", hashes::hset),
    c("hsetnx", 4, WRITE | GROWS | FAST, (1, 1, 1), "hash", hashes::hsetnx),
    c("hmset", -4, WRITE | GROWS | FAST, (1, 1, 1), "hash", hashes::hmset),
    c("hget", 3, READ | FAST, (1, 1, 1), "hash", hashes::hget),
    c("hmget", -3, READ | FAST, (1, 1, 1), "hash", hashes::hmget),
    c("hgetall", 2, READ, (1, 1, 1), "hash", hashes::hgetall),
    c("hdel", -3, WRITE | FAST, (1, 1, 1), "hash", hashes::hdel),
    c("hexists", 3, READ | FAST, (1, 1, 1), "hash", hashes::hexists),
    c("hkeys", 2, READ, (1, 1, 1), "hash", hashes::hkeys),
    c("hvals", 2, READ, (1, 1, 1), "hash", hashes::hvals),
    c("hlen", 2, READ | FAST, (1, 1, 1), "hash", hashes::hlen),
    c("hstrlen", 3, READ | FAST, (1, 1, 1), "hash", hashes::hstrlen),
    c("hincrby", 4, WRITE | GROWS | FAST, (1, 1, 1), "hash", hashes::hincrby),
    c("hincrbyfloat", 4, WRITE | GROWS | FAST, (1, 1, 1), "hash", hashes::hincrbyfloat),
    c("hrandfield", -2, READ, (1, 1, 1), "hash", hashes::hrandfield),
    c("hscan", -3, READ, (1, 1, 1), "hash", scan::hscan),
    c("lpush", -3, WRITE | GROWS | FAST, (1, 1, 1), "list", lists::lpush),
    c("rpush", -3, WRITE | GROWS | FAST, (1, 1, 1), "list", lists::rpush),
    c("lpushx", -3, WRITE | GROWS | FAST, (1, 1, 1), "list", lists::lpushx),
    c("rpushx", -3, WRITE | GROWS | FAST, (1, 1, 1), "list", lists::rpushx),
    c("lpop", -2, WRITE | FAST, (1, 1, 1), "list", lists::lpop),
    c("rpop", -2, WRITE | FAST, (1, 1, 1), "list", lists::rpop),
    c("llen", 2, READ | FAST, (1, 1, 1), "list", lists::llen),
    c("lrange", 4, READ, (1, 1, 1), "list", lists::lrange),
    c("lindex", 3, READ, (1, 1, 1), "list", lists::lindex),
    c("lset", 4, WRITE | GROWS, (1, 1, 1), "list", lists::lset),
    c("linsert", 5, WRITE | GROWS, (1, 1, 1), "list", lists::linsert),
    c("lrem", 4, WRITE, (1, 1, 1), "list", lists::lrem),
    c("ltrim", 4, WRITE, (1, 1, 1), "list", lists::ltrim),
    c("lmove", 5, WRITE | GROWS, (1, 2, 1), "list", lists::lmove),
    c("rpoplpush", 3, WRITE | GROWS, (1, 2, 1), "list", lists::rpoplpush),
    c("lpos", -3, READ, (1, 1, 1), "list", lists::lpos),
    c("lmpop", -4, WRITE | MOVABLE, (0, 0, 0), "list", blocking::lmpop),
    c("blpop", -3, WRITE | BLOCKING, (1, -2, 1), "list", blocking::blpop),
    c("brpop", -3, WRITE | BLOCKING, (1, -2, 1), "list", blocking::brpop),
    c("blmove", 6, WRITE | GROWS | BLOCKING, (1, 2, 1), "list", blocking::blmove),
    c("brpoplpush", 4, WRITE | GROWS | BLOCKING, (1, 2, 1), "list", blocking::brpoplpush),
    c("blmpop", -5, WRITE | BLOCKING | MOVABLE, (0, 0, 0), "list", blocking::blmpop),
    c("sadd", -3, WRITE | GROWS | FAST, (1, 1, 1), "set", sets::sadd),
    c("srem", -3, WRITE | FAST, (1, 1, 1), "set", sets::srem),
    c("sismember", 3, READ | FAST, (1, 1, 1), "set", sets::sismember),
    c("smismember", -3, READ | FAST, (1, 1, 1), "set", sets::smismember),
    c("smembers", 2, READ, (1, 1, 1), "set", sets::smembers),
    c("scard", 2, READ | FAST, (1, 1, 1), "set", sets::scard),
    c("spop", -2, WRITE | FAST, (1, 1, 1), "set", sets::spop),
    c("srandmember", -2, READ, (1, 1, 1), "set", sets::srandmember),
    c("smove", 4, WRITE | FAST, (1, 2, 1), "set", sets::smove),
    c("sinter", -2, READ, (1, -1, 1), "set", sets::sinter),
    c("sunion", -2, READ, (1, -1, 1), "set", sets::sunion),
    c("sdiff", -2, READ, (1, -1, 1), "set", sets::sdiff),
    c("sinterstore", -3, WRITE | GROWS, (1, -1, 1), "set", sets::sinterstore),
    c("sunionstore", -3, WRITE | GROWS, (1, -1, 1), "set", sets::sunionstore),
    c("sdiffstore", -3, WRITE | GROWS, (1, -1, 1), "set", sets::sdiffstore),
    c("sintercard", -3, READ | MOVABLE, (0, 0, 0), "set", sets::sintercard),
    c("sscan", -3, READ, (1, 1, 1), "set", scan::sscan),
    c("zadd", -4, WRITE | GROWS | FAST, (1, 1, 1), "sorted-set", sorted_sets::zadd),
    c("zincrby", 4, WRITE | GROWS | FAST, (1, 1, 1), "sorted-set", sorted_sets::zincrby),
    c("zrem", -3, WRITE | FAST, (1, 1, 1), "sorted-set", sorted_sets::zrem),
    c("zcard", 2, READ | FAST, (1, 1, 1), "sorted-set", sorted_sets::zcard),
    c("zscore", 3, READ | FAST, (1, 1, 1), "sorted-set", sorted_sets::zscore),
    c("zmscore", -3, READ | FAST, (1, 1, 1), "sorted-set", sorted_sets::zmscore),
    c("zrank", 3, READ | FAST, (1, 1, 1), "sorted-set", sorted_sets::zrank),
    c("zrevrank", 3, READ | FAST, (1, 1, 1), "sorted-set", sorted_sets::zrevrank),
    c("zpopmin", -2, WRITE | FAST, (1, 1, 1), "sorted-set", sorted_sets::zpopmin),
    c("zpopmax", -2, WRITE | FAST, (1, 1, 1), "sorted-set", sorted_sets::zpopmax),
    c("zrandmember", -2, READ, (1, 1, 1), "sorted-set", sorted_sets::zrandmember),
    c("zrange", -4, READ, (1, 1, 1), "sorted-set", sorted_ranges::zrange),
    c("zrevrange", -4, READ, (1, 1, 1), "sorted-set", sorted_ranges::zrevrange),
    c("zrangebyscore", -4, READ, (1, 1, 1), "sorted-set", sorted_ranges::zrangebyscore),
    c("zrevrangebyscore", -4, READ, (1, 1, 1), "sorted-set", sorted_ranges::zrevrangebyscore),
    c("zrangebylex", -4, READ, (1, 1, 1), "sorted-set", sorted_ranges::zrangebylex),
    c("zrevrangebylex", -4, READ, (1, 1, 1), "sorted-set", sorted_ranges::zrevrangebylex),
    c("zrangestore", -5, WRITE | GROWS, (1, 2, 1), "sorted-set", sorted_ranges::zrangestore),
    c("zcount", 4, READ | FAST, (1, 1, 1), "sorted-set", sorted_ranges::zcount),
    c("zlexcount", 4, READ | FAST, (1, 1, 1), "sorted-set", sorted_ranges::zlexcount),
    c("zremrangebyrank", 4, WRITE, (1, 1, 1), "sorted-set", sorted_ranges::zremrangebyrank),
    c("zremrangebyscore", 4, WRITE, (1, 1, 1), "sorted-set", sorted_ranges::zremrangebyscore),
    c("zremrangebylex", 4, WRITE, (1, 1, 1), "sorted-set", sorted_ranges::zremrangebylex),
    c("zunionstore", -4, WRITE | GROWS | MOVABLE, (1, 1, 1), "sorted-set", sorted_store::zunionstore),
    c("zinterstore", -4, WRITE | GROWS | MOVABLE, (1, 1, 1), "sorted-set", sorted_store::zinterstore),
    c("zdiffstore", -4, WRITE | GROWS | MOVABLE, (1, 1, 1), "sorted-set", sorted_store::zdiffstore),
    c("zunion", -3, READ | MOVABLE, (0, 0, 0), "sorted-set", sorted_store::zunion),
    c("zinter", -3, READ | MOVABLE, (0, 0, 0), "sorted-set", sorted_store::zinter),
    c("zdiff", -3, READ | MOVABLE, (0, 0, 0), "sorted-set", sorted_store::zdiff),
    c("zintercard", -3, READ | MOVABLE, (0, 0, 0), "sorted-set", sorted_store::zintercard),
    c("zscan", -3, READ, (1, 1, 1), "sorted-set", scan::zscan),
    c("zmpop", -4, WRITE | MOVABLE, (0, 0, 0), "sorted-set", blocking::zmpop),
    c("bzpopmin", -3, WRITE | FAST | BLOCKING, (1, -2, 1), "sorted-set", blocking::bzpopmin),
    c("bzpopmax", -3, WRITE | FAST | BLOCKING, (1, -2, 1), "sorted-set", blocking::bzpopmax),
    c("bzmpop", -5, WRITE | BLOCKING | MOVABLE, (0, 0, 0), "sorted-set", blocking::bzmpop),
    c("subscribe", -2, PUBSUB | NO_MULTI, (0, 0, 0), "pubsub", pubsub::subscribe),
    c("unsubscribe", -1, PUBSUB | NO_MULTI, (0, 0, 0), "pubsub", pubsub::unsubscribe),
    c("psubscribe", -2, PUBSUB | NO_MULTI, (0, 0, 0), "pubsub", pubsub::psubscribe),
    c("punsubscribe", -1, PUBSUB | NO_MULTI, (0, 0, 0), "pubsub", pubsub::punsubscribe),
    c("publish", 3, FAST, (0, 0, 0), "pubsub", pubsub::publish),
    c("pubsub", -2, 0, (0, 0, 0), "pubsub", pubsub::pubsub),
    c("multi", 1, FAST | NOT_QUEUED, (0, 0, 0), "transactions", transactions::multi),
    c("exec", 1, NOT_QUEUED, (0, 0, 0), "transactions", transactions::exec),
    c("discard", 1, FAST | NOT_QUEUED, (0, 0, 0), "transactions", transactions::discard),
    c("watch", -2, FAST | NOT_QUEUED, (1, -1, 1), "transactions", transactions::watch),
    c("unwatch", 1, FAST, (0, 0, 0), "transactions", transactions::unwatch),
];

/// All commands.
pub(crate) static COMMANDS: [Command; COMMANDS_LEN] = TABLE;

/// Slots of the index: a power of two, sparse enough that most names are found at once.
const SLOTS: usize = 1024;
const EMPTY: u8 = u8::MAX;

/// The bytes of a name as a number, letters made small. `None` if it is too long for a command.
#[inline(always)]
const fn pack(name: &[u8]) -> Option<u128> {
    if name.len() <= 8 {
        return Some(pack_part(name) as u128);
    }
    if name.len() > 16 {
        return None;
    }
    let (first, rest) = name.split_at(8);
    Some((pack_part(first) as u128) << 64 | pack_part(rest) as u128)
}

/// Up to eight bytes. Only letters become the letters that names are made of (and DEL is as good as `_`).
#[inline(always)]
const fn pack_part(name: &[u8]) -> u64 {
    let mut packed = 0;
    let mut at = 0;
    while at < name.len() {
        packed = packed << 8 | (name[at] | 0x20) as u64;
        at += 1;
    }
    packed
}

const fn slot(packed: u128) -> usize {
    let folded = (packed as u64) ^ ((packed >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (folded.wrapping_mul(0xff51_afd7_ed55_8ccd) >> 54) as usize
}

struct Index {
    names: [u128; COMMANDS_LEN],
    slots: [u8; SLOTS],
}

const COMMANDS_LEN: usize = 170;

static INDEX: Index = {
    let mut index = Index { names: [0; COMMANDS_LEN], slots: [EMPTY; SLOTS] };
    let mut number = 0;
    while number < COMMANDS_LEN {
        let Some(packed) = pack(TABLE[number].name.as_bytes()) else { panic!("a name is too long") };
        index.names[number] = packed;
        let mut at = slot(packed);
        while index.slots[at] != EMPTY {
            at = (at + 1) % SLOTS;
        }
        index.slots[at] = number as u8;
        number += 1;
    }
    index
};

/// The command of this name, in any case.
#[inline]
pub(crate) fn find(name: &[u8]) -> Option<&'static Command> {
    let packed = pack(name)?;
    let mut at = slot(packed);
    loop {
        let number = usize::from(INDEX.slots[at]);
        if number == usize::from(EMPTY) {
            return None;
        }
        if INDEX.names[number] == packed {
            return Some(&COMMANDS[number]);
        }
        at = (at + 1) % SLOTS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name() {
        for command in &COMMANDS {
            assert_eq!(find(command.name.as_bytes()).map(|found| found.name), Some(command.name));
            assert_eq!(
                find(command.name.to_ascii_uppercase().as_bytes()).map(|found| found.name),
                Some(command.name)
            );
        }
        for unknown in ["", "ge", "gett", "foo", "\0get", "zremrangebyscorezremrangebyscore"] {
            assert!(find(unknown.as_bytes()).is_none(), "{unknown}");
        }
    }
}
