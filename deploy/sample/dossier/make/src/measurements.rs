//! The spreadsheet of crack widths (*relevé de mesures*).

use rust_xlsxwriter::{
    Chart, ChartType, Color, DocProperties, ExcelDateTime, Format, FormatAlign, FormatBorder, Formula,
    Workbook,
};

use crate::{Outcome, facts};

/// Row of the column titles, counted from 0.
const TITLES: u32 = 4;
const LAST: u32 = TITLES + facts::READINGS.len() as u32;

/// The workbook: one sheet, four readings, a line of formulas and a chart.
pub fn write() -> Outcome<Vec<u8>> {
    let mut book = Workbook::new();
    book.set_properties(
        &DocProperties::new()
            .set_title("Relevé des ouvertures de fissures")
            .set_subject(facts::CASE)
            .set_author("L'avocat du demandeur")
            .set_comment(facts::NOTICE)
            .set_creation_datetime(&ExcelDateTime::from_ymd(2026, 6, 2)?.and_hms(9, 0, 0)?),
    );
    let bold = Format::new().set_bold().set_font_size(14);
    let title = Format::new()
        .set_bold()
        .set_text_wrap()
        .set_align(FormatAlign::Center)
        .set_background_color(Color::RGB(0x00E4_EAF2))
        .set_border(FormatBorder::Thin);
    let date = Format::new()
        .set_num_format("dd/mm/yyyy")
        .set_border(FormatBorder::Thin);
    let width = Format::new()
        .set_num_format("0.00")
        .set_border(FormatBorder::Thin);
    let degrees = Format::new().set_num_format("0").set_border(FormatBorder::Thin);
    let total = width.clone().set_bold();

    let sheet = book.add_worksheet();
    sheet.set_name("Relevé")?;
    sheet.set_column_width(0, 24)?;
    sheet.set_column_range_width(1, 5, 13)?;
    sheet.write_with_format(0, 0, "Relevé des ouvertures de fissures (mm)", &bold)?;
    sheet.write(1, 0, facts::SUBJECT)?;
    sheet.write(2, 0, format!("{}. {}.", facts::CASE, facts::NOTICE))?;
    let titles = [
        "Date",
        "Jauge J1 (fissure F1)",
        "Jauge J2 (fissure F2)",
        "Jauge J3 (fissure F3)",
        "Maximum",
        "Température (°C)",
    ];
    sheet.set_row_height(TITLES, 32)?;
    for (column, text) in (0..).zip(titles) {
        sheet.write_with_format(TITLES, column, text, &title)?;
    }
    for (row, reading) in (TITLES + 1..).zip(&facts::READINGS) {
        let (year, month, day) = reading.date;
        sheet.write_with_format(row, 0, &ExcelDateTime::from_ymd(year, month, day)?, &date)?;
        for (column, hundredths) in (1..).zip(reading.width_hundredths_mm) {
            sheet.write_with_format(row, column, millimetres(hundredths), &width)?;
        }
        let largest = reading.width_hundredths_mm.into_iter().fold(0, u32::max);
        let formula = Formula::new(format!("=MAX(B{0}:D{0})", row + 1));
        sheet.write_with_format(
            row,
            4,
            formula.set_result(millimetres(largest).to_string()),
            &width,
        )?;
        sheet.write_with_format(row, 5, reading.temperature_celsius, &degrees)?;
    }
    sheet.write_with_format(LAST + 1, 0, "Évolution sur la période", &title)?;
    for ((column, letter), widened) in (1..).zip(["B", "C", "D"]).zip(facts::widening()) {
        let formula = Formula::new(format!("={letter}{}-{letter}{}", LAST + 1, TITLES + 2));
        sheet.write_with_format(
            LAST + 1,
            column,
            formula.set_result(millimetres(widened).to_string()),
            &total,
        )?;
    }

    let mut chart = Chart::new(ChartType::Line);
    for column in 1..4 {
        chart
            .add_series()
            .set_name(("Relevé", TITLES, column))
            .set_categories(("Relevé", TITLES + 1, 0, LAST, 0))
            .set_values(("Relevé", TITLES + 1, column, LAST, column));
    }
    chart.title().set_name("Ouverture des fissures");
    chart.y_axis().set_name("mm");
    sheet.insert_chart(LAST + 3, 0, &chart)?;
    Ok(book.save_to_buffer()?)
}

fn millimetres(hundredths: u32) -> f64 {
    f64::from(hundredths) / 100.0
}
