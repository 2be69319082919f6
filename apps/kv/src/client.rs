//! What the store knows of each connection.
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::task::Waker;

/// What a blocked client waits for.
#[derive(Debug, Clone)]
pub(crate) enum Wait {
    /// BLPOP, BRPOP.
    Pop { front: bool },
    /// BLMPOP.
    PopMany { front: bool, count: usize },
    /// BLMOVE, BRPOPLPUSH.
    Move { target: Vec<u8>, from_front: bool, to_front: bool },
    /// BZPOPMIN, BZPOPMAX.
    PopScored { highest: bool },
    /// BZMPOP.
    PopScoredMany { highest: bool, count: usize },
}

impl Wait {
    pub fn wants_list(&self) -> bool {
        matches!(self, Self::Pop { .. } | Self::PopMany { .. } | Self::Move { .. })
    }

    /// The timeout's reply is a null, not a null array.
    pub fn plain_null(&self) -> bool {
        matches!(self, Self::Move { .. })
    }
}

/// A client that waits for keys to get elements.
#[derive(Debug)]
pub(crate) struct Blocked {
    pub db: usize,
    pub keys: Vec<Vec<u8>>,
    pub wait: Wait,
    /// Milliseconds since 1970; `None` waits for ever.
    pub deadline: Option<u64>,
}

/// What CLIENT REPLY asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyMode {
    On,
    Off,
    /// No reply to the next command.
    SkipNext,
    /// No reply to this command.
    Skip,
}

/// A connection, shared by its session and the store.
#[derive(Debug)]
pub struct Client {
    pub(crate) id: u64,
    pub(crate) address: String,
    pub(crate) created: u64,
    pub(crate) active: Cell<u64>,
    pub(crate) db: Cell<usize>,
    pub(crate) resp3: Cell<bool>,
    pub(crate) trusted: Cell<bool>,
    pub(crate) name: RefCell<Vec<u8>>,
    pub(crate) library: RefCell<(Vec<u8>, Vec<u8>)>,
    pub(crate) command: Cell<&'static str>,
    pub(crate) queued: Cell<i64>,
    pub(crate) watching: Cell<usize>,
    /// A watched key has changed: EXEC will not run.
    pub(crate) stale: Cell<bool>,
    pub(crate) killed: Cell<bool>,
    pub(crate) buffered: Cell<usize>,
    pub(crate) reply: Cell<ReplyMode>,
    pub(crate) no_evict: Cell<bool>,
    pub(crate) blocked: RefCell<Option<Blocked>>,
    subscriptions: Cell<usize>,
    pub(crate) channels: RefCell<BTreeMap<Vec<u8>, ()>>,
    pub(crate) patterns: RefCell<BTreeMap<Vec<u8>, ()>>,
    mail: RefCell<Vec<u8>>,
    waker: RefCell<Option<Waker>>,
}

impl Client {
    pub(crate) fn new(id: u64, address: String, now: u64, trusted: bool) -> Rc<Self> {
        Rc::new(Self {
            id,
            address,
            created: now,
            active: Cell::new(now),
            db: Cell::new(0),
            resp3: Cell::new(false),
            trusted: Cell::new(trusted),
            name: RefCell::default(),
            library: RefCell::default(),
            command: Cell::new("NULL"),
            queued: Cell::new(-1),
            watching: Cell::new(0),
            stale: Cell::new(false),
            killed: Cell::new(false),
            buffered: Cell::new(0),
            reply: Cell::new(ReplyMode::On),
            no_evict: Cell::new(false),
            blocked: RefCell::new(None),
            subscriptions: Cell::new(0),
            channels: RefCell::default(),
            patterns: RefCell::default(),
            mail: RefCell::default(),
            waker: RefCell::new(None),
        })
    }

    /// The connection's number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Channels and patterns it is subscribed to.
    pub(crate) fn subscriptions(&self) -> usize {
        self.subscriptions.get()
    }

    /// Counts the channels and patterns again.
    pub(crate) fn count_subscriptions(&self) {
        self.subscriptions.set(self.channels.borrow().len() + self.patterns.borrow().len());
    }

    /// Leaves output that the connection did not ask for just now, and wakes its task. A client that doesn't fetch its
    /// mail is disconnected.
    pub(crate) fn deliver(&self, message: &[u8], limit: usize) {
        let mut mail = self.mail.borrow_mut();
        if mail.len() + message.len() > limit || mail.try_reserve(message.len()).is_err() {
            self.killed.set(true);
        } else {
            mail.extend_from_slice(message);
        }
        drop(mail);
        self.wake();
    }

    /// Moves the mail to `out`; true if there was some.
    pub(crate) fn collect(&self, out: &mut Vec<u8>) -> bool {
        let mut mail = self.mail.borrow_mut();
        if mail.is_empty() {
            return false;
        }
        if out.is_empty() {
            core::mem::swap(out, &mut mail);
        } else if out.try_reserve(mail.len()).is_ok() {
            out.extend_from_slice(&mail);
        } else {
            self.killed.set(true);
        }
        mail.clear();
        true
    }

    /// There is mail, or the connection shall end.
    pub fn has_news(&self) -> bool {
        self.killed.get() || !self.mail.borrow().is_empty()
    }

    /// Whom to wake when there are news.
    pub fn set_waker(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        if slot.as_ref().is_none_or(|old| !old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}
