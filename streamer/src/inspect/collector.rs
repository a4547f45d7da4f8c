//! Overviews over time: rates, and the last hour of each stream and group.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use serde::Serialize;

use super::{GroupOverview, Lag, Overview, StreamOverview};

/// How far apart the points of a series are.
const EVERY: Duration = Duration::from_secs(30);
/// How many points a series has: those of an hour.
const POINTS: usize = 120;
/// How many streams and groups are kept.
const MOST_SERIES: usize = 20_000;

/// How much happens in a second. `None` where two samples do not tell, as on servers before Redis 7.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Rates {
    /// Entries appended to the stream.
    pub incoming: Option<f64>,
    /// Entries delivered to the group for the first time. `None` for a stream.
    pub delivered: Option<f64>,
    /// Entries of the group that were acknowledged. `None` for a stream.
    pub acknowledged: Option<f64>,
}

/// What a stream or group was like at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Point {
    /// When, in seconds since the Unix epoch.
    pub at: u64,
    /// How many messages were yet to be delivered; for a stream its length. `None` where that was unknown.
    pub messages: Option<u64>,
    /// What happened in a second since the point before.
    pub rates: Rates,
}

/// The points of a stream or group, oldest first.
pub type Series = Vec<Point>;

/// Remembers what overviews showed: the last hour, a point each 30 seconds, of at most 20,000 streams and groups (about
/// 2 kB each). Rates of the past are kept with two or three significant digits. One collector serves any number of viewers.
///
/// ```
/// use streamer::{Streamer, inspect::Collector};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let streamer = Streamer::connect("memory:").await?;
/// let mut collector = Collector::new();
/// // In a loop, every few seconds:
/// collector.observe(streamer.inspect().overview().await?);
/// let rates = collector.stream_rates("order.placed");
/// assert_eq!(rates.incoming, None, "one sample tells no rate");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Collector {
    latest: Option<Overview>,
    /// Counters of the latest overview and of the one before it.
    samples: HashMap<Key, (Counters, Option<Counters>)>,
    series: HashMap<Key, Kept>,
}

/// A stream, or a group of it.
type Key = (String, Option<String>);

/// What only grows, and when it was read.
#[derive(Clone, Copy, Debug)]
struct Counters {
    at_ms: u64,
    added: Option<u64>,
    read: Option<u64>,
    pending: u64,
    messages: Option<u64>,
}

/// The points of a key, packed, and the counters at the last of them.
#[derive(Debug)]
struct Kept {
    last: Counters,
    points: VecDeque<Packed>,
}

/// 12 bytes: an hour of 11,000 streams and groups takes about 20 MB.
#[derive(Clone, Copy, Debug)]
struct Packed {
    /// The greatest number is "unknown".
    messages: u32,
    /// How many seconds after the point before it was; that of the first point means nothing.
    after: u16,
    /// Of a stream: incoming. Of a group: delivered, acknowledged.
    rates: [Rate; 2],
}

/// The upper half of an `f32`: its sign, its exponent and 7 bits of its fraction. NaN is "unknown".
#[derive(Clone, Copy, Debug)]
struct Rate(u16);

impl Rate {
    fn pack(rate: Option<f64>) -> Self {
        let bits = rate.map_or(f32::NAN, |rate| rate as f32).to_bits();
        // To the nearest one. The fraction of NaN has its first bit set, so it stays NaN.
        Self((bits.saturating_add(0x7fff) >> 16) as u16)
    }

    fn unpack(self) -> Option<f64> {
        let rate = f32::from_bits(u32::from(self.0) << 16);
        (!rate.is_nan()).then(|| f64::from(rate))
    }
}

impl Collector {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an overview. One that is not newer than the last is ignored.
    pub fn observe(&mut self, overview: Overview) {
        if self
            .latest
            .as_ref()
            .is_some_and(|latest| latest.at_ms >= overview.at_ms)
        {
            return;
        }
        let mut samples = HashMap::with_capacity(self.samples.len());
        for stream in &overview.streams {
            let key = (stream.name.clone(), None);
            self.add(key, stream_counters(overview.at_ms, stream), &mut samples);
            for group in &stream.groups {
                let key = (stream.name.clone(), Some(group.name.clone()));
                self.add(key, group_counters(overview.at_ms, group), &mut samples);
            }
        }
        // What is gone from the store is forgotten.
        if overview.complete {
            self.series.retain(|key, _| samples.contains_key(key));
        }
        self.samples = samples;
        self.latest = Some(overview);
    }

