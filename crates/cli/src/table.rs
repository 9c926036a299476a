//! Aligned columns for people.

/// Rows under a head, each column as wide as its widest cell.
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns. A head that ends in `#` marks a column of numbers, which is
    /// aligned to the right.
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with one cell a column.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows
            .push(cells.iter().map(|cell| on_one_line(cell)).collect());
    }

    /// Returns the text, without blanks at the ends of lines.
    pub(crate) fn render(&self) -> String {
        let titles: Vec<String> = self
            .head
            .iter()
            .map(|title| title.trim_end_matches('#').to_owned())
            .collect();
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| width(row, column));
                cells
                    .chain([titles[column].chars().count()])
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            for (column, title) in self.head.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                let padding = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
                if title.ends_with('#') {
                    line.push_str(&padding);
                    line.push_str(cell);
                } else {
                    line.push_str(cell);
                    line.push_str(&padding);
                }
                line.push_str("  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Puts blanks in the place of control characters, line ends among them.
pub(crate) fn on_one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Puts blanks in the place of control characters but line ends: what jobs print must not steer
/// the terminal of whoever looks at them.
pub(crate) fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n', " ")
}

fn width(row: &[String], column: usize) -> usize {
    row.get(column).map_or(0, |cell| cell.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_lines_end_without_blanks() {
        let mut table = Table::new(&["id#", "name"]);
        table.row(vec!["7".into(), "a".into()]);
        table.row(vec!["1234".into(), "simulation".into()]);
        assert_eq!(table.render(), "  id  name\n   7  a\n1234  simulation\n");
    }

    #[test]
    fn a_cell_cannot_break_its_row_or_steer_the_terminal() {
        let mut table = Table::new(&["text"]);
        table.row(vec!["a\nb\u{1b}[2J".into()]);
        assert_eq!(table.render(), "text\na b [2J\n");
        assert_eq!(printable("a\n\u{1b}b"), "a\n b");
    }
}
