//! One measured figure with its goal.

use serde_json::json;

/// Whether a figure should stay below or above its goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    /// The goal is a ceiling.
    Smaller,
    /// The goal is a floor.
    Larger,
}

/// A figure: the median of its runs.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    name: &'static str,
    unit: &'static str,
    goal: Option<f64>,
    better: Better,
    runs: Vec<f64>,
}

impl Figure {
    /// Makes a figure from the values of its runs, in the order in which they came.
    pub(crate) fn new(
        name: &'static str,
        unit: &'static str,
        better: Better,
        goal: f64,
        runs: Vec<f64>,
    ) -> Self {
        Self {
            name,
            unit,
            goal: Some(goal),
            better,
            runs,
        }
    }

    /// Makes a figure that is only looked at.
    pub(crate) fn without_goal(name: &'static str, unit: &'static str, runs: Vec<f64>) -> Self {
        Self {
            name,
            unit,
            goal: None,
            better: Better::Larger,
            runs,
        }
    }

    /// Returns the median of the runs.
    pub(crate) fn value(&self) -> f64 {
        median(&self.runs)
    }

    fn is_reached(&self) -> bool {
        self.goal.is_none_or(|goal| match self.better {
            Better::Smaller => self.value() <= goal,
            Better::Larger => self.value() >= goal,
        })
    }

    /// Returns the line for programs.
    pub(crate) fn json(&self) -> String {
        let value = (self.value() * 1000.0).round() / 1000.0;
        json!({"figure": self.name, "value": value, "unit": self.unit, "goal": self.goal,
            "runs": self.runs.len()})
        .to_string()
    }
}

/// Returns the table for people.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut text = format!(
        "{:<34}{:>12}{:>12}{:>12}  {:<10}{:<8}\n",
        "figure", "median", "least", "most", "unit", "goal"
    );
    for figure in figures {
        let least = figure.runs.iter().copied().fold(f64::INFINITY, f64::min);
        let most = figure
            .runs
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        let sign = match figure.better {
            Better::Smaller => "≤",
            Better::Larger => "≥",
        };
        let mark = if figure.is_reached() { "" } else { "  MISSED" };
        let goal = figure.goal.map(|goal| format!("{sign} {goal}"));
        text.push_str(&format!(
            "{:<34}{:>12.2}{least:>12.2}{most:>12.2}  {:<10}{}{mark}\n",
            figure.name,
            figure.value(),
            figure.unit,
            goal.unwrap_or_default(),
        ));
    }
    text
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert!((median(&[4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
    }

    #[test]
    fn a_missed_goal_is_marked() {
        let figure = Figure::new("x", "ms", Better::Smaller, 1.0, vec![2.0]);
        assert!(table(&[figure]).contains("MISSED"));
    }
}
