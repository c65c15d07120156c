//! A strict reader of OpenMetrics text 1.0: what it does not know it refuses.

use std::collections::{BTreeMap, BTreeSet};

/// A sample: its name, its labels by name, its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// A family under way.
#[derive(Default)]
struct Family {
    name: String,
    help: bool,
    kind: Option<String>,
    unit: bool,
    samples: Vec<Sample>,
}

/// Every sample of a page, or what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Vec<Sample>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end with # EOF")?;
    if !body.is_empty() && !body.ends_with('\n') {
        return Err("# EOF does not begin a line".into());
    }
    let (mut done, mut series) = (BTreeSet::new(), BTreeSet::new());
    let (mut all, mut family) = (Vec::new(), Family::default());
    for line in body.lines() {
        let fail = |what: &str| Err(format!("{what}: {line:?}"));
        if let Some(comment) = line.strip_prefix("# ") {
            let [keyword, name, rest] = parts(comment).ok_or_else(|| format!("half a comment: {line:?}"))?;
            if name != family.name {
                finish(std::mem::take(&mut family), &mut done, &mut all)?;
                family.name = name.to_owned();
            }
            if !family.samples.is_empty() {
                return fail("metadata after samples");
            }
            let repeated = match keyword {
                "HELP" => std::mem::replace(&mut family.help, true),
                "UNIT" if !name.ends_with(&format!("_{rest}")) => return fail("the unit is not in the name"),
                "UNIT" => std::mem::replace(&mut family.unit, true),
                "TYPE" => family.kind.replace(rest.to_owned()).is_some(),
                _ => return fail("an unknown comment"),
            };
            if repeated {
                return fail("metadata twice");
            }
            continue;
        }
        let sample = sample(line)?;
        let Some(kind) = &family.kind else {
            return fail("a sample before its TYPE");
        };
        if !family.help {
            return fail("a sample before its HELP");
        }
        let suffixes: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_count", "_sum"],
            _ => return fail("an unknown type"),
        };
        let suffix = sample.name.strip_prefix(&family.name);
        let Some(suffix) = suffix.filter(|suffix| suffixes.contains(suffix)) else {
            return fail("a name that its type does not allow");
        };
        let below = sample.value.is_nan() || sample.value < 0.0;
        if (below && !suffix.is_empty()) || (suffix == "_info" && sample.value != 1.0) {
            return fail("a value that its type does not allow");
        }
        if (suffix == "_bucket") != sample.labels.contains_key("le") {
            return fail("le out of place");
        }
        if !series.insert(format!("{}{:?}", sample.name, sample.labels)) {
            return fail("a series twice");
        }
        family.samples.push(sample);
    }
    finish(family, &mut done, &mut all)?;
    Ok(all)
}

/// Three words, of which the last goes to the end of the line.
fn parts(comment: &str) -> Option<[&str; 3]> {
    let mut parts = comment.splitn(3, ' ');
    Some([parts.next()?, parts.next()?, parts.next()?])
}

fn finish(family: Family, done: &mut BTreeSet<String>, all: &mut Vec<Sample>) -> Result<(), String> {
    let Family {
        name, kind, samples, ..
    } = family;
    if name.is_empty() {
        return Ok(());
    }
    if kind.as_deref() == Some("histogram") {
        histogram(&name, &samples)?;
    }
    if samples.is_empty() {
        return Err(format!("{name} has no sample"));
    }
    if !done.insert(name.clone()) {
        return Err(format!("{name} comes twice"));
    }
    all.extend(samples);
    Ok(())
}

/// One histogram without further labels: its bounds rise, its counts do not fall, the last is the count of all.
fn histogram(name: &str, samples: &[Sample]) -> Result<(), String> {
    let of = |suffix: &str| {
        let wanted = format!("{name}_{suffix}");
        samples.iter().filter(move |sample| sample.name == wanted)
    };
    let bound = |sample: &Sample| match sample.labels["le"].as_str() {
        "+Inf" => Ok(f64::INFINITY),
        text => number(text),
    };
    let mut last = (f64::NEG_INFINITY, 0.0);
    for bucket in of("bucket") {
        let next = (bound(bucket)?, bucket.value);
        if next.0 <= last.0 || next.1 < last.1 {
            return Err(format!("the buckets of {name} are out of order"));
        }
        last = next;
    }
    let count: Vec<_> = of("count").map(|sample| sample.value).collect();
    if last.0 != f64::INFINITY || count != [last.1] || of("sum").count() != 1 {
        return Err(format!("{name} is no whole histogram"));
    }
    Ok(())
}

