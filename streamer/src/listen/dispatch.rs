//! Between reading and work: messages in whole batches, and never more than a few of them.
//!
//! A batch crosses from task to task once, however many messages it has: on a runtime with several threads each
//! crossing may cost a wake-up of another core, many times what a quick listener costs.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
    vec,
};

use tokio::sync::{Mutex as AsyncMutex, mpsc};

use super::{ListenError, OrderKey, Workers, guarded::guarded, plan::Plan};
use crate::{
    engine::{Delivery, DeliveryRef, Earlier},
    message::ReceivedMessage,
};

/// A delivery as a worker gets it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) at: DeliveryRef,
    pub(super) message: ReceivedMessage,
    /// See [`Delivery::earlier`].
    pub(super) earlier: Option<Box<Earlier>>,
    /// What it is kept in order by: the key of the message, or its stream.
    pub(super) key: u64,
    /// When it was received; only where times are measured.
    pub(super) received: Option<Instant>,
    /// Makes it as large as a delivery, so that a vector of deliveries becomes one of jobs where it is.
    pub(super) _padding: [u32; 2],
}

impl Job {
    fn new(plan: &Plan, delivery: Delivery) -> Self {
        let attempt = u64::from(delivery.count_before) + 1;
        let stream = plan.stream(delivery.at.stream).name.clone();
        Self {
            at: delivery.at,
            message: ReceivedMessage::new(stream, delivery.entry, attempt),
            earlier: delivery.earlier,
            key: u64::from(delivery.at.stream),
            received: plan.measures().then(Instant::now),
            _padding: [0; 2],
        }
    }

    /// In how long it is due.
    pub(super) fn due_in(&self) -> Duration {
        self.earlier.as_ref().map_or(Duration::ZERO, |earlier| earlier.due_in)
    }
}

/// Where workers take messages from. Workers that share a queue handle its messages at once; a queue with one worker
/// keeps their order.
#[derive(Debug)]
pub(super) struct Queue {
    current: Mutex<vec::IntoIter<Job>>,
    batches: AsyncMutex<mpsc::Receiver<Vec<Job>>>,
}

impl Queue {
    fn new() -> (mpsc::Sender<Vec<Job>>, Arc<Self>) {
        // One batch waits here while one is handled; the reader holds a third, and may have asked for a fourth.
        let (sender, receiver) = mpsc::channel(1);
        let queue = Self {
            current: Mutex::new(Vec::new().into_iter()),
            batches: AsyncMutex::new(receiver),
        };
        (sender, Arc::new(queue))
    }

    /// The next message of the batch that is being handled.
    pub(super) fn next_at_hand(&self) -> Option<Job> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    /// The next message, waited for; `None` when there will be no more.
    pub(super) async fn next(&self) -> Option<Job> {
        loop {
            if let Some(job) = self.next_at_hand() {
                return Some(job);
            }
            let mut batches = self.batches.lock().await;
            // Another worker may have brought a batch while this one waited for its turn.
            if let Some(job) = self.next_at_hand() {
                return Some(job);
            }
            let batch = batches.recv().await?;
            *self.current.lock().unwrap_or_else(PoisonError::into_inner) = batch.into_iter();
        }
    }

    /// Takes back what no worker has taken.
    pub(super) fn recall(&self) -> Vec<DeliveryRef> {
        let current = std::mem::take(&mut *self.current.lock().unwrap_or_else(PoisonError::into_inner));
        let mut recalled = current.map(|job| job.at).collect::<Vec<_>>();
        // Where a worker has the lock, it waits for a batch, and there is none.
        if let Ok(mut batches) = self.batches.try_lock() {
            while let Ok(batch) = batches.try_recv() {
                recalled.extend(batch.into_iter().map(|job| job.at));
            }
        }
        recalled
    }
}

/// The reader's end of the queues.
#[derive(Debug)]
pub(super) struct Dispatcher {
    queues: Vec<mpsc::Sender<Vec<Job>>>,
    key: Option<OrderKey>,
}

impl Dispatcher {
    /// Whether a batch would have to wait, because workers are behind.
    pub(super) fn is_full(&self) -> bool {
        self.queues.iter().any(|queue| queue.capacity() == 0)
    }

    /// Hands a batch over, waiting while the workers are behind.
    pub(super) async fn dispatch(&self, plan: &Plan, batch: Vec<Delivery>) -> Result<(), ListenError> {
        let room = batch.len();
        let jobs = batch.into_iter().map(|delivery| Job::new(plan, delivery));
        let Some(key) = &self.key else {
            send(&self.queues[0], jobs.collect()).await;
            return Ok(());
        };
        // Room for what chance gives to most.
        let room = room / self.queues.len() * 5 / 4 + 1;
        let parts = self.queues.iter().map(|_| Vec::with_capacity(room));
        let mut parts = parts.collect::<Vec<_>>();
        for mut job in jobs {
            job.key = guarded("the function of an `OrderKey`", || key.of(&job.message))?;
            let part = job.key % parts.len() as u64;
            parts[part as usize].push(job);
        }
        for (queue, part) in self.queues.iter().zip(parts) {
            send(queue, part).await;
        }
        Ok(())
    }
}

/// Workers leave before the reader only when something failed. What is not handed over is released by the subscription.
async fn send(queue: &mpsc::Sender<Vec<Job>>, batch: Vec<Job>) {
    if !batch.is_empty() {
        let _ = queue.send(batch).await;
    }
}

/// The reader's end, and for each worker the queue it takes from.
pub(super) fn queues(workers: &Workers) -> (Dispatcher, Vec<Arc<Queue>>) {
    let count = workers.count();
    match workers {
        Workers::InOrder | Workers::AtOnce(_) => {
            let (sender, queue) = Queue::new();
            (
                Dispatcher {
                    queues: vec![sender],
                    key: None,
                },
                vec![queue; count],
            )
        }
        Workers::PerKey(_, key) => {
            let (senders, queues) = (0..count).map(|_| Queue::new()).unzip();
            (
                Dispatcher {
                    queues: senders,
                    key: Some(key.clone()),
                },
                queues,
            )
        }
    }
}

#[cfg(all(test, target_os = "linux", target_pointer_width = "64"))]
mod tests {
    use super::*;

    /// A test and no assertion of the library: where they differ, listening only takes more memory.
    #[test]
    fn a_job_is_as_large_as_a_delivery() {
        assert_eq!(size_of::<Job>(), size_of::<Delivery>());
    }
}
