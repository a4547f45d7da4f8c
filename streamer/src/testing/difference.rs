//! In what events differ from those that a test expected.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::{
    ReceivedMessage,
    message::{Node, OrderedJson, php_json},
};

/// The differences, a line each; `None` when there are none. Payloads are compared as the JSON that a stream has.
pub(super) fn between<E: Serialize>(expected: &[E], messages: &[ReceivedMessage]) -> Option<String> {
    let mut text = String::new();
    for number in 0..expected.len().max(messages.len()) {
        let is = messages
            .get(number)
            .map(|message| payload(message.field("data").map_or(b"null", |data| data)));
        let should = expected.get(number).map(|event| match php_json::to_vec(event) {
            Ok(json) => payload(&json),
            Err(error) => panic!("the event that is expected has no JSON text: {error}"),
        });
        let number = number + 1;
        match (should, is) {
            (Some(should), Some(is)) => compare(&should, &is, &format!("event {number}"), &mut text),
            (Some(should), None) => _ = write!(text, "\n  event {number}: expected {should}, and there is none"),
            (None, Some(is)) => _ = write!(text, "\n  event {number}: none was expected, and there is {is}"),
            (None, None) => {}
        }
    }
    (!text.is_empty()).then_some(text)
}

fn payload(json: &[u8]) -> OrderedJson {
    let text = || Value::from(String::from_utf8_lossy(json).into_owned());
    crate::message::payload_from_text(json).unwrap_or_else(|_| text().into())
}

fn compare(should: &OrderedJson, is: &OrderedJson, at: &str, text: &mut String) {
    match (&should.0, &is.0) {
        (Node::Object(should), Node::Object(is)) => {
            for (key, should) in should {
                match is.get(key) {
                    Some(is) => compare(should, is, &format!("{at}, {key}"), text),
                    None => _ = write!(text, "\n  {at}, {key}: expected {should}, and it is missing"),
                }
            }
            for (key, is) in is.iter().filter(|(key, _)| !should.contains_key(*key)) {
                let _ = write!(text, "\n  {at}, {key}: not expected, and it is {is}");
            }
        }
        (Node::List(should), Node::List(is)) if should.len() == is.len() => {
            for (number, (should, is)) in should.iter().zip(is).enumerate() {
                compare(should, is, &format!("{at}[{number}]"), text);
            }
        }
        _ if should == is => {}
        _ => _ = write!(text, "\n  {at}: expected {should}, and it is {is}"),
    }
}