    fn add(&mut self, key: Key, now: Counters, samples: &mut HashMap<Key, (Counters, Option<Counters>)>) {
        let before = self.samples.get(&key).map(|(before, _)| *before);
        let has_room = self.series.len() < MOST_SERIES;
        let is_group = key.1.is_some();
        match self.series.get_mut(&key) {
            Some(kept) if now.at_ms >= kept.last.at_ms.saturating_add(super::ms(EVERY)) => {
                if kept.points.len() >= POINTS {
                    kept.points.pop_front();
                }
                kept.points.push_back(pack(now, Some(kept.last), is_group));
                kept.last = now;
            }
            None if has_room => {
                let points = VecDeque::from([pack(now, None, is_group)]);
                self.series.insert(key.clone(), Kept { last: now, points });
            }
            _ => {}
        }
        samples.insert(key, (now, before));
    }

    /// The latest overview.
    #[must_use]
    pub fn latest(&self) -> Option<&Overview> {
        self.latest.as_ref()
    }

    /// What happens on a stream, between the latest two overviews.
    #[must_use]
    pub fn stream_rates(&self, stream: &str) -> Rates {
        self.rates(&(stream.to_owned(), None))
    }

    /// What happens in a group, between the latest two overviews.
    #[must_use]
    pub fn group_rates(&self, stream: &str, group: &str) -> Rates {
        self.rates(&(stream.to_owned(), Some(group.to_owned())))
    }

    /// The last hour of a stream; empty where it is not kept.
    #[must_use]
    pub fn stream_series(&self, stream: &str) -> Series {
        self.series(&(stream.to_owned(), None))
    }

    /// The last hour of a group; empty where it is not kept.
    #[must_use]
    pub fn group_series(&self, stream: &str, group: &str) -> Series {
        self.series(&(stream.to_owned(), Some(group.to_owned())))
    }

    fn rates(&self, key: &Key) -> Rates {
        match self.samples.get(key) {
            Some((now, Some(before))) => rates(*now, *before),
            _ => Rates::default(),
        }
    }

    fn series(&self, key: &Key) -> Series {
        let is_group = key.1.is_some();
        self.series
            .get(key)
            .map(|kept| kept.unpack(is_group))
            .unwrap_or_default()
    }
}

fn stream_counters(at_ms: u64, stream: &StreamOverview) -> Counters {
    Counters {
        at_ms,
        added: stream.entries_added,
        read: None,
        pending: 0,
        messages: Some(stream.length),
    }
}

fn group_counters(at_ms: u64, group: &GroupOverview) -> Counters {
    Counters {
        at_ms,
        added: None,
        read: group.entries_read,
        pending: group.pending,
        messages: match group.lag {
            Lag::Exact(lag) => Some(lag),
            Lag::AtLeast(_) | Lag::Unknown => None,
        },
    }
}

fn rates(now: Counters, before: Counters) -> Rates {
    let seconds = now.at_ms.saturating_sub(before.at_ms) as f64 / 1000.0;
    if seconds <= 0.0 {
        return Rates::default();
    }
    // A counter that shrinks is another one: the stream was made again, or the group was moved back.
    let grown = |now: Option<u64>, before: Option<u64>| now?.checked_sub(before?);
    let delivered = grown(now.read, before.read);
    // What was delivered is pending or acknowledged.
    let acknowledged = delivered.map(|delivered| (delivered + before.pending).saturating_sub(now.pending));
    let rate = |count: Option<u64>| count.map(|count| count as f64 / seconds);
    Rates {
        incoming: rate(grown(now.added, before.added)),
        delivered: rate(delivered),
        acknowledged: rate(acknowledged),
    }
}

fn pack(now: Counters, before: Option<Counters>, is_group: bool) -> Packed {
    let rates = before.map_or_else(Rates::default, |before| rates(now, before));
    let messages = now.messages.map(|messages| messages.min(u64::from(u32::MAX - 1)));
    let after = before.map_or(0, |before| (now.at_ms / 1000).saturating_sub(before.at_ms / 1000));
    let rates = match is_group {
        true => [rates.delivered, rates.acknowledged],
        false => [rates.incoming, None],
    };
    Packed {
        messages: messages.map_or(u32::MAX, |messages| messages as u32),
        after: u16::try_from(after).unwrap_or(u16::MAX),
        rates: rates.map(Rate::pack),
    }
}

