//! A recorder whose numbers the SDK of OpenTelemetry exports.
//!
//! Two crates do the same. `metrics-exporter-otel` 0.3 is for `opentelemetry` 0.31. `metrics-exporter-opentelemetry` 0.2 forgets a
//! metric's unit and description after its first set of labels, so that the SDK exports the others as another metric of the
//! same name.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use opentelemetry::{
    KeyValue,
    metrics::{self as otel, Meter, ObservableCounter, ObservableGauge},
};

use super::{DURATION_BOUNDARIES, list};

/// Gives what is recorded through the [`metrics`] facade to the instruments of an OpenTelemetry [`Meter`]: the metrics of this
/// library with the units and descriptions of [`ALL`](super::ALL), and those of the application.
///
/// Recording a counter or a gauge is one addition; the SDK reads all of them when it exports. Durations are counted in ranges with the
/// bounds [`DURATION_BOUNDARIES`]. The SDK keeps 2,000 sets of labels for each metric, unless a view says otherwise; what goes
/// beyond is in one set with `otel.metric.overflow`.
///
/// ```
/// # fn meter_of_an_sdk() -> opentelemetry::metrics::Meter { opentelemetry::global::meter("shop") }
/// let meter = meter_of_an_sdk(); // `SdkMeterProvider::meter`, with a periodic exporter
/// metrics::set_global_recorder(streamer::metrics::OpenTelemetry::new(meter))?;
/// streamer::metrics::enable();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OpenTelemetry {
    meter: Meter,
    /// What was said about metrics that are not of this library.
    described: RwLock<HashMap<String, (Option<Unit>, SharedString)>>,
    counters: Instruments<ObservableCounter<u64>, AtomicU64>,
    /// The bits of numbers with a fraction.
    gauges: Instruments<ObservableGauge<f64>, AtomicU64>,
    histograms: Instruments<otel::Histogram<f64>, otel::Histogram<f64>>,
}

/// Instruments by the names of their metrics.
struct Instruments<I, V>(RwLock<HashMap<String, Instrument<I, V>>>);

/// An instrument of the SDK, and what was recorded with each set of labels.
struct Instrument<I, V> {
    instrument: I,
    cells: Arc<Cells<V>>,
}

type Cells<V> = RwLock<HashMap<Key, Arc<Cell<V>>>>;

/// What was recorded with one set of labels.
struct Cell<V> {
    /// Sorted: the SDK keeps a set that is not sorted twice.
    attributes: Vec<KeyValue>,
    value: V,
}

impl<I, V> Instruments<I, V> {
    fn new() -> Self {
        Self(RwLock::default())
    }

    /// The cell of a metric and its labels. The instrument is made once for each name: two of one name would be two metrics.
    fn cell(&self, key: &Key, make: impl FnOnce(&Arc<Cells<V>>) -> I, value: impl FnOnce(&I) -> V) -> Arc<Cell<V>> {
        {
            let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(instrument) = known.get(key.name()) {
                return instrument.cell(key, value);
            }
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let instrument = known.entry(key.name().to_owned()).or_insert_with(|| {
            let cells = Arc::default();
            Instrument {
                instrument: make(&cells),
                cells,
            }
        });
        instrument.cell(key, value)
    }
}

impl<I, V> Instrument<I, V> {
    fn cell(&self, key: &Key, value: impl FnOnce(&I) -> V) -> Arc<Cell<V>> {
        {
            let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(cell) = cells.get(key) {
                return Arc::clone(cell);
            }
        }
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        let cell = cells.entry(key.clone()).or_insert_with(|| {
            let attribute = |label: &metrics::Label| KeyValue::new(label.key().to_owned(), label.value().to_owned());
            let mut attributes = key.labels().map(attribute).collect::<Vec<_>>();
            attributes.sort_by(|one, other| one.key.as_str().cmp(other.key.as_str()));
            Arc::new(Cell {
                attributes,
                value: value(&self.instrument),
            })
        });
        Arc::clone(cell)
    }
}

/// Calls a function with each set of labels and what was recorded with it.
fn each<V>(cells: &Cells<V>, mut tell: impl FnMut(&V, &[KeyValue])) {
    let cells = cells.read().unwrap_or_else(PoisonError::into_inner);
    for cell in cells.values() {
        tell(&cell.value, &cell.attributes);
    }
}

impl OpenTelemetry {
    /// Records to this meter.
    #[must_use]
    pub fn new(meter: Meter) -> Self {
        Self {
            meter,
            described: RwLock::default(),
            counters: Instruments::new(),
            gauges: Instruments::new(),
            histograms: Instruments::new(),
        }
    }

