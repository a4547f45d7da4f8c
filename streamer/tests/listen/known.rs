//! Which cases do not run on every kind of store, and which are known to fail.

use streamer_test_servers::Topology::{self, Cluster, Embedded};

/// Cases that say nothing about some stores.
pub(crate) struct NotHere {
    pub(crate) cases: &'static [&'static str],
    pub(crate) topologies: &'static [Topology],
    #[expect(dead_code, reason = "for whoever reads the list")]
    pub(crate) why: &'static str,
}

/// Every case runs on every kind of store except these.
pub(crate) const NOT_HERE: &[NotHere] = &[
    NotHere {
        cases: &[
            "a_failure_on_a_full_store_is_reported_and_listed_when_there_is_room",
            "a_listening_that_purges_starts_on_a_full_store_and_frees_it",
            "a_stop_on_a_full_store_does_not_take_the_grace_period",
        ],
        topologies: &[Embedded],
        why: "a file that is full can still be read and written to by what frees space, see `full::file`",
    },
    NotHere {
        cases: &["with_keep_alive_a_listening_begins_before_its_store_is_there"],
        topologies: &[Cluster, Embedded],
        why: "it kills the one server that there is",
    },
];

/// Promises that are not kept yet.
pub(crate) struct Known {
    #[expect(dead_code, reason = "for whoever reads the list")]
    pub(crate) fault: &'static str,
    pub(crate) cases: &'static [&'static str],
    pub(crate) topologies: &'static [Topology],
    pub(crate) fails: Fails,
}

/// How often a case fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "the list shrinks")]
pub(crate) enum Fails {
    /// It must fail: when it passes, the test fails until the case leaves the list.
    Always,
    /// It depends on what happens first.
    Sometimes,
}

/// Faults that are known. This list may only shrink.
pub(crate) const KNOWN: &[Known] = &[];
