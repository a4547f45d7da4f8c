//! Which node of a cluster serves which slot, as one of its nodes told.

use std::{collections::HashMap, sync::Arc};

use redis::Value;

use super::{
    endpoint::Endpoint,
    reconnecting::{Reconnecting, Source},
    reply::{self, Decoded, Unexpected},
    socket::Address,
};
use crate::engine::slot::SLOTS;

/// The nodes, and what each serves. It is replaced as a whole, so that nodes that left the cluster are forgotten with
/// their connections.
#[derive(Default)]
pub(super) struct NodeMap {
    served: Vec<Range>,
    nodes: HashMap<Address, Arc<Reconnecting>>,
}

/// Slots that one node serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    first: u16,
    last: u16,
    node: Address,
}

impl NodeMap {
    /// The map that says this. Connections to nodes that the old map has, too, stay.
    pub(super) fn replacing(&self, served: Vec<Range>, seed: &Endpoint) -> Self {
        let known = |node: &Address| self.nodes.get(node).cloned();
        let nodes = served
            .iter()
            .map(|range| &range.node)
            .map(|node| (node.clone(), known(node).unwrap_or_else(|| connection_to(node, seed))))
            .collect();
        Self { served, nodes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.served.is_empty()
    }

    /// The node that serves a slot, if one does.
    pub(super) fn serving(&self, slot: u16) -> Option<&Arc<Reconnecting>> {
        let range = self
            .served
            .iter()
            .find(|range| (range.first..=range.last).contains(&slot))?;
        self.nodes.get(&range.node)
    }

    /// A node, also one that the map lacks: the cluster referred to it, and the next map will tell.
    pub(super) fn node(&self, node: &Address, seed: &Endpoint) -> Arc<Reconnecting> {
        let known = self.nodes.get(node).cloned();
        known.unwrap_or_else(|| connection_to(node, seed))
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (&Address, &Arc<Reconnecting>)> {
        self.nodes.iter()
    }
}

fn connection_to(node: &Address, seed: &Endpoint) -> Arc<Reconnecting> {
    Reconnecting::new(Source::Node(seed.at(node.clone())))
}

/// The masters in the answer to `CLUSTER SLOTS`. A node without a name is the one that was asked.
pub(super) fn ranges(answer: Value, asked: &Address) -> Decoded<Vec<Range>> {
    let one = |item| {
        let mut item = reply::array(item)?.into_iter();
        let mut next = || item.next().ok_or(Unexpected("two slots and a node"));
        let slot = |value| {
            let number = reply::number(value)?;
            u16::try_from(number)
                .ok()
                .filter(|slot| *slot < SLOTS)
                .ok_or(Unexpected("a slot"))
        };
        let (first, last) = (slot(next()?)?, slot(next()?)?);
        let mut node = reply::array(next()?)?.into_iter();
        let (host, port) = (node.next().unwrap_or_default(), node.next().unwrap_or_default());
        let host = match host {
            Value::Nil => String::new(),
            host => reply::text(host)?,
        };
        let host = match asked {
            Address::Tcp(asked, _) if host.is_empty() || host == "?" => asked.clone(),
            _ => host,
        };
        let port = u16::try_from(reply::number(port)?).map_err(|_| Unexpected("a port"))?;
        Ok(Range {
            first,
            last,
            node: Address::Tcp(host, port),
        })
    };
    reply::array(answer)?.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Address {
        Address::Tcp("10.0.0.1".into(), port)
    }

    fn range(first: u16, last: u16, port: u16) -> Range {
        Range {
            first,
            last,
            node: at(port),
        }
    }

    #[test]
    fn a_node_that_left_is_forgotten_and_one_that_stayed_keeps_its_connection() {
        let seed = Endpoint {
            address: at(0),
            tls: None,
            user: None,
            password: None,
            db: 0,
        };
        let mut map = NodeMap::default();
        for generation in 0..100 {
            let before = map.serving(0).cloned();
            map = map.replacing(vec![range(0, 99, 1), range(100, SLOTS - 1, 1000 + generation)], &seed);
            assert_eq!(map.nodes().count(), 2);
            let stayed = before.zip(map.serving(99)).map(|(old, new)| Arc::ptr_eq(&old, new));
            assert_ne!(stayed, Some(false));
        }
        assert!(map.serving(SLOTS).is_none());
    }

    #[test]
    fn a_node_without_a_name_is_the_one_that_was_asked() {
        let node = |host: Value| Value::Array(vec![host, Value::Int(7001)]);
        for (host, expected) in [
            (Value::Nil, "asked"),
            (Value::BulkString(b"".to_vec()), "asked"),
            (Value::BulkString(b"?".to_vec()), "asked"),
            (Value::BulkString(b"named".to_vec()), "named"),
        ] {
            let answer = Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(5), node(host)])]);
            let found = ranges(answer, &Address::Tcp("asked".into(), 7000)).unwrap_or_default();
            let node = Address::Tcp(expected.into(), 7001);
            assert_eq!(
                found,
                [Range {
                    first: 0,
                    last: 5,
                    node
                }]
            );
        }
    }
}