    /// The unit of a metric, as OpenTelemetry writes it, and what it says.
    fn description(&self, name: &str) -> (&'static str, Cow<'static, str>) {
        if let Some(metric) = list::ALL.iter().find(|metric| metric.name == name) {
            return (metric.unit, metric.help.into());
        }
        let described = self.described.read().unwrap_or_else(PoisonError::into_inner);
        match described.get(name) {
            Some((unit, help)) => (unit.map_or("", ucum), help.to_string().into()),
            None => ("", "".into()),
        }
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>, help: SharedString) {
        let mut described = self.described.write().unwrap_or_else(PoisonError::into_inner);
        described.insert(name.as_str().to_owned(), (unit, help));
    }
}

impl Recorder for OpenTelemetry {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(&name, unit, help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(&name, unit, help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(&name, unit, help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let make = |cells: &Arc<Cells<AtomicU64>>| {
            let (unit, help) = self.description(key.name());
            let cells = Arc::clone(cells);
            self.meter
                .u64_observable_counter(key.name().to_owned())
                .with_unit(unit)
                .with_description(help)
                .with_callback(move |observer| {
                    each(&cells, |value, attributes| {
                        observer.observe(value.load(Ordering::Relaxed), attributes);
                    });
                })
                .build()
        };
        Counter::from_arc(self.counters.cell(key, make, |_| AtomicU64::new(0)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let make = |cells: &Arc<Cells<AtomicU64>>| {
            let (unit, help) = self.description(key.name());
            let cells = Arc::clone(cells);
            self.meter
                .f64_observable_gauge(key.name().to_owned())
                .with_unit(unit)
                .with_description(help)
                .with_callback(move |observer| {
                    each(&cells, |value, attributes| {
                        observer.observe(f64::from_bits(value.load(Ordering::Relaxed)), attributes);
                    });
                })
                .build()
        };
        Gauge::from_arc(self.gauges.cell(key, make, |_| AtomicU64::new(0_f64.to_bits())))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let make = |_: &Arc<Cells<otel::Histogram<f64>>>| {
            let (unit, help) = self.description(key.name());
            let builder = self.meter.f64_histogram(key.name().to_owned());
            let builder = builder.with_unit(unit).with_description(help);
            match unit {
                "s" => builder.with_boundaries(DURATION_BOUNDARIES.to_vec()).build(),
                _ => builder.build(),
            }
        };
        Histogram::from_arc(self.histograms.cell(key, make, Clone::clone))
    }
}

impl CounterFn for Cell<AtomicU64> {
    fn increment(&self, by: u64) {
        self.value.fetch_add(by, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.value.fetch_max(value, Ordering::Relaxed);
    }
}

impl GaugeFn for Cell<AtomicU64> {
    fn increment(&self, by: f64) {
        let add = |bits| Some((f64::from_bits(bits) + by).to_bits());
        // It always gives a new value.
        let _ = self.value.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    fn decrement(&self, by: f64) {
        GaugeFn::increment(self, -by);
    }

    fn set(&self, value: f64) {
        self.value.store(value.to_bits(), Ordering::Relaxed);
    }
}

impl HistogramFn for Cell<otel::Histogram<f64>> {
    fn record(&self, value: f64) {
        self.value.record(value, &self.attributes);
    }
}

impl fmt::Debug for OpenTelemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenTelemetry")
    }
}

/// A unit as [UCUM](https://ucum.org/ucum) writes it, which OpenTelemetry uses.
fn ucum(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "1",
        Unit::Percent => "%",
        Unit::Seconds => "s",
        Unit::Milliseconds => "ms",
        Unit::Microseconds => "us",
        Unit::Nanoseconds => "ns",
        Unit::Tebibytes => "TiBy",
        Unit::Gibibytes => "GiBy",
        Unit::Mebibytes => "MiBy",
        Unit::Kibibytes => "KiBy",
        Unit::Bytes => "By",
        Unit::TerabitsPerSecond => "Tbit/s",
        Unit::GigabitsPerSecond => "Gbit/s",
        Unit::MegabitsPerSecond => "Mbit/s",
        Unit::KilobitsPerSecond => "kbit/s",
        Unit::BitsPerSecond => "bit/s",
        Unit::CountPerSecond => "1/s",
    }
}
