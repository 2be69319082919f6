//! SUBSCRIBE, PSUBSCRIBE, PUBLISH.
use super::{Context, Done, unknown_subcommand};
use crate::client::Client;
use crate::glob;
use crate::reply::Reply;
use crate::store::Store;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::Rc;
use alloc::vec::Vec;

type Subscribers = BTreeMap<Vec<u8>, BTreeSet<u64>>;

fn all(store: &mut Store, patterns: bool) -> &mut Subscribers {
    if patterns { &mut store.patterns } else { &mut store.channels }
}

fn own(client: &Client, patterns: bool) -> core::cell::RefMut<'_, BTreeMap<Vec<u8>, ()>> {
    if patterns { client.patterns.borrow_mut() } else { client.channels.borrow_mut() }
}

fn confirm(context: &mut Context<'_, '_>, word: &[u8], channel: Option<&[u8]>) {
    context.client.count_subscriptions();
    context.out.push(3);
    context.out.bulk(word);
    context.out.optional(channel);
    context.out.len(context.client.subscriptions());
}

fn subscribe_to(context: &mut Context<'_, '_>, patterns: bool, word: &[u8]) -> Done {
    for channel in context.args.from(1).iter() {
        if own(context.client, patterns).insert(channel.to_vec(), ()).is_none() {
            all(context.store, patterns).entry(channel.to_vec()).or_default().insert(context.client.id);
        }
        confirm(context, word, Some(channel));
    }
    Ok(())
}

fn forget(store: &mut Store, id: u64, patterns: bool, channel: &[u8]) {
    let subscribers = all(store, patterns);
    if let Some(ids) = subscribers.get_mut(channel) {
        ids.remove(&id);
        if ids.is_empty() {
            subscribers.remove(channel);
        }
    }
}

fn unsubscribe_from(context: &mut Context<'_, '_>, patterns: bool, word: &[u8]) -> Done {
    let mut channels: Vec<Vec<u8>> = context.args.from(1).iter().map(<[u8]>::to_vec).collect();
    if channels.is_empty() {
        channels = own(context.client, patterns).keys().cloned().collect();
        if channels.is_empty() {
            confirm(context, word, None);
        }
    }
    for channel in channels {
        own(context.client, patterns).remove(&channel);
        forget(context.store, context.client.id, patterns, &channel);
        confirm(context, word, Some(&channel));
    }
    Ok(())
}

/// The client ends all its subscriptions without a word.
pub(crate) fn leave(store: &mut Store, client: &Client) {
    for patterns in [false, true] {
        let channels = core::mem::take(&mut *own(client, patterns));
        channels.keys().for_each(|channel| forget(store, client.id, patterns, channel));
    }
    client.count_subscriptions();
}

pub(crate) fn subscribe(context: &mut Context<'_, '_>) -> Done {
    subscribe_to(context, false, b"subscribe")
}

pub(crate) fn psubscribe(context: &mut Context<'_, '_>) -> Done {
    subscribe_to(context, true, b"psubscribe")
}

pub(crate) fn unsubscribe(context: &mut Context<'_, '_>) -> Done {
    unsubscribe_from(context, false, b"unsubscribe")
}

pub(crate) fn punsubscribe(context: &mut Context<'_, '_>) -> Done {
    unsubscribe_from(context, true, b"punsubscribe")
}

fn send(store: &Store, client: &Rc<Client>, parts: &[&[u8]]) {
    let mut buffer = Vec::new();
    let limit = store.config.output_bound();
    let mut reply = Reply::new(&mut buffer, client.resp3.get(), limit);
    reply.push(parts.len());
    parts.iter().for_each(|part| reply.bulk(part));
    if reply.overflow {
        client.killed.set(true);
    }
    client.deliver(&buffer, limit);
}

pub(crate) fn publish(context: &mut Context<'_, '_>) -> Done {
    let (store, channel, message) = (&*context.store, context.args.at(1), context.args.at(2));
    let mut receivers = 0;
    for client in store.channels.get(channel).into_iter().flatten().filter_map(|id| store.clients.get(id)) {
        send(store, client, &[b"message", channel, message]);
        receivers += 1;
    }
    for (pattern, ids) in store.patterns.iter().filter(|(pattern, _)| glob::matches(pattern, channel)) {
        for client in ids.iter().filter_map(|id| store.clients.get(id)) {
            send(store, client, &[b"pmessage", pattern, channel, message]);
            receivers += 1;
        }
    }
    context.out.len(receivers);
    Ok(())
}

pub(crate) fn pubsub(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    match args.at(1).to_ascii_lowercase().as_slice() {
        b"channels" if args.len() <= 3 => {
            let accepts = |name: &[u8]| args.len() == 2 || glob::matches(args.at(2), name);
            let names: Vec<_> = context.store.channels.keys().filter(|name| accepts(name)).collect();
            context.out.array(names.len());
            names.iter().for_each(|name| context.out.bulk(name));
        }
        b"numsub" => {
            context.out.array((args.len() - 2) * 2);
            for channel in args.from(2).iter() {
                context.out.bulk(channel);
                context.out.len(context.store.channels.get(channel).map_or(0, BTreeSet::len));
            }
        }
        b"numpat" if args.len() == 2 => context.out.len(context.store.patterns.len()),
        _ => return Err(unknown_subcommand(args)),
    }
    Ok(())
}
