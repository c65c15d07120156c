//! The outcome of a run. SPEC §13.3.

use serde::Serialize;

use crate::judge::Judge;
use crate::vector::Named;

/// What `report.json` holds.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The format of the report, 1.
    pub v: u64,
    /// Cases that ended as they should.
    pub passed: usize,
    /// Cases that did not.
    pub failed: usize,
    /// Every case.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    /// Its name: group and file.
    pub name: String,
    /// Whether it ended as it should.
    pub passed: bool,
    /// What the vector says.
    pub expected: String,
    /// What happened.
    pub found: String,
}

impl Report {
    /// Runs every vector.
    #[must_use]
    pub fn of(judge: &Judge, vectors: &[Named]) -> Self {
        let cases: Vec<_> = vectors.iter().map(|vector| case(judge, vector)).collect();
        let passed = cases.iter().filter(|case| case.passed).count();
        Self {
            v: 1,
            passed,
            failed: cases.len() - passed,
            cases,
        }
    }

    /// The names of the cases that did not end as they should.
    pub fn failures(&self) -> impl Iterator<Item = &str> {
        self.cases
            .iter()
            .filter(|case| !case.passed)
            .map(|case| case.name.as_str())
    }
}

fn case(judge: &Judge, (name, vector): &Named) -> Case {
    let expected = Judge::expected(vector);
    let found = vector.to_bytes().map(|bytes| judge.judge(vector.what, &bytes));
    // The file's name says it too.
    let file = name.rsplit('/').next().unwrap_or(name);
    let named = file.starts_with(if vector.code.is_none() {
        "accept_"
    } else {
        "refuse_"
    });
    let unknown = || "not a case of this format".to_owned();
    Case {
        name: name.clone(),
        passed: vector.v == 1 && named && expected.is_some() && expected == found,
        expected: expected.map_or_else(unknown, |outcome| outcome.to_string()),
        found: found.map_or_else(unknown, |outcome| outcome.to_string()),
    }
}
