//! What `#[derive(Event)]` makes of a type.
#![allow(clippy::unwrap_used, missing_docs)]

use serde::Serialize;
use streamer::{DynamicEvent, Event, NamedEvent, Replayable};

#[derive(Serialize, Event)]
#[event(name = "order.placed")]
struct OrderPlaced<'a> {
    id: u64,
    customer: &'a str,
}

#[derive(Serialize, Event)]
#[event(name = "order.cancel")]
#[event(kind = "command")]
enum Cancel {
    All,
}

#[derive(Serialize, Event)]
#[event(kind = "", name = "wrapped")]
struct Wrapped<T, const N: usize>
where
    T: Clone,
{
    parts: Vec<T>,
}

/// Serialisable only for some of its parameters.
#[derive(Event)]
#[event(name = "partly")]
struct Partly<T>(T);

impl Serialize for Partly<u8> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

fn parts<E: NamedEvent>(event: &E) -> (&'static str, String, String) {
    (E::NAME, event.name().into_owned(), event.kind().into_owned())
}

#[test]
fn the_attribute_gives_name_and_kind() {
    let order = OrderPlaced { id: 1, customer: "x" };
    assert_eq!((order.id, order.customer), (1, "x"));
    assert_eq!(parts(&order), ("order.placed", "order.placed".into(), "event".into()));
    assert_eq!(
        parts(&Cancel::All),
        ("order.cancel", "order.cancel".into(), "command".into())
    );
}

#[derive(Serialize, Event)]
#[event(name = "renamed", identifier = "0")]
struct Renamed<T>(u64, T);

#[test]
fn the_attribute_names_the_field_that_says_which_resource_it_is() {
    let renamed = Renamed(7, "Ann");
    assert_eq!(renamed.identifier(), "7");
    assert_eq!(renamed.1, "Ann");
}

#[test]
fn generic_types_are_events_where_they_are_serialisable() {
    let wrapped = Wrapped::<_, 3> { parts: vec![1, 2] };
    assert_eq!(parts(&wrapped), ("wrapped", "wrapped".into(), String::new()));
    assert_eq!(wrapped.parts.len(), 2);
    assert_eq!(parts(&Partly(7_u8)).0, "partly");
}

#[test]
fn a_reference_to_an_event_is_an_event() {
    fn name(event: impl Event) -> String {
        event.name().into_owned()
    }
    let event = DynamicEvent::new("a", serde_json::json!({})).with_kind("notification");
    assert_eq!(name(&event), "a");
    assert_eq!(event.kind(), "notification");
}
