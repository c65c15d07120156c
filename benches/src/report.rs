//! The rows of a run, as JSON for programs and as a table for people.

use std::fmt;

use serde::Serialize;

use crate::Outcome;

/// One measured value, its limit and its target.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    row: String,
    /// How much; absent where it could not be measured.
    value: Option<f64>,
    /// Of what.
    unit: String,
    /// What was measured beside it, in the same unit.
    limit: Option<f64>,
    /// `value / limit`.
    ratio: Option<f64>,
    /// What the ratio must reach; for a row without a ratio, what the value must stay below.
    target: Option<f64>,
    /// Whether it does.
    met: Option<bool>,
    /// What the limit is, how the value came about, or why there is none.
    reason: String,
}

impl Row {
    /// A value without a target.
    pub(crate) fn plain(row: &str, value: f64, unit: &str, reason: &str) -> Self {
        Self {
            row: row.to_owned(),
            value: Some(rounded(value)),
            unit: unit.to_owned(),
            limit: None,
            ratio: None,
            target: None,
            met: None,
            reason: reason.to_owned(),
        }
    }

    /// A value that could not be measured, and why.
    pub(crate) fn missing(row: &str, unit: &str, reason: &str) -> Self {
        Self {
            value: None,
            ..Self::plain(row, 0.0, unit, reason)
        }
    }

    /// Sets the value beside a limit, which it must reach `target` of. A limit that could not be measured leaves
    /// a target open.
    pub(crate) fn beside(mut self, limit: Option<f64>, target: Option<f64>, what: &str) -> Self {
        self.limit = limit.map(rounded);
        let ratio = self.value.zip(limit).map(|(value, limit)| value / limit);
        self.ratio = ratio.map(rounded);
        self.target = target;
        self.met = ratio.zip(target).map(|(ratio, target)| ratio >= target);
        self.reason = format!("limit: {what}; {}", self.reason);
        self
    }

    /// Sets a duration beside the least possible, of which it may be `target` times as much.
    pub(crate) fn at_most(mut self, least: f64, target: f64) -> Self {
        self = self.beside(Some(least), Some(target), "the least");
        self.met = self.ratio.map(|ratio| ratio <= target);
        self
    }

    /// The value must stay below a bound.
    pub(crate) fn below(mut self, bound: f64) -> Self {
        self.target = Some(bound);
        self.met = self.value.map(|value| value < bound);
        self
    }
}

/// Three decimals say more than these measurements hold.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// All rows of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// The rows as a JSON array.
    pub(crate) fn json(&self) -> Outcome<String> {
        Ok(serde_json::to_string_pretty(&self.rows)? + "\n")
    }
}

/// A table.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let width = self
            .rows
            .iter()
            .map(|row| row.row.chars().count())
            .max()
            .unwrap_or(0);
        writeln!(
            f,
            "{:<width$} {:>9} {:<9} {:>8} {:>6} {:>6} met",
            "row", "value", "unit", "limit", "ratio", "target"
        )?;
        for row in &self.rows {
            let met = match row.met {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "-",
            };
            writeln!(
                f,
                "{:<width$} {:>9} {:<9} {:>8} {:>6} {:>6} {met}",
                row.row,
                number(row.value, 2),
                row.unit,
                number(row.limit, 1),
                number(row.ratio, 2),
                number(row.target, 1),
            )?;
            if row.value.is_none() {
                writeln!(f, "    not measured: {}", row.reason)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_row_meets_its_target_by_its_ratio_or_stays_below_its_bound() {
        let transfer = || Row::plain("transfer", 270.0, "MB/s", "3 rounds");
        let met = |row: Row| (row.ratio, row.met);
        assert_eq!(
            met(transfer().beside(Some(300.0), Some(0.9), "disk")),
            (Some(0.9), Some(true))
        );
        assert_eq!(
            met(transfer().beside(Some(900.0), Some(0.9), "disk")),
            (Some(0.3), Some(false))
        );
        assert_eq!(met(transfer().beside(None, Some(0.9), "disk")), (None, None));
        assert_eq!(
            met(Row::plain("growth", 64.0, "MiB", "").below(64.0)),
            (None, Some(false))
        );
        assert_eq!(
            met(Row::missing("growth", "MiB", "no file").below(64.0)),
            (None, None)
        );
    }

    #[test]
    fn rows_are_written_with_all_their_fields() {
        let mut report = Report::default();
        report.push(Row::missing("rsync", "MB/s", "no sshd"));
        let rows: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        let fields: Vec<_> = rows[0].as_object().unwrap().keys().cloned().collect();
        let mut expected = [
            "row", "value", "unit", "limit", "ratio", "target", "met", "reason",
        ];
        expected.sort_unstable();
        let mut found = fields;
        found.sort_unstable();
        assert_eq!(found, expected);
        assert!(report.to_string().contains("not measured: no sshd"));
    }
}