fn sample(line: &str) -> Result<Sample, String> {
    let fail = || format!("no sample: {line:?}");
    let (name, labels, value) = match line.split_once('{') {
        None => {
            let (name, value) = line.split_once(' ').ok_or_else(fail)?;
            (name, BTreeMap::new(), value)
        }
        Some((name, rest)) => {
            let (labels, value) = rest.rsplit_once("} ").ok_or_else(fail)?;
            (name, self::labels(labels).ok_or_else(fail)?, value)
        }
    };
    if !is_name(name) {
        return Err(fail());
    }
    Ok(Sample {
        name: name.to_owned(),
        labels,
        value: number(value)?,
    })
}

/// `a="b",c="d"`, with nothing in the values that would have to be escaped.
fn labels(text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for label in text.split(',') {
        let (name, value) = label.split_once('=')?;
        let value = value.strip_prefix('"')?.strip_suffix('"')?;
        if !is_name(name) || value.contains(['"', '\\', '{', '}']) {
            return None;
        }
        if labels.insert(name.to_owned(), value.to_owned()).is_some() {
            return None;
        }
    }
    Some(labels)
}

fn is_name(text: &str) -> bool {
    let begins = |one: char| one.is_ascii_lowercase() || one == '_';
    text.starts_with(begins) && text.chars().all(|one| begins(one) || one.is_ascii_digit())
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("no number: {text:?}"))
}

#[test]
fn a_page_as_it_should_be_is_read() {
    let page = "# HELP a Things.\n# TYPE a counter\na_total{k=\"x\"} 1\na_total{k=\"y\"} 2.5\n\
                # HELP b_seconds T.\n# TYPE b_seconds histogram\n# UNIT b_seconds seconds\n\
                b_seconds_sum 0.5\nb_seconds_count 2\nb_seconds_bucket{le=\"0.1\"} 1\nb_seconds_bucket{le=\"+Inf\"} 2\n\
                # HELP c Now.\n# TYPE c gauge\nc -3\n# EOF\n";
    let samples = parse(page).unwrap();
    assert_eq!(samples.len(), 7);
    assert_eq!((samples[1].labels["k"].as_str(), samples[1].value), ("y", 2.5));
}

#[test]
fn a_page_with_a_fault_is_refused() {
    let a = "# HELP a Things.\n# TYPE a counter\n";
    let g = "# HELP g G.\n# TYPE g gauge\n";
    let h = "# HELP h H.\n# TYPE h histogram\n";
    let faulty = [
        "a_total 1\n# EOF\n".into(),
        format!("{a}a_total 1\n"),
        format!("{a}a_total 1\n# EOF\n\n"),
        format!("{a}a_total 1# EOF\n"),
        format!("{a}a_total 1\n# EOF\n# EOF\n"),
        format!("{a}a 1\n# EOF\n"),
        format!("{a}b_total 1\n# EOF\n"),
        format!("{a}a_total -1\n# EOF\n"),
        format!("{a}a_total NaN\n# EOF\n"),
        format!("{a}a_total one\n# EOF\n"),
        format!("{a}a_total 1\na_total 1\n# EOF\n"),
        format!("{a}a_total{{k=\"x\",k=\"y\"}} 1\n# EOF\n"),
        format!("{a}a_total{{k=x}} 1\n# EOF\n"),
        format!("{a}a_total 1\n\n# EOF\n"),
        format!("{a}# EOF\n"),
        format!("{a}{a}a_total 1\n# EOF\n"),
        format!("{a}a_total 1\n{g}g 1\n{a}a_total{{k=\"x\"}} 1\n# EOF\n"),
        format!("{a}# UNIT a seconds\na_total 1\n# EOF\n"),
        "# TYPE a counter\na_total 1\n# EOF\n".into(),
        "# HELP a Things.\na_total 1\n# EOF\n".into(),
        format!("# NOTE a b\n{a}a_total 1\n# EOF\n"),
        format!("{g}g_total 1\n# EOF\n"),
        format!("{h}h_sum 1\nh_count 2\nh_bucket{{le=\"+Inf\"}} 3\n# EOF\n"),
        format!("{h}h_sum 1\nh_count 2\nh_bucket{{le=\"1\"}} 2\n# EOF\n"),
        format!("{h}h_sum 1\nh_count 2\nh_bucket{{le=\"1\"}} 2\nh_bucket{{le=\"+Inf\"}} 1\n# EOF\n"),
        format!("{h}h_count 2\nh_bucket{{le=\"+Inf\"}} 2\n# EOF\n"),
    ];
    for page in faulty {
        assert!(parse(&page).is_err(), "{page}");
    }
}
