//! Notices that another process uses this consumer's name by the mark that each one keeps at the store and renews with its
//! signs of life, also while it finishes what is in flight at its end. Only where somebody chose the name.
//!
//! A mark that is renewed while this process looks proves that its process lives: what a crash left behind is never
//! renewed. So does one that was made after this process's own. Each mark says since when its process uses the name, by the
//! store's clock, so that both agree on which of them came later. Where [`OnNameInUse::Refuse`] was asked for, the later one ends. Programs that keep no mark
//! (laravel-streamer) are noticed by what they do: `strangers`.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, distr::Alphanumeric};

use super::{Core, Event, OnNameInUse, SubscribeError, in_flight::locked};
use crate::engine::{Member, NameUse, NameUser};

/// Of how many streams marks are renewed at once.
const STREAMS_AT_ONCE: usize = 16;

/// A mark expires when so many signs of life did not come.
const SIGNS_MISSED: u32 = 6;

/// The least time after which it expires, where signs of life are very frequent.
const EXPIRES_AFTER_AT_LEAST: Duration = Duration::from_secs(3);

/// Who uses the name.
#[derive(Debug)]
pub(super) struct Users {
    known: Mutex<Known>,
    /// For each shard, whether another user has gone: what it left pending under the name is to be taken up.
    gone: Vec<AtomicBool>,
    /// Whether this process ends because another one uses the name: what is pending under it is not all its own.
    refused: AtomicBool,
}

#[derive(Debug)]
struct Known {
    /// This process. It has no date before its first mark.
    me: NameUser,
    /// The others, by stream.
    others: HashMap<u32, Vec<Other>>,
}

#[derive(Debug)]
struct Other {
    user: NameUser,
    /// Until when its mark was valid at the last look.
    until_ms: u64,
    /// Whether its mark was renewed since the first look, or came after this process's own.
    is_alive: bool,
}

/// What the marks of one stream show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    /// Another process lives that uses the name.
    any: bool,
    /// One of them came before this one.
    earlier: bool,
    /// One that lived is gone.
    gone: bool,
}

impl Users {
    pub(super) fn new(shards: usize) -> Self {
        let token = rand::rng().sample_iter(Alphanumeric).take(16).map(char::from);
        let me = NameUser {
            since_ms: 0,
            token: token.collect(),
        };
        Self {
            known: Mutex::new(Known {
                me,
                others: HashMap::new(),
            }),
            gone: (0..shards).map(|_| AtomicBool::new(false)).collect(),
            refused: AtomicBool::new(false),
        }
    }

    fn me(&self) -> NameUser {
        locked(&self.known).me.clone()
    }

    /// Whether a stream has the mark of another process, alive or not.
    pub(super) fn may_be_others(&self, stream: u32) -> bool {
        locked(&self.known)
            .others
            .get(&stream)
            .is_some_and(|others| !others.is_empty())
    }

    /// Whether another user has gone since the last call.
    pub(super) fn has_gone(&self, shard: usize) -> bool {
        self.gone[shard].swap(false, Ordering::AcqRel)
    }

    /// Whether this process ends because of another one.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }

    fn observe(&self, stream: u32, found: NameUse) -> Found {
        let mut known = locked(&self.known);
        if known.me.since_ms == 0 {
            known.me.since_ms = found.since_ms;
        }
        let Known { me, others } = &mut *known;
        let before = others.remove(&stream).unwrap_or_default();
        let now = found.others.into_iter().map(|(user, until_ms)| {
            let last = before.iter().find(|other| other.user.token == user.token);
            let was_renewed = last.is_some_and(|last| last.is_alive || last.until_ms != until_ms);
            let is_alive = was_renewed || user.since_ms > me.since_ms;
            Other {
                user,
                until_ms,
                is_alive,
            }
        });
        let now = now.collect::<Vec<_>>();
        let gone = before.iter().any(|last| {
            let is_there = now.iter().any(|other| other.user.token == last.user.token);
            last.is_alive && !is_there
        });
        let found = Found {
            any: now.iter().any(|other| other.is_alive),
            earlier: now.iter().any(|other| other.is_alive && other.user < *me),
            gone,
        };
        if !now.is_empty() {
            others.insert(stream, now);
        }
        found
    }
}

