//! The written observations of the claimant's lawyer (*dire*), CPC art. 276, as an office document.

use std::io::Cursor;

use docx_rs::{
    AlignmentType, Docx, Footer, LineSpacing, PageMargin, Paragraph, Run, Table, TableCell, TableRow,
    WidthType,
};

use crate::french::{amount, typeset};
use crate::{Outcome, facts};

/// The styles. Written out because the library cannot mark a default style, and readers look for one.
const STYLES: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<w:styles xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">
<w:docDefaults><w:rPrDefault><w:rPr>
<w:rFonts w:ascii="Liberation Serif" w:hAnsi="Liberation Serif" w:cs="Liberation Serif"/>
<w:sz w:val="22"/><w:szCs w:val="22"/><w:lang w:val="fr-FR"/>
</w:rPr></w:rPrDefault><w:pPrDefault/></w:docDefaults>
<w:style w:type="paragraph" w:default="1" w:styleId="Normal"><w:name w:val="Normal"/><w:qFormat/></w:style>
<w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/><w:basedOn w:val="Normal"/>
<w:next w:val="Normal"/><w:qFormat/><w:pPr><w:keepNext/><w:outlineLvl w:val="0"/></w:pPr>
<w:rPr><w:b/><w:sz w:val="24"/></w:rPr></w:style>
</w:styles>
"#;

/// The office document.
pub fn write() -> Outcome<Vec<u8>> {
    let (added, _) = facts::WORKS_ADDED;
    let mut docx = Docx::new()
        .created_at("2026-07-06T09:00:00Z")
        .updated_at("2026-07-06T09:00:00Z")
        .page_size(11_906, 16_838)
        .page_margin(
            PageMargin::new()
                .left(1_400)
                .right(1_400)
                .top(1_300)
                .bottom(1_300),
        )
        .footer(
            Footer::new().add_paragraph(Paragraph::new().align(AlignmentType::Center).add_run(
                Run::new().size(16).color("707070").add_text(typeset(&format!(
                    "{} · {} · dire n° 1",
                    facts::NOTICE,
                    facts::CASE
                ))),
            )),
        )
        .add_paragraph(line("L'avocat du demandeur").align(AlignmentType::Left))
        .add_paragraph(line("Exemple-Ville, le 6 juillet 2026").align(AlignmentType::Right))
        .add_paragraph(line("À l'expert ; copie à l'avocat du défendeur").align(AlignmentType::Right))
        .add_paragraph(title("DIRE N° 1", 32))
        .add_paragraph(title(
            "Observations du demandeur sur le pré-rapport (art. 276 du code de procédure civile)",
            22,
        ))
        .add_paragraph(line(&format!(
            "{}, {}. {}.",
            facts::COURT,
            facts::CASE,
            facts::SUBJECT
        )));

    docx = docx
        .add_paragraph(heading("Rappel des observations antérieures"))
        .add_paragraph(line(
            "Le demandeur n'a présenté aucune observation écrite avant le présent dire ; rien \
         n'est donc à rappeler.",
        ))
        .add_paragraph(heading(
            "1. Sur le coût des remises en état (chef de mission n° 6)",
        ))
        .add_paragraph(line(
            "Le pré-rapport chiffre la remise en peinture du séjour, mais omet la chambre \
         attenante, dont le plafond porte la même auréole le long de l'acrotère. L'expert \
         l'a constatée le 7 avril 2026, pendant l'essai d'arrosage. Le demandeur évalue ce \
         poste à 1 395,00 € hors taxes.",
        ))
        .add_paragraph(line(&format!(
            "Il est demandé à l'expert d'ajouter le poste suivant : {}.",
            added.to_lowercase()
        )))
        .add_paragraph(heading(
            "2. Sur l'évolution de la fissure F1 (chef de mission n° 5)",
        ))
        .add_paragraph(line(
            "Sous la jauge J1, l'ouverture passe de 1,20 à 1,40 mm en douze semaines. Le \
         demandeur prie l'expert de dire si cette fissure est stabilisée et, sinon, si \
         l'agrafage prévu suffit.",
        ))
        .add_paragraph(heading("3. Sur la gêne subie (chef de mission n° 8)"))
        .add_paragraph(line(
            "Depuis novembre 2024, la partie du séjour située le long de la façade ne peut être \
         meublée par temps de pluie. Il est demandé à l'expert de donner son avis sur la \
         surface et la durée concernées.",
        ))
        .add_paragraph(heading("Récapitulation des demandes"))
        .add_table(requests(&[
            ("Chef", "Demande", "Montant HT"),
            ("n° 6", added, &format!("{} €", amount(139_500))),
            ("n° 5", "Avis sur la stabilisation de la fissure F1", "sans objet"),
            ("n° 8", "Avis sur la surface et la durée de la gêne", "à fixer"),
        ]))
        .add_paragraph(line(""))
        .add_paragraph(line(
            "Le demandeur demande que le présent dire soit joint au rapport et que l'expert y \
         fasse mention de la suite qu'il lui aura donnée.",
        ))
        .add_paragraph(line("L'avocat du demandeur").align(AlignmentType::Right));

    let mut bytes = Cursor::new(Vec::new());
    let mut parts = docx.build();
    parts.styles = STYLES.as_bytes().to_vec();
    parts.pack(&mut bytes)?;
    Ok(bytes.into_inner())
}

fn line(text: &str) -> Paragraph {
    Paragraph::new()
        .align(AlignmentType::Both)
        .line_spacing(LineSpacing::new().after(140))
        .add_run(Run::new().add_text(typeset(text)))
}

fn title(text: &str, half_points: usize) -> Paragraph {
    Paragraph::new()
        .align(AlignmentType::Center)
        .line_spacing(LineSpacing::new().before(160).after(160))
        .add_run(Run::new().bold().size(half_points).add_text(typeset(text)))
}

fn heading(text: &str) -> Paragraph {
    Paragraph::new()
        .style("Heading1")
        .keep_next(true)
        .line_spacing(LineSpacing::new().before(200).after(100))
        .add_run(Run::new().add_text(typeset(text)))
}

fn requests(rows: &[(&str, &str, &str)]) -> Table {
    const WIDTHS: [usize; 3] = [1_100, 5_900, 2_100];
    let cell = |text: &str, width: usize, bold: bool| {
        let run = Run::new().add_text(typeset(text));
        let run = if bold { run.bold() } else { run };
        TableCell::new()
            .width(width, WidthType::Dxa)
            .add_paragraph(Paragraph::new().add_run(run))
    };
    let rows = rows.iter().enumerate().map(|(index, (head, request, sum))| {
        let cells = [head, request, sum].into_iter().zip(WIDTHS);
        TableRow::new(cells.map(|(text, width)| cell(text, width, index == 0)).collect())
    });
    Table::new(rows.collect()).set_grid(WIDTHS.to_vec())
}
