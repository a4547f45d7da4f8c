//! Fail-overs that no fault made. On a busy machine Sentinels, or the nodes of a cluster, take a master for dead that only got
//! no time, and promote its replica: that costs what a fail-over costs. The logs of the servers tell.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::{civil::DateTime, tz::TimeZone};

use crate::{
    clock,
    faults::{BEHIND, Cost, Happened},
    place::Place,
    verdict::Made,
};

/// What a server logs when it becomes a master, and when it stops being one.
const PROMOTED: [&str; 2] = ["MASTER MODE enabled", "Failover election won"];
const DEMOTED: [&str; 2] = ["Before turning into a replica", "Reconfiguring myself as a replica"];
/// Until when a master takes writes that has been replaced, where its log does not say.
const LONGEST: Duration = Duration::from_secs(15);

/// What they are called in the list of faults.
pub(crate) const NAME: &str = "own-fail-over";

/// Adds those that are not in the list.
pub(crate) fn add(place: &Place, made: &mut Vec<Made>) {
    let logs = place
        .servers()
        .into_iter()
        .map(|server| fs::read_to_string(server.file("log")).unwrap_or_default());
    let logs = logs.collect::<Vec<_>>();
    let times = |words: [&str; 2]| {
        let lines = logs.iter().flat_map(|log| log.lines());
        let said = lines.filter(move |line| words.iter().any(|word| line.contains(word)));
        let mut times = said.filter_map(time).collect::<Vec<_>>();
        times.sort_unstable();
        times
    };
    let demoted = times(DEMOTED);
    for at in times(PROMOTED) {
        let is_known = made.iter().any(|made| {
            let moves_masters = made.happened.cost != Cost::Nothing || made.name == "node-hand-over";
            moves_masters && made.from <= at && at <= made.to
        });
        if is_known {
            continue;
        }
        let to = demoted.iter().copied().find(|demoted| *demoted > at);
        made.push(Made {
            name: NAME,
            from: at,
            to: to.unwrap_or(u64::MAX).min(at + LONGEST.as_micros() as u64),
            happened: Happened::to_all("made by the servers themselves").at_the_cost_of(Cost::Latest(BEHIND)),
        });
    }
    made.sort_by_key(|made| made.from);
}

/// When a line was logged, by our clock. Servers log in UTC here: `1234:M 27 Nov 2026 03:51:06.805 * …`.
fn time(line: &str) -> Option<u64> {
    let words = line.split(' ').skip(1).take(4).collect::<Vec<_>>().join(" ");
    let date = DateTime::strptime("%d %b %Y %H:%M:%S%.f", words).ok()?;
    let date = TimeZone::UTC.to_timestamp(date).ok()?.as_microsecond();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_micros() as i64;
    u64::try_from(clock::now() as i64 - (now - date)).ok()
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    #[test]
    fn the_time_of_a_line_is_found() {
        let line = |time: &str| format!("24930:M {time} * MASTER MODE enabled (user request from 'id=460')");
        // Not of a day in the past: the clock begins with the machine.
        let now = TimeZone::UTC.to_datetime(Timestamp::now());
        let later = |ms: i64| now + SignedDuration::from_millis(ms);
        let [early, late] =
            [later(0), later(61_100)].map(|at| time(&line(&at.strftime("%d %b %Y %H:%M:%S%.3f").to_string())));
        let between = late.zip(early).map(|(late, early)| late.abs_diff(early));
        assert!(
            between.is_some_and(|between| between.abs_diff(61_100_000) < 50_000),
            "{between:?}"
        );
        assert_eq!(time("no time in it"), None);
    }
}
