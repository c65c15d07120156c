//! The expert's preliminary report (*pré-rapport*), on which the parties send their dires, CPC art. 276.

use crate::french::{amount, hundredths};
use crate::page::{Align, COLUMN, Pages};
use crate::typeface::Fonts;
use crate::{Outcome, facts};

/// The PDF/A file.
pub fn write(fonts: &Fonts<'_>) -> Outcome<Vec<u8>> {
    let mut pages = Pages::new(fonts);
    pages.letterhead(
        "Expertise ordonnée le 12 janvier 2026",
        ["RG n° 26/00000", "Minute n° 26/00000"],
    );
    pages.title("PRÉ-RAPPORT D'EXPERTISE", "adressé aux parties le 22 juin 2026");
    pages.paragraph(&format!("**Objet :** {}.", facts::SUBJECT));
    pages.paragraph(
        "**Les observations écrites des parties (dires) sont attendues jusqu'au 20 juillet \
         2026 à 24 h 00.** L'expert n'est pas tenu de prendre en compte celles qui lui \
         parviendraient après ce délai, à moins d'une cause grave et dûment justifiée, dont \
         il ferait rapport au juge (article 276 du code de procédure civile). Les dernières \
         observations rappellent sommairement le contenu des précédentes, qui sont à défaut \
         réputées abandonnées.",
    );

    pages.heading("1. Opérations accomplies");
    pages.item(
        "–",
        "10 mars 2026 : réunion n° 1 sur les lieux, toutes parties présentes ; pose des \
         jauges J1, J2 et J3.",
    );
    pages.item(
        "–",
        "7 avril 2026 : réunion n° 2, essai d'arrosage de la terrasse, deuxième lecture des \
         jauges.",
    );
    pages.item(
        "–",
        "5 mai et 2 juin 2026 : troisième et quatrième lectures, en présence du demandeur et \
         du défendeur.",
    );

    pages.heading("2. Constatations");
    pages.paragraph(
        "Le plafond du séjour porte une auréole de 1,8 m sur 0,6 m le long de la façade ; \
         celui de la chambre attenante, une auréole plus petite. L'humidimètre à pointes \
         indique 24 % au droit des auréoles, contre 8 % au centre des pièces. Le mur de \
         façade présente trois fissures, F1 à F3, qui partent de l'acrotère ; la fissure F1, \
         la plus ouverte, porte une dérivation à mi-hauteur (pièce n° 1 du demandeur).",
    );
    pages.paragraph(
        "Lors de l'essai du 7 avril 2026, l'eau est apparue au plafond après quarante \
         minutes d'arrosage du seul pied d'acrotère. Le relevé d'étanchéité, découvert sur \
         un mètre, s'élève à 8 cm au-dessus de la protection, pour 15 cm prévus au marché ; \
         le solin qui le coiffe est décollé.",
    );

    pages.heading("3. Ouverture des fissures");
    widths(&mut pages);

    pages.heading("4. Analyse provisoire");
    pages.paragraph(
        "Les infiltrations ont pour cause la hauteur insuffisante du relevé et le \
         décollement du solin, défauts d'exécution des travaux de 2023. Les fissures suivent \
         la liaison de l'acrotère et du mur ; leur ouverture croît avec la température, ce \
         qui désigne les variations dimensionnelles de l'acrotère, aggravées par l'eau que \
         retient la maçonnerie. L'expert n'a relevé aucun indice d'atteinte à la solidité.",
    );

    pages.heading("5. Travaux et coûts provisoires");
    works(&mut pages, &facts::WORKS);
    pages.paragraph("Durée des travaux : quatre semaines, par temps sec.");

    pages.heading("6. Réponses provisoires aux chefs de mission");
    pages.item(
        "1.",
        "Parties convoquées et entendues ; pièces nos 1 et 2 du demandeur reçues et \
         examinées.",
    );
    pages.item("2.", "Désordres constatés : voir la section 2.");
    pages.item(
        "3.",
        "Causes : voir la section 4 ; défauts d'exécution du relevé et du solin, conception \
         de l'acrotère.",
    );
    pages.item(
        "4.",
        "Solidité non compromise ; usage du séjour restreint le long de la façade par temps \
         de pluie.",
    );
    pages.item("5.", "Jauges suivies pendant douze semaines : voir la section 3.");
    pages.item(
        "6.",
        "Travaux et coûts : voir la section 5. Les parties sont invitées à produire d'autres \
         devis.",
    );
    pages.item(
        "7.",
        "Le relevé et le solin ont été posés par le défendeur en 2023 ; l'acrotère est \
         d'origine.",
    );
    pages.item(
        "8.",
        "Les parties sont invitées à préciser et à justifier les préjudices qu'elles \
         invoquent.",
    );
    pages.item(
        "9.",
        "Le présent document tient lieu de pré-rapport ; le rapport répondra aux dires reçus \
         dans le délai.",
    );

    pages.signatures("Exemple-Ville, le 22 juin 2026.", &["", "L'expert"]);
    pages.finish("Pré-rapport d'expertise", "L'expert", (2026, 6, 22))
}

/// The table of the gauges.
pub fn widths(pages: &mut Pages<'_>) {
    let head = [
        "Lecture",
        "J1 sur F1 (mm)",
        "J2 sur F2 (mm)",
        "J3 sur F3 (mm)",
        "Air (°C)",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for reading in &facts::READINGS {
        let [j1, j2, j3] = reading.width_hundredths_mm.map(hundredths);
        rows.push(vec![
            reading.day.to_owned(),
            j1,
            j2,
            j3,
            reading.temperature_celsius.to_string(),
        ]);
    }
    let [j1, j2, j3] = facts::widening().map(|width| format!("**+{}**", hundredths(width)));
    rows.push(vec!["**Évolution**".to_owned(), j1, j2, j3, String::new()]);
    let figure = (0.2 * COLUMN, Align::Right);
    pages.table(
        &[
            (0.24 * COLUMN, Align::Left),
            figure,
            figure,
            figure,
            (0.16 * COLUMN, Align::Right),
        ],
        &rows,
    );
}

/// The table of the works with their costs; returns the total with tax, in cents.
pub fn works(pages: &mut Pages<'_>, items: &[(&str, u64)]) -> u64 {
    let mut rows = vec![vec!["Poste".to_owned(), "Coût HT (€)".to_owned()]];
    rows.extend(
        items
            .iter()
            .map(|(label, cents)| vec![(*label).to_owned(), amount(*cents)]),
    );
    let net: u64 = items.iter().map(|(_, cents)| cents).sum();
    let tax = net * facts::WORKS_TAX_PERCENT / 100;
    rows.push(vec!["**Total HT**".to_owned(), format!("**{}**", amount(net))]);
    rows.push(vec![format!("TVA {} %", facts::WORKS_TAX_PERCENT), amount(tax)]);
    rows.push(vec![
        "**Total TTC**".to_owned(),
        format!("**{}**", amount(net + tax)),
    ]);
    pages.table(
        &[(0.78 * COLUMN, Align::Left), (0.22 * COLUMN, Align::Right)],
        &rows,
    );
    net + tax
}
