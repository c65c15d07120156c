//! Instants on the command line: the only owner of `jiff`.

use basoche_protocol::time::Instant;

/// Reads an RFC 3339 instant, with its offset: `2026-12-31T23:59:59Z`, `2026-12-31T23:59:59+01:00`.
pub(super) fn parse(text: &str) -> Result<Instant, String> {
    let wrong = || format!("{text:?} is not an instant of RFC 3339, such as 2026-12-31T23:59:59+01:00");
    let parsed: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
    u64::try_from(parsed.as_millisecond())
        .map(Instant::from_ms)
        .map_err(|_| wrong())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn instants_have_an_offset() {
        assert_eq!(
            parse("2026-11-22T02:59:59+01:00").unwrap(),
            Instant::from_seconds(1_795_312_799)
        );
        for wrong in [
            "",
            "2026-11-22",
            "2026-11-22T02:59:59",
            "tomorrow",
            "1969-12-31T23:59:59Z",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
