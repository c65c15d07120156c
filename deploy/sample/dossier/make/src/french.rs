//! French typography and amounts.

/// Puts in the unbreakable spaces and curly apostrophes that the plain text leaves out.
pub fn typeset(plain: &str) -> String {
    const RULES: &[(&str, &str)] = &[
        ("'", "’"),
        (" :", "\u{a0}:"),
        (" ;", "\u{a0};"),
        (" ?", "\u{a0}?"),
        (" %", "\u{a0}%"),
        (" €", "\u{a0}€"),
        (" mm", "\u{a0}mm"),
        (" cm", "\u{a0}cm"),
        ("« ", "«\u{a0}"),
        (" »", "\u{a0}»"),
        ("n° ", "n°\u{a0}"),
        ("art. ", "art.\u{a0}"),
        ("article ", "article\u{a0}"),
        ("articles ", "articles\u{a0}"),
        ("RG ", "RG\u{a0}"),
        ("section ", "section\u{a0}"),
        ("annexe ", "annexe\u{a0}"),
    ];
    RULES
        .iter()
        .fold(plain.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// An amount of cents as one reads it in French: `12 170,00`.
pub fn amount(cents: u64) -> String {
    format!("{},{:02}", grouped(cents / 100), cents % 100)
}

fn grouped(units: u64) -> String {
    if units < 1000 {
        return units.to_string();
    }
    format!("{}\u{a0}{:03}", grouped(units / 1000), units % 1000)
}

/// Hundredths as a decimal number with a comma: `1,20`.
pub fn hundredths(value: u32) -> String {
    format!("{},{:02}", value / 100, value % 100)
}
