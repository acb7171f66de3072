//! Clients that wait for their order's end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kernel::OrderId;
use tokio::sync::oneshot;

use crate::domain::Order;

type Waiting = BTreeMap<OrderId, Vec<(u64, oneshot::Sender<Order>)>>;

/// Who waits for which order. As large as the number of requests under way, which is bounded.
#[derive(Clone, Default)]
pub struct Waiters {
    waiting: Arc<Mutex<(u64, Waiting)>>,
}

/// A place in the queue; leaving it (also by a dropped request) gives it back.
pub struct Waiter {
    id: OrderId,
    ticket: u64,
    waiters: Waiters,
    ended: oneshot::Receiver<Order>,
}

impl Waiters {
    pub fn wait_for(&self, id: OrderId) -> Waiter {
        let (sender, ended) = oneshot::channel();
        let mut guard = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        guard.0 += 1;
        let ticket = guard.0;
        guard.1.entry(id).or_default().push((ticket, sender));
        drop(guard);
        Waiter { id, ticket, waiters: self.clone(), ended }
    }

    /// Tells everybody who waits for it.
    pub fn ended(&self, order: &Order) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&order.id);
        for (_, waiter) in waiting.unwrap_or_default() {
            // Who has stopped waiting does not mind.
            let _ = waiter.send(order.clone());
        }
    }
}

impl Waiter {
    /// The order as it ended; `None` if nobody will ever tell.
    pub async fn ended(mut self) -> Option<Order> {
        (&mut self.ended).await.ok()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut guard = self.waiters.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = guard.1.get_mut(&self.id) {
            waiting.retain(|(ticket, _)| *ticket != self.ticket);
            if waiting.is_empty() {
                guard.1.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::order::tests::pending;

    #[tokio::test]
    async fn everybody_who_waits_is_told_and_nothing_is_left_behind() {
        let waiters = Waiters::default();
        let order = pending();
        let (first, second, gone) =
            (waiters.wait_for(order.id), waiters.wait_for(order.id), waiters.wait_for(order.id));
        drop(gone);
        waiters.ended(&order);
        assert!(first.ended().await.is_some() && second.ended().await.is_some());
        drop(waiters.wait_for(order.id));
        assert!(waiters.waiting.lock().unwrap().1.is_empty());
    }
}
