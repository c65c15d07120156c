//! Instants as people write them: the only owner of `jiff`.

use basoche_protocol::time::Instant;
use jiff::Timestamp;

use super::Fault;

/// Reads RFC 3339 with its offset, `2026-11-22T02:59:59+01:00`; not before 1970, milliseconds kept.
pub(super) fn parse(text: &str) -> Result<Instant, Fault> {
    let refuse = |why: String| {
        Fault::usage(format!("{text:?} is not an instant: {why}"))
            .action("Write it as RFC 3339 says, with its offset: 2026-11-22T02:59:59+01:00.")
    };
    let timestamp: Timestamp = text
        .parse()
        .map_err(|error: jiff::Error| refuse(error.to_string()))?;
    match u64::try_from(timestamp.as_millisecond()) {
        Ok(ms) => Ok(Instant::from_ms(ms)),
        Err(_) => Err(refuse("it lies before 1970".into())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_applied_and_required() {
        let utc = parse("2026-11-22T01:59:59.250Z").unwrap();
        assert_eq!(utc.to_string(), "2026-11-22T01:59:59.250Z");
        assert_eq!(parse("2026-11-22T02:59:59.250+01:00").unwrap(), utc);
        for bad in [
            "",
            "tomorrow",
            "2026-11-22",
            "2026-11-22T01:59:59",
            "2026-02-30T00:00:00Z",
            "1969-12-31T23:59:59Z",
        ] {
            let fault = parse(bad).unwrap_err();
            assert_eq!((fault.exit, fault.code.as_str()), (2, "usage"), "{bad}");
        }
    }
}
