//! The invented facts that several files tell: they are written once, here.

/// What each file says of itself, in its footer or its first lines.
pub const NOTICE: &str = "Document d'exemple, sans valeur juridique";
/// The court.
pub const COURT: &str = "TRIBUNAL JUDICIAIRE D'EXEMPLE-VILLE";
/// The number of the case at the court.
pub const CASE: &str = "RG n° 26/00000";
/// What the files are about.
pub const SUBJECT: &str = "Infiltrations et fissures, 12, rue de l'Exemple, Exemple-Ville";

/// One reading of the three gauges.
pub struct Reading {
    /// Year, month and day.
    pub date: (u16, u8, u8),
    /// The date as it is printed.
    pub day: &'static str,
    /// Crack widths under gauges J1, J2 and J3, in hundredths of a millimetre.
    pub width_hundredths_mm: [u32; 3],
    /// Air temperature beside the wall, in degrees Celsius.
    pub temperature_celsius: u32,
}

/// The four readings of the gauges.
pub const READINGS: [Reading; 4] = [
    reading(3, 10, "10 mars 2026", [120, 80, 40], 11),
    reading(4, 7, "7 avril 2026", [125, 80, 40], 14),
    reading(5, 5, "5 mai 2026", [135, 85, 40], 18),
    reading(6, 2, "2 juin 2026", [140, 85, 40], 23),
];

const fn reading(month: u8, day_of_month: u8, day: &'static str, widths: [u32; 3], celsius: u32) -> Reading {
    Reading {
        date: (2026, month, day_of_month),
        day,
        width_hundredths_mm: widths,
        temperature_celsius: celsius,
    }
}

/// How much each crack opened between the first and the last reading, in hundredths of a millimetre.
pub fn widening() -> [u32; 3] {
    let [first, .., last] = &READINGS;
    std::array::from_fn(|gauge| last.width_hundredths_mm[gauge] - first.width_hundredths_mm[gauge])
}

/// Works that the expert finds fit, with their cost before tax in cents.
pub const WORKS: [(&str, u64); 4] = [
    (
        "Réfection du relevé d'étanchéité et de son solin, sur 14 m",
        640_000,
    ),
    (
        "Traitement des fissures F1 à F3 (agrafage, garnissage souple)",
        215_000,
    ),
    ("Remise en peinture du séjour", 148_000),
    ("Maîtrise d'œuvre", 90_000),
];
/// The item that the dire has the expert add, before tax in cents.
pub const WORKS_ADDED: (&str, u64) = ("Remise en peinture de la chambre attenante", 124_000);
/// Rate of the tax on works in dwellings, in percent.
pub const WORKS_TAX_PERCENT: u64 = 10;

/// Fees, in quarters of an hour.
pub const FEES: [(&str, u64); 6] = [
    ("Étude du dossier et des pièces", 12),
    ("Réunion n° 1 sur les lieux, 10 mars 2026", 12),
    ("Réunion n° 2 et essai d'arrosage, 7 avril 2026", 12),
    ("Lectures des jauges, 5 mai et 2 juin 2026", 18),
    ("Rédaction du pré-rapport", 20),
    ("Examen du dire n° 1 et rédaction du rapport", 16),
];
/// Price of one hour before tax, in cents.
pub const HOUR_CENTS: u64 = 9_500;
/// Expenses before tax, in cents.
pub const EXPENSES: [(&str, u64); 3] = [
    ("Déplacements, 260 km à 0,60 €", 15_600),
    ("Matériel de l'essai d'arrosage et jauges", 9_650),
    ("Frais de bureau", 6_000),
];
/// Rate of the tax on fees, in percent.
pub const FEES_TAX_PERCENT: u64 = 20;
/// Provision fixed by the order, in cents.
pub const PROVISION_CENTS: u64 = 300_000;

/// All that the expert claims, tax included, in cents.
pub fn fee_claim_cents() -> u64 {
    let net = fees_cents() + EXPENSES.iter().map(|(_, cents)| cents).sum::<u64>();
    net + net * FEES_TAX_PERCENT / 100
}

/// The fees alone, before tax, in cents.
pub fn fees_cents() -> u64 {
    FEES.iter().map(|(_, quarters)| quarters * HOUR_CENTS / 4).sum()
}
