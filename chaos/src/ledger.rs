//! The files in which the processes write what they did. Lines are appended whole, so that a process that is killed leaves
//! no half of one behind another's.

use std::{
    collections::{HashMap, HashSet},
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use crate::clock;

/// What producers were told is written.
const ACKNOWLEDGED: &str = "acknowledged";
/// What consumers and retriers handled.
const HANDLED: &str = "handled";
/// What archivers put back on the streams.
const RESTORED: &str = "restored";
/// What went wrong in an unexpected way, in words.
const REMARKS: &str = "remarks";

/// Appends to the ledger.
#[derive(Debug)]
pub(crate) struct Ledger {
    acknowledged: File,
    handled: File,
    restored: File,
    remarks: File,
}

/// An attempt at a message.
pub(crate) struct Attempt<'a> {
    pub(crate) who: &'a str,
    pub(crate) group: &'a str,
    pub(crate) number: u64,
    pub(crate) stream: &'a str,
    pub(crate) id: String,
    pub(crate) succeeded: bool,
    pub(crate) restored: bool,
}

impl Ledger {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let open = |name| OpenOptions::new().append(true).create(true).open(folder.join(name));
        Ok(Self {
            acknowledged: open(ACKNOWLEDGED)?,
            handled: open(HANDLED)?,
            restored: open(RESTORED)?,
            remarks: open(REMARKS)?,
        })
    }

    /// These numbers were emitted, and the emit returned an ID. `begin` is when it began; `safe`: replicas have them.
    pub(crate) fn acknowledged(
        &self,
        stream: &str,
        begin: u64,
        numbers: impl Iterator<Item = u64>,
        safe: bool,
    ) -> io::Result<()> {
        let (now, safe) = (clock::now(), u8::from(safe));
        let lines = numbers.map(|number| format!("{begin} {now} {number} {stream} {safe}\n"));
        (&self.acknowledged).write_all(lines.collect::<String>().as_bytes())
    }

    pub(crate) fn attempt(&self, attempt: &Attempt<'_>) -> io::Result<()> {
        let Attempt {
            who,
            group,
            number,
            stream,
            id,
            succeeded,
            restored,
        } = attempt;
        let line = format!(
            "{} {who} {group} {number} {stream} {id} {} {}\n",
            clock::now(),
            u8::from(*succeeded),
            u8::from(*restored)
        );
        (&self.handled).write_all(line.as_bytes())
    }

    pub(crate) fn restored(&self, number: u64, stream: &str, id: &str) -> io::Result<()> {
        let line = format!("{} {number} {stream} {id}\n", clock::now());
        (&self.restored).write_all(line.as_bytes())
    }

    /// One line of words.
    pub(crate) fn remark(&self, text: &str) {
        let line = format!("{} {}\n", clock::now(), text.replace(['\n', '\r'], " "));
        let _ = (&self.remarks).write_all(line.as_bytes());
    }
}

/// A number that a producer was told is written.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) begin: u64,
    pub(crate) at: u64,
    pub(crate) stream: String,
    /// Replicas had it by then.
    pub(crate) safe: bool,
}

/// A line of [`Attempt`].
#[derive(Clone, Debug)]
pub(crate) struct Handled {
    pub(crate) at: u64,
    pub(crate) who: String,
    pub(crate) group: String,
    pub(crate) number: u64,
    pub(crate) stream: String,
    pub(crate) id: String,
    pub(crate) succeeded: bool,
    pub(crate) restored: bool,
}

/// A message that is on its stream again, under this ID.
#[derive(Clone, Debug)]
pub(crate) struct Restored {
    pub(crate) at: u64,
    pub(crate) number: u64,
    pub(crate) stream: String,
    pub(crate) id: String,
}

/// Everything that was written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) acknowledged: HashMap<u64, Acknowledged>,
    pub(crate) handled: Vec<Handled>,
    pub(crate) restored: Vec<Restored>,
    pub(crate) remarks: Vec<(u64, String)>,
}

impl Written {
    pub(crate) fn read(folder: &Path) -> Self {
        let read = |name| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        let mut written = Self::default();
        for line in read(ACKNOWLEDGED).lines() {
            let mut words = line.split(' ');
            let mut number = || words.next()?.parse::<u64>().ok();
            if let (Some(begin), Some(at), Some(number)) = (number(), number(), number()) {
                let stream = words.next().unwrap_or_default().to_owned();
                let safe = words.next() == Some("1");
                let one = Acknowledged {
                    begin,
                    at,
                    stream,
                    safe,
                };
                written.acknowledged.insert(number, one);
            }
        }
        written.handled = read(HANDLED).lines().filter_map(handled).collect();
        for line in read(RESTORED).lines() {
            let words = line.split(' ').collect::<Vec<_>>();
            if let [at, number, stream, id] = words[..]
                && let (Ok(at), Ok(number)) = (at.parse(), number.parse())
            {
                written.restored.push(Restored {
                    at,
                    number,
                    stream: stream.to_owned(),
                    id: id.to_owned(),
                });
            }
        }
        for line in read(REMARKS).lines() {
            if let Some((at, text)) = line.split_once(' ') {
                written.remarks.push((at.parse().unwrap_or_default(), text.to_owned()));
            }
        }
        written
    }

    /// What each group handled with success: numbers, and IDs with their streams.
    pub(crate) fn done(&self) -> HashMap<&str, Done<'_>> {
        let mut done = HashMap::<&str, Done<'_>>::new();
        for handled in self.handled.iter().filter(|handled| handled.succeeded) {
            let of_group = done.entry(&handled.group).or_default();
            of_group.numbers.insert(handled.number);
            of_group.entries.insert((&handled.stream, &handled.id));
        }
        done
    }
}

/// What a group handled.
#[derive(Debug, Default)]
pub(crate) struct Done<'a> {
    pub(crate) numbers: HashSet<u64>,
    pub(crate) entries: HashSet<(&'a str, &'a str)>,
}

fn handled(line: &str) -> Option<Handled> {
    let words = line.split(' ').collect::<Vec<_>>();
    let [at, who, group, number, stream, id, succeeded, restored] = words[..] else {
        return None;
    };
    Some(Handled {
        at: at.parse().ok()?,
        who: who.to_owned(),
        group: group.to_owned(),
        number: number.parse().ok()?,
        stream: stream.to_owned(),
        id: id.to_owned(),
        succeeded: succeeded == "1",
        restored: restored == "1",
    })
}
