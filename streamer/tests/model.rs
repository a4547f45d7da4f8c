//! Model events without an ORM: names, payloads, and the record that a replay makes of them.
#![allow(missing_docs, clippy::unwrap_used)]

use serde::Serialize;
use serde_json::{Value, json};
use streamer::{
    Event, OrderedJson, Replayable, Streamer,
    model::{ModelSpec, PayloadFormat, Tracked},
};

#[test]
fn an_update_tells_only_what_changed() {
    let orders = ModelSpec::new("Order").key(["region", "number"]).hidden(["secret"]);
    let order = |note: Value, secret: &str| {
        [
            ("region", json!("eu:1")),
            ("number", json!(7)),
            ("total", json!(1.5)),
            ("note", note),
            ("secret", json!(secret)),
        ]
    };
    let before = order(json!("a"), "x");
    assert_eq!(
        orders.updated(before.clone(), order(json!("a"), "y")),
        None,
        "a hidden field alone is no change"
    );
    let event = orders.updated(before, order(Value::Null, "y")).unwrap();
    assert_eq!(event.name(), "order.updated");
    assert_eq!(event.identifier(), "eu%3A1:7");
    assert_eq!(
        event.payload().to_string(),
        r#"{"region":"eu:1","number":7,"fields":["note"],"before":{"note":"a"},"after":{"note":null}}"#
    );
}

#[test]
fn a_payload_has_the_order_of_the_record_at_every_level() {
    #[derive(Serialize)]
    struct Address {
        street: &'static str,
        city: &'static str,
    }
    #[derive(Serialize)]
    struct Order {
        number: u64,
        id: u64,
        address: Address,
        state: &'static str,
    }
    let orders = ModelSpec::new("order").additional(OrderedJson::of(&Address { street: "s", city: "c" }).unwrap());
    let mut order = Tracked::unsaved(Order {
        number: 2,
        id: 1,
        address: Address { street: "a", city: "b" },
        state: "new",
    });
    assert_eq!(
        order.change(&orders).unwrap().unwrap().payload().to_string(),
        concat!(
            r#"{"id":1,"additional":{"street":"s","city":"c"},"fields":["number","id","address","state"],"#,
            r#""before":{"number":null,"id":null,"address":null,"state":null},"#,
            r#""after":{"number":2,"id":1,"address":{"street":"a","city":"b"},"state":"new"}}"#
        )
    );
    order.mark_saved().unwrap();
    order.state = "sent";
    order.address.street = "z";
    assert_eq!(
        order.change(&orders).unwrap().unwrap().payload().to_string(),
        concat!(
            r#"{"id":1,"additional":{"street":"s","city":"c"},"fields":["address","state"],"#,
            r#""before":{"address":{"street":"a","city":"b"},"state":"new"},"#,
            r#""after":{"address":{"street":"z","city":"b"},"state":"sent"}}"#
        )
    );
    let by_two = ModelSpec::new("order").key(["number", "id"]);
    assert_eq!(
        by_two.deleted([("id", json!(1)), ("number", json!(2))]).identifier(),
        "2:1"
    );
}

#[test]
fn a_falsy_key_is_left_out_only_where_laravel_would() {
    let record = json!({"id": 0, "name": "n"});
    let record = record.as_object().unwrap();
    let (ours, theirs) = (ModelSpec::new("t"), ModelSpec::new("t").format(PayloadFormat::Laravel));
    assert_eq!(ours.deleted(record).payload(), &json!({"id": 0, "deleted": true}));
    assert_eq!(theirs.deleted(record).payload(), &json!({"deleted": true}));
    let empty = json!([]);
    assert_eq!(
        ours.clone().additional(empty.clone()).deleted(record).payload(),
        &json!({"id": 0, "additional": [], "deleted": true})
    );
    assert_eq!(
        theirs.additional(empty).deleted(record).payload(),
        &json!({"deleted": true})
    );
}

#[test]
fn what_has_no_fields_cannot_be_tracked() {
    assert!(Tracked::saved(5).unwrap_err().to_string().contains("a number"));
}

#[derive(Serialize)]
struct User {
    id: u64,
    name: String,
    age: Option<u32>,
}

#[tokio::test]
async fn a_record_is_replayed_from_all_its_events() {
    let redis = streamer_test_servers::RedisServer::start();
    for url in [redis.url(), "memory:".to_owned()] {
        let streamer = Streamer::connect(&url).await.unwrap();
        let users = ModelSpec::new("user");
        let mut user = Tracked::unsaved(User {
            id: 7,
            name: "Ann".into(),
            age: None,
        });
        let mut other = Tracked::unsaved(User {
            id: 8,
            name: "Bob".into(),
            age: None,
        });
        for user in [&mut user, &mut other] {
            let created = user.change(&users).unwrap().unwrap();
            streamer.emit_replayable(&created).await.unwrap();
            user.mark_saved().unwrap();
        }
        user.age = Some(33);
        streamer
            .emit_replayable(&user.change(&users).unwrap().unwrap())
            .await
            .unwrap();
        user.mark_saved().unwrap();

        let mut changes = Vec::new();
        let replayed = streamer
            .replay_model("User", "7")
            .on_change(|change| changes.push((change.field, change.to)));
        let replayed = replayed.run().await.unwrap().unwrap();
        assert_eq!(replayed.data, json!({"id": 7, "name": "Ann", "age": 33}));
        assert!(!replayed.deleted && replayed.is_whole());
        assert_eq!(replayed.messages, 2);
        assert_eq!(changes.last(), Some(&("age".to_owned(), json!(33).into())));

        streamer.emit_replayable(&user.deleted(&users).unwrap()).await.unwrap();
        let replayed = streamer.replay_model("user", "7").run().await.unwrap().unwrap();
        assert!(replayed.deleted);
        assert_eq!(replayed.data, json!([]));
        let bob = streamer.replay_model("user", "8").run().await.unwrap().unwrap();
        assert_eq!(bob.data, json!({"id": 8, "name": "Bob", "age": null}));
        assert_eq!(streamer.replay_model("user", "9").run().await.unwrap(), None);

        // Its history is trimmed as a whole, whichever of its streams a message was on.
        for event in ["user.created", "user.updated", "user.deleted"] {
            streamer.engine().remove_stream(&event.into()).await.unwrap();
        }
        let trimmed = streamer.trim_model_history("user", "7", None).await.unwrap();
        assert_eq!((trimmed.snapshots, trimmed.removed), (3, 3));
    }
}
