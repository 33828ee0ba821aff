//! A plot as SVG: lines over two logarithmic axes, nothing fetched from anywhere, the same bytes for the same figures.

use super::catalogue::Growth;
use super::figures::{Figures, short};
use super::target::Target;
use std::fmt::Write;

const LEFT: f64 = 64.0;
const TOP: f64 = 28.0;
const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 240.0;
/// For the names of lines.
const RIGHT: f64 = 300.0;
const BOTTOM: f64 = 48.0;
/// Of the second line of a broker.
const SECOND: &str = "#7b4fa3";

/// A broker has its colour in every plot.
const fn colour(target: Target) -> &'static str {
    match target {
        Target::Floor => "#8a929c",
        Target::Mosquitto | Target::MosquittoSaving => "#c26a1b",
        Target::Rumqttd => "#4a8f4e",
        _ => "#2f6fb2",
    }
}

/// A logarithmic axis that begins and ends at powers of ten. Where there is a nought among the values, it stands a power before the others.
struct Axis {
    first: i32,
    last: i32,
    has_nought: bool,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone) -> Self {
        let low = values.clone().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        let high = values.clone().fold(f64::MIN_POSITIVE, f64::max);
        let has_nought = values.clone().any(|value| value == 0.0);
        let first = if low.is_finite() { low.log10().floor() as i32 } else { 0 } - i32::from(has_nought);
        Self { first, last: (high.log10().ceil() as i32).max(first + 1), has_nought }
    }

    /// From 0 to 1; a nought stands at the beginning.
    fn place(&self, value: f64) -> f64 {
        let place = (value.max(f64::MIN_POSITIVE).log10() - f64::from(self.first)) / f64::from(self.last - self.first);
        place.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let nought = self.has_nought.then_some(0.0);
        nought.into_iter().chain((self.first + i32::from(self.has_nought)..=self.last).map(|power| 10f64.powi(power)))
    }
}

/// A line that has figures.
struct Drawn<'a> {
    label: &'a str,
    colour: &'static str,
    points: Vec<(f64, f64)>,
}

/// The plot of a growth; a line without figures is left out, with its name.
pub(super) fn svg(growth: &Growth, figures: &Figures) -> String {
    let mut lines: Vec<Drawn<'_>> = Vec::new();
    for line in &growth.lines {
        let is_second = lines.iter().any(|other| other.colour == colour(line.target));
        let points = figures.points(line);
        if !points.is_empty() {
            lines.push(Drawn { label: &line.label, colour: if is_second { SECOND } else { colour(line.target) }, points });
        }
    }
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let (along, up) = (Axis::over(points().map(|(x, _)| x)), Axis::over(points().map(|(_, y)| y)));
    let (x, y) = (|value: f64| LEFT + WIDTH * along.place(value), |value: f64| TOP + HEIGHT * (1.0 - up.place(value)));
    let (width, height) = (LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <g font-family=\"system-ui,sans-serif\" font-size=\"12\" fill=\"#1b1f24\">\n",
        escaped(growth.title)
    );
    for tick in along.ticks() {
        let (at, end) = (x(tick), TOP + HEIGHT);
        let _ = writeln!(out, "<path d=\"M{at:.1} {TOP}V{end}\" stroke=\"#d8dce1\"/>");
        let _ = writeln!(out, "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", end + 16.0, tick_text(tick));
    }
    for tick in up.ticks() {
        let at = y(tick);
        let _ = writeln!(out, "<path d=\"M{LEFT} {at:.1}H{}\" stroke=\"#d8dce1\"/>", LEFT + WIDTH);
        let _ = writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", LEFT - 6.0, at + 4.0, tick_text(tick));
    }
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{}\">CPU of the broker, µs a message; both axes are logarithmic</text>", TOP - 10.0);
    let (middle, below) = (LEFT + WIDTH / 2.0, TOP + HEIGHT + 36.0);
    let _ = writeln!(out, "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{}</text>", escaped(growth.axis));
    for (at, Drawn { label, colour, points }) in lines.iter().enumerate() {
        let path: Vec<String> = points.iter().map(|(along, up)| format!("{:.1} {:.1}", x(*along), y(*up))).collect();
        let _ = writeln!(out, "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", path.join("L"));
        for (along, up) in points {
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"><title>{}: {}</title></circle>",
                x(*along),
                y(*up),
                short(*along),
                short(*up)
            );
        }
        let (mark, text) = (LEFT + WIDTH + 16.0, TOP + 18.0 * at as f64 + 12.0);
        let _ = writeln!(out, "<path d=\"M{mark} {:.1}h18\" stroke=\"{colour}\" stroke-width=\"2\"/>", text - 4.0);
        let _ = writeln!(out, "<text x=\"{}\" y=\"{text:.1}\">{}</text>", mark + 24.0, escaped(label));
    }
    out.push_str("</g>\n</svg>\n");
    out
}

/// A power of ten, or a nought.
fn tick_text(tick: f64) -> String {
    if tick >= 1.0 { short(tick).trim_end_matches(".00").trim_end_matches(".0").to_owned() } else { format!("{tick}") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_holds_every_value_and_begins_with_the_noughts() {
        let axis = Axis::over([2.0, 300.0].into_iter());
        assert_eq!(axis.ticks().collect::<Vec<_>>(), [1.0, 10.0, 100.0, 1000.0]);
        assert!((axis.place(1.0), axis.place(1000.0)) == (0.0, 1.0));
        assert!((axis.place(31.622_776) - 0.5).abs() < 1e-6);
        let noughts = Axis::over([0.0, 1.0, 10.0].into_iter());
        assert_eq!(noughts.ticks().collect::<Vec<_>>(), [0.0, 1.0, 10.0]);
        assert!((noughts.place(0.0), noughts.place(1.0), noughts.place(10.0)) == (0.0, 0.5, 1.0));
        let one = Axis::over([10.0].into_iter());
        assert!((one.first, one.last) == (1, 2));
        assert_eq!([0.0, 0.1, 1.0, 10.0, 1000.0].map(tick_text), ["0", "0.1", "1", "10", "1,000"]);
    }
}
