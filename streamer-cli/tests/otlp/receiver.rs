//! A receiver of OTLP over HTTP.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{Metric, metric::Data, number_data_point},
};
use prost::Message as _;

/// What was received so far.
pub(crate) struct Receiver {
    /// Where it receives.
    pub(crate) endpoint: String,
    received: Arc<Mutex<All>>,
}

#[derive(Default)]
struct All {
    spans: Vec<Received>,
    points: Vec<Point>,
}

/// A span as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) kind: i32,
    pub(crate) trace: Vec<u8>,
    pub(crate) id: Vec<u8>,
    pub(crate) parent: Vec<u8>,
    pub(crate) fields: BTreeMap<String, String>,
}

/// What a metric was with one set of labels, as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) service: String,
    pub(crate) instance: String,
    pub(crate) metric: String,
    pub(crate) unit: String,
    pub(crate) help: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: Measured,
}

/// The value of a point.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Measured {
    /// A sum that only grows, since the process began.
    Counter(i64),
    Gauge(f64),
    Histogram {
        count: u64,
        sum: f64,
        bounds: Vec<f64>,
        counts: Vec<u64>,
    },
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let received = Arc::<Mutex<All>>::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/v1/traces", post(spans))
            .route("/v1/metrics", post(points))
            .with_state(Arc::clone(&received));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { endpoint, received }
    }

    pub(crate) fn spans(&self) -> Vec<Received> {
        self.received.lock().unwrap().spans.clone()
    }

    /// The points of a service, in the order in which they came.
    pub(crate) fn points(&self, service: &str) -> Vec<Point> {
        let received = self.received.lock().unwrap();
        let of_service = received.points.iter().filter(|point| point.service == service);
        of_service.cloned().collect()
    }

    /// The last value of a metric with these labels, in the order of their names.
    pub(crate) fn last(&self, service: &str, metric: &str, labels: &[&str]) -> Option<Point> {
        let of_metric = |point: &Point| point.metric == metric && point.labels.values().eq(labels);
        self.points(service).into_iter().rfind(of_metric)
    }
}

fn fields(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |one: &KeyValue| {
        let value = match one.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        Some((one.key.clone(), value))
    };
    attributes.iter().filter_map(text).collect()
}

async fn spans(State(received): State<Arc<Mutex<All>>>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    for of_service in request.resource_spans {
        let service = fields(&of_service.resource.unwrap().attributes)["service.name"].clone();
        for span in of_service.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            received.lock().unwrap().spans.push(Received {
                service: service.clone(),
                name: span.name,
                kind: span.kind,
                trace: span.trace_id,
                id: span.span_id,
                parent: span.parent_span_id,
                fields: fields(&span.attributes),
            });
        }
    }
    StatusCode::OK
}

async fn points(State(received): State<Arc<Mutex<All>>>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportMetricsServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    for of_service in request.resource_metrics {
        let resource = fields(&of_service.resource.unwrap().attributes);
        for metric in of_service.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
            let values = values(&metric);
            let mut received = received.lock().unwrap();
            received.points.extend(values.into_iter().map(|(labels, value)| Point {
                service: resource["service.name"].clone(),
                instance: resource["service.instance.id"].clone(),
                metric: metric.name.clone(),
                unit: metric.unit.clone(),
                help: metric.description.clone(),
                labels,
                value,
            }));
        }
    }
    StatusCode::OK
}

fn values(metric: &Metric) -> Vec<(BTreeMap<String, String>, Measured)> {
    /// Since the process began, not since what was sent before.
    const CUMULATIVE: i32 = 2;
    match metric.data.as_ref().unwrap() {
        Data::Sum(sum) => {
            assert!(
                sum.is_monotonic && sum.aggregation_temporality == CUMULATIVE,
                "{metric:?}"
            );
            let value = |point: &number_data_point::Value| match point {
                number_data_point::Value::AsInt(value) => Measured::Counter(*value),
                number_data_point::Value::AsDouble(_) => panic!("{metric:?}"),
            };
            let points = sum.data_points.iter();
            points
                .map(|point| (fields(&point.attributes), value(point.value.as_ref().unwrap())))
                .collect()
        }
        Data::Gauge(gauge) => {
            let value = |point: &number_data_point::Value| match point {
                number_data_point::Value::AsDouble(value) => Measured::Gauge(*value),
                number_data_point::Value::AsInt(_) => panic!("{metric:?}"),
            };
            let points = gauge.data_points.iter();
            points
                .map(|point| (fields(&point.attributes), value(point.value.as_ref().unwrap())))
                .collect()
        }
        Data::Histogram(histogram) => {
            assert_eq!(histogram.aggregation_temporality, CUMULATIVE, "{metric:?}");
            let points = histogram.data_points.iter();
            points
                .map(|point| {
                    let value = Measured::Histogram {
                        count: point.count,
                        sum: point.sum.unwrap(),
                        bounds: point.explicit_bounds.clone(),
                        counts: point.bucket_counts.clone(),
                    };
                    (fields(&point.attributes), value)
                })
                .collect()
        }
        other => panic!("{other:?}"),
    }
}

/// What Prometheus would read at this port; `None` while nobody listens there.
pub(crate) fn get(port: u16) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut connection = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    connection
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    Some(answer)
}
