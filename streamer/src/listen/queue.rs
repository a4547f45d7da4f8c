//! Between the reader and the workers: messages in whole batches, and never more than a few of them.
//!
//! A batch crosses from task to task once, however many messages it has: on a runtime with several threads each
//! crossing may cost a wake-up of another core, many times what a quick listener costs.

use std::{
    sync::{Arc, Mutex, PoisonError},
    vec,
};

use tokio::sync::{Mutex as AsyncMutex, mpsc};

use super::{Key, Workers, guarded::guarded, progress::Progress};
use crate::message::ReceivedMessage;

/// A message and the stream it came from, by its number.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) stream: usize,
    pub(super) message: ReceivedMessage,
    /// What earlier attempts achieved, where the store does not keep it: without a group.
    pub(super) progress: Option<Box<Progress>>,
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
}

/// The reader's end of the queues.
#[derive(Debug)]
pub(super) struct HandOver {
    queues: Vec<mpsc::Sender<Vec<Job>>>,
    key: Option<Key>,
}

impl HandOver {
    /// Whether a batch would have to wait, because workers are behind.
    pub(super) fn is_full(&self) -> bool {
        self.queues.iter().any(|queue| queue.capacity() == 0)
    }

    /// Hands a batch over, waiting while the workers are behind.
    pub(super) async fn send(&self, batch: Vec<Job>) {
        let Some(key) = &self.key else {
            return send(&self.queues[0], batch).await;
        };
        // Room for what chance gives to most.
        let room = batch.len() / self.queues.len() * 5 / 4 + 1;
        let parts = self.queues.iter().map(|_| Vec::with_capacity(room));
        let mut parts = parts.collect::<Vec<_>>();
        for job in batch {
            let key = guarded("the function of a `Key`", || key.of(&job.message));
            let part = key.unwrap_or_else(|error| std::panic::resume_unwind(Box::new(error))) % parts.len() as u64;
            parts[part as usize].push(job);
        }
        for (queue, part) in self.queues.iter().zip(parts) {
            send(queue, part).await;
        }
    }
}

/// Workers leave only when the listening is aborted, and what is not handed over stays pending then.
async fn send(queue: &mpsc::Sender<Vec<Job>>, batch: Vec<Job>) {
    if !batch.is_empty() {
        let _ = queue.send(batch).await;
    }
}

/// The reader's end, and for each worker the queue it takes from.
pub(super) fn queues(workers: &Workers) -> (HandOver, Vec<Arc<Queue>>) {
    let count = workers.count();
    match workers {
        Workers::InOrder | Workers::AtOnce(_) => {
            let (sender, queue) = Queue::new();
            (
                HandOver {
                    queues: vec![sender],
                    key: None,
                },
                vec![queue; count],
            )
        }
        Workers::PerKey(_, key) => {
            let (senders, queues) = (0..count).map(|_| Queue::new()).unzip();
            (
                HandOver {
                    queues: senders,
                    key: Some(key.clone()),
                },
                queues,
            )
        }
    }
}
