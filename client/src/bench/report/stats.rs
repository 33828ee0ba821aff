//! Medians and ranges.

use serde::Serialize;

/// The middle of some values, and their range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Some(Self { median, min, max })
    }

    /// `MEDIAN (MIN-MAX)`.
    pub(super) fn text(&self) -> String {
        format!("{} ({}-{})", short(self.median), short(self.min), short(self.max))
    }

    /// `MEDIAN x (MIN-MAX)`, or the one value.
    pub(super) fn times(&self) -> String {
        let [median, min, max] = [self.median, self.min, self.max].map(short);
        if min == max { format!("{median} x") } else { format!("{median} x ({min}-{max})") }
    }
}

/// Three digits that count.
pub(super) fn short(value: f64) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_of_two_the_mean() {
        let spread = Spread::of([3.0, 1.0, 2.0].into_iter()).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of([1.0, 4.0].into_iter()).unwrap().text(), "2.50 (1.00-4.00)");
        assert_eq!(Spread::of([2.0, 1.0, 3.0].into_iter()).unwrap().times(), "2.00 x (1.00-3.00)");
        assert_eq!(Spread::of([1.0].into_iter()).unwrap().times(), "1.00 x");
        assert_eq!(Spread::of(std::iter::empty()), None);
        assert_eq!([short(123.4), short(12.34), short(0.123)], ["123", "12.3", "0.12"]);
    }
}
