//! Answers of the store that several viewers ask for: asked for once, and given to all of them.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::problem::Problem;

/// How long an answer is given to others who ask for the same.
const FRESH: Duration = Duration::from_secs(1);
/// The store is asked at most once in so many times as long as it took.
const SHARE: u32 = 10;
/// How many answers are kept.
const KEPT: usize = 16;

/// The latest answers. Locked while the store is asked: it is asked one thing at a time, however many viewers there are.
#[derive(Debug, Default)]
pub(crate) struct Cache(tokio::sync::Mutex<HashMap<String, Kept>>);

#[derive(Debug)]
struct Kept {
    made: Instant,
    took: Duration,
    answer: Arc<Value>,
}

impl Cache {
    /// What `ask` gives, or gave somebody else a moment ago. `key` names what is asked for.
    pub(crate) async fn get(
        &self,
        key: String,
        ask: impl Future<Output = Result<Value, Problem>>,
    ) -> Result<Arc<Value>, Problem> {
        let mut kept = self.0.lock().await;
        if let Some(one) = kept.get(&key)
            && one.made.elapsed() < FRESH.max(one.took * SHARE)
        {
            return Ok(Arc::clone(&one.answer));
        }
        let began = Instant::now();
        let answer = Arc::new(ask.await?);
        if kept.len() >= KEPT
            && let Some(oldest) = kept.iter().min_by_key(|(_, one)| one.made).map(|(key, _)| key.clone())
        {
            kept.remove(&oldest);
        }
        let one = Kept {
            made: Instant::now(),
            took: began.elapsed(),
            answer: Arc::clone(&answer),
        };
        kept.insert(key, one);
        Ok(answer)
    }

    /// Forgets the answers: somebody changed what they are about.
    pub(crate) async fn clear(&self) {
        self.0.lock().await.clear();
    }
}
