//! Tables for people: columns as wide as their widest cell, numbers to the right.

use std::io::{self, Write};

/// A table that is written once it is complete.
#[derive(Debug)]
pub(super) struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
    right: [bool; COLUMNS],
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// A table with its heads; `true` stands for a column that is aligned to the right.
    #[must_use]
    pub(super) fn new(heads: [(&str, bool); COLUMNS]) -> Self {
        Self { rows: vec![heads.map(|(head, _)| head.to_owned())], right: heads.map(|(_, right)| right) }
    }

    /// Adds a row.
    pub(super) fn push(&mut self, row: [String; COLUMNS]) {
        self.rows.push(row.map(|cell| printable(&cell)));
    }

    /// Writes the table, one row a line.
    ///
    /// # Errors
    /// What the writer says.
    pub(super) fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        let mut widths = [0; COLUMNS];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(widths).zip(self.right) {
                let padded = if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
                line.push_str(&padded);
                line.push_str("  ");
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Names come from a storage account: control characters in them must not reach a terminal.
#[must_use]
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// Scenario: a table with numbers, an empty cell and a name that holds an escape sequence. Guarantees: columns
    /// line up and nothing reaches the terminal as a command.
    #[test]
    fn columns_line_up_and_control_characters_are_spelled() {
        let mut table = Table::new([("NAME", false), ("BYTES", true), ("STATE", false)]);
        table.push([String::from("a\u{1b}[2J"), String::from("7"), String::from("open")]);
        table.push([String::from("b"), String::from("1234567"), String::new()]);
        let mut written = Vec::new();
        table.write_to(&mut written).unwrap();
        expect![[r"
            NAME          BYTES  STATE
            a\u{1b}[2J        7  open
            b           1234567
        "]]
        .assert_eq(&String::from_utf8(written).unwrap());
    }
}
