//! What a soak measured, as one SVG: a small chart for each measure, one below the other.

use std::fmt::Write as _;

use crate::soak::{MEASURES, Sample};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 70.0;
const LEFT: f64 = 190.0;
const TOP: f64 = 40.0;

pub(crate) fn svg(title: &str, samples: &[Sample]) -> String {
    let last = samples.last().map_or(1.0, |(at, _)| *at).max(1.0);
    let charts = (0..MEASURES.len()).filter(|index| samples.iter().any(|(_, values)| values[*index].is_some()));
    let charts = charts.collect::<Vec<_>>();
    let height = TOP + charts.len() as f64 * (HEIGHT + 18.0) + 24.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"15\">{title}: what all processes hold, over {:.0} minutes</text>\n",
        WIDTH + LEFT + 20.0,
        last / 60.0
    );
    for (row, index) in charts.into_iter().enumerate() {
        let top = TOP + row as f64 * (HEIGHT + 18.0);
        let values = samples.iter().filter_map(|(at, values)| Some((*at, values[index]?)));
        let most = values.clone().map(|(_, value)| value).fold(0.0, f64::max);
        let scale = if most > 0.0 { most * 1.15 } else { 1.0 };
        let points = values.map(|(at, value)| {
            let (x, y) = (LEFT + at / last * WIDTH, top + HEIGHT - value / scale * HEIGHT);
            format!("{x:.1},{y:.1}")
        });
        let points = points.collect::<Vec<_>>().join(" ");
        let (bottom, middle, right) = (top + HEIGHT, top + HEIGHT / 2.0, LEFT + WIDTH);
        // Writing to a string does not fail.
        let _ = write!(
            svg,
            "<text x=\"10\" y=\"{middle}\">{}</text>\n\
             <text x=\"10\" y=\"{}\" fill=\"#666\">at most {most:.1}</text>\n\
             <path d=\"M{LEFT} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"#999\"/>\n\
             <polyline points=\"{points}\" fill=\"none\" stroke=\"#1f6feb\" stroke-width=\"1.5\"/>\n",
            MEASURES[index].0,
            middle + 16.0
        );
    }
    svg + "</svg>\n"
}