impl Core {
    /// Renews the marks, and looks for those of others.
    pub(super) async fn mark_name(&self, member: &Member, sign_of_life: Duration) -> Result<(), SubscribeError> {
        let lease = (sign_of_life * SIGNS_MISSED).max(EXPIRES_AFTER_AT_LEAST);
        let mut stream = 0;
        let mut left = &self.names[..];
        while !left.is_empty() {
            let me = self.users.me();
            // The first mark says since when, and the others repeat that.
            let at_once = match me.since_ms {
                0 => 1,
                _ => STREAMS_AT_ONCE.min(left.len()),
            };
            let (some, rest) = left.split_at(at_once);
            for found in self.store.use_name(member, &me, some, lease).await {
                match found {
                    Ok(found) => self.found_users(member, stream, found)?,
                    Err(error) => tracing::debug!("marking the name of consumer {} failed: {error}", member.consumer),
                }
                stream += 1;
            }
            left = rest;
        }
        Ok(())
    }

    fn found_users(&self, member: &Member, stream: u32, found: NameUse) -> Result<(), SubscribeError> {
        let found = self.users.observe(stream, found);
        if found.gone {
            self.users.gone[self.shard(stream)].store(true, Ordering::Release);
        }
        if !found.any || self.closing() {
            return Ok(());
        }
        if found.earlier && self.spec.on_name_in_use == OnNameInUse::Refuse {
            self.users.refused.store(true, Ordering::Release);
            return Err(SubscribeError::NameInUse {
                stream: self.name(stream).clone(),
                member: member.clone(),
            });
        }
        if self.strangers.may_tell() {
            (self.events)(Event::NameInUse { stream, ids: &[] });
        }
        Ok(())
    }

    /// Removes the marks. What is not removed expires.
    pub(super) async fn unmark_name(&self, member: &Member) {
        if !self.spec.consumer_is_named {
            return;
        }
        for some in self.names.chunks(STREAMS_AT_ONCE) {
            for removed in self
                .store
                .use_name(member, &self.users.me(), some, Duration::ZERO)
                .await
            {
                if let Err(error) = removed {
                    tracing::debug!("removing the mark of consumer {} failed: {error}", member.consumer);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(since_ms: u64, token: &str) -> NameUser {
        NameUser {
            since_ms,
            token: token.to_owned(),
        }
    }

    #[test]
    fn only_a_mark_that_is_renewed_or_came_later_is_of_a_process_that_lives() {
        let users = Users::new(1);
        let found = |others: &[(NameUser, u64)]| {
            users.observe(
                0,
                NameUse {
                    since_ms: 10,
                    others: others.to_vec(),
                },
            )
        };
        assert_eq!(found(&[]), Found::default());
        assert!(!users.may_be_others(0));
        let earlier = user(9, "a");
        for _ in 0..2 {
            assert_eq!(found(&[(earlier.clone(), 100)]), Found::default());
            assert!(users.may_be_others(0));
        }
        let both = Found {
            any: true,
            earlier: true,
            gone: false,
        };
        assert_eq!(found(&[(earlier.clone(), 101)]), both);
        // It need not be renewed between any two looks.
        assert_eq!(found(&[(earlier, 101), (user(11, "b"), 7)]), both);
        let later = Found {
            earlier: false,
            gone: true,
            ..both
        };
        assert_eq!(found(&[(user(11, "b"), 7)]), later);
        assert_eq!(
            found(&[]),
            Found {
                gone: true,
                ..Found::default()
            }
        );
    }

    #[test]
    fn processes_that_came_in_the_same_millisecond_have_an_order() {
        assert!(user(1, "a") < user(1, "b") && user(1, "b") < user(2, "a"));
    }
}
