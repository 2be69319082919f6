//! Names to addresses, by the name servers that DHCP or the command line told for the main network.

use crate::error::DnsError;
use crate::runtime::MAIN;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::net::IpAddr;
use core::task::Poll;
use smoltcp::socket::dns::QueryHandle;

/// The addresses of a name: IPv4 ones, or else IPv6 ones. An address itself is its own answer.
pub async fn resolve(name: &str) -> Result<Vec<IpAddr>, DnsError> {
    if let Ok(address) = name.parse() {
        return Ok(Vec::from([address]));
    }
    match ask(name, false).await {
        Err(DnsError::Failed) => ask(name, true).await,
        answer => answer,
    }
}

async fn ask(name: &str, ipv6: bool) -> Result<Vec<IpAddr>, DnsError> {
    let handle = MAIN.with_stack(|stack, _| stack.dns_start(name, ipv6)).ok_or(DnsError::NotStarted)??;
    MAIN.flush();
    let mut question = Question(Some(handle));
    poll_fn(|context| {
        let answer = MAIN
            .with_stack(|stack, _| stack.dns_answer(handle, context.waker()))
            .unwrap_or(Poll::Ready(Err(DnsError::NotStarted)));
        if answer.is_ready() {
            question.0 = None;
        }
        answer
    })
    .await
}

/// A question under way; withdrawn when dropped.
struct Question(Option<QueryHandle>);

impl Drop for Question {
    fn drop(&mut self) {
        if let Some(handle) = self.0 {
            MAIN.with_stack(|stack, _| stack.dns_cancel(handle));
        }
    }
}