impl Kept {
    fn unpack(&self, is_group: bool) -> Series {
        let mut at = self.last.at_ms / 1000;
        // From the last one back.
        let points = self.points.iter().rev().map(|point| {
            let [first, second] = point.rates.map(Rate::unpack);
            let shown = Point {
                at,
                messages: (point.messages != u32::MAX).then(|| point.messages.into()),
                rates: Rates {
                    incoming: first.filter(|_| !is_group),
                    delivered: first.filter(|_| is_group),
                    acknowledged: second,
                },
            };
            at = at.saturating_sub(point.after.into());
            shown
        });
        let mut points = points.collect::<Series>();
        points.reverse();
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryId;

    fn overview(at_ms: u64, added: u64, read: u64, pending: u64) -> Overview {
        Overview {
            at_ms,
            complete: true,
            streams: vec![StreamOverview {
                name: "s".to_owned(),
                length: added,
                bytes: None,
                first_id: None,
                first_age_ms: None,
                last_id: EntryId::MIN,
                last_age_ms: None,
                entries_added: Some(added),
                groups: vec![GroupOverview {
                    name: "g".to_owned(),
                    last_delivered_id: EntryId::MIN,
                    lag: Lag::Exact(added - read),
                    lag_ms: None,
                    missed: None,
                    entries_read: Some(read),
                    pending,
                    oldest_pending: None,
                    alive: 0,
                    stale: 0,
                    consumers: Vec::new(),
                }],
                scheduled: None,
            }],
            ..Overview::default()
        }
    }

    #[test]
    fn rates_are_those_between_the_latest_two_overviews() {
        let mut collector = Collector::new();
        collector.observe(overview(1_000, 100, 50, 10));
        assert_eq!(collector.stream_rates("s"), Rates::default());
        collector.observe(overview(3_000, 300, 150, 20));
        assert_eq!(collector.stream_rates("s").incoming, Some(100.0));
        let group = collector.group_rates("s", "g");
        // 100 more were delivered, of which 10 more are pending.
        assert_eq!((group.delivered, group.acknowledged), (Some(50.0), Some(45.0)));
        // The stream was removed and made again.
        collector.observe(overview(4_000, 5, 0, 0));
        assert_eq!(collector.stream_rates("s").incoming, None);
    }

    #[test]
    fn a_packed_rate_is_near_enough_and_what_is_unknown_stays_so() {
        assert_eq!(Rate::pack(None).unpack(), None);
        assert_eq!(Rate::pack(Some(0.0)).unpack(), Some(0.0));
        for rate in [0.01, 0.333, 1.0, 12.34, 999.9, 123_456.0, 1e12] {
            let near = Rate::pack(Some(rate)).unpack().unwrap_or_default();
            assert!((near - rate).abs() <= rate / 200.0, "{rate}: {near}");
        }
    }

    #[test]
    fn points_of_uneven_looks_have_their_own_times() {
        let mut collector = Collector::new();
        let times = [1_000, 2_000, 31_000, 95_500, 126_000];
        for at_ms in times {
            collector.observe(overview(at_ms, at_ms / 100, at_ms / 100, 0));
        }
        let series = collector.group_series("s", "g");
        let at = series.iter().map(|point| point.at).collect::<Vec<_>>();
        assert_eq!(at, [1, 31, 95, 126]);
        assert_eq!(
            (series[0].rates, series[1].rates.delivered),
            (Rates::default(), Some(10.0))
        );
        assert_eq!(
            (series[1].rates.incoming, series[1].rates.acknowledged),
            (None, Some(10.0))
        );
        let of_stream = collector.stream_series("s");
        assert_eq!(
            (of_stream[1].rates.incoming, of_stream[1].rates.delivered),
            (Some(10.0), None)
        );
    }

    #[test]
    fn an_hour_is_kept_and_what_is_gone_is_forgotten() {
        let mut collector = Collector::new();
        for second in 0..=7200 {
            collector.observe(overview(second * 1000, second * 10, 0, 0));
        }
        let series = collector.stream_series("s");
        assert_eq!(series.len(), POINTS);
        let (first, last) = (series[0], series[POINTS - 1]);
        assert_eq!((last.at, last.at - first.at), (7200, 3570));
        assert_eq!(last.rates.incoming, Some(10.0));
        assert_eq!(last.messages, Some(72_000));
        assert_eq!(collector.group_series("s", "g").len(), POINTS);
        collector.observe(Overview {
            at_ms: 8_000_000,
            complete: true,
            ..Overview::default()
        });
        assert!(collector.stream_series("s").is_empty() && collector.samples.is_empty());
    }
}
