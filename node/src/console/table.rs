//! Tables and fields, as wide as the terminal.
//!
//! Where a table is wider than the terminal, its IDs are cut to what tells them apart, then its widest columns of words are cut, with
//! `…` where something is missing. Where there is no terminal nothing is cut: programs get it whole, and so does `--json`.

use std::{collections::BTreeSet, fmt};

use super::{
    harmless::{Colour, one_line},
    look::Look,
};

/// Between two columns.
const GAP: &str = "  ";

/// What is left of an ID at the least: the letters by which events name a peer, too.
const ID_LETTERS: usize = 6;

/// What a column of words is cut to at the least.
const MIN_COLUMN: usize = 12;

/// Rows with aligned columns: those whose name begins with `>` to the right, as amounts stand. The header is left out where
/// there are no rows, and `nothing` said instead. Words of a column named STATE have colours, where the terminal wants them.
pub fn table(out: &mut dyn fmt::Write, header: &[&str], rows: &[Vec<String>], nothing: &str) -> fmt::Result {
    table_as(Look::now(), out, header, rows, nothing)
}

/// As [`table`], with a look of its own. What is coloured in it has yet to be written by the printer or a screen.
pub fn table_as(
    look: &Look,
    out: &mut dyn fmt::Write,
    header: &[&str],
    rows: &[Vec<String>],
    nothing: &str,
) -> fmt::Result {
    if rows.is_empty() {
        return writeln!(out, "{nothing}");
    }
    let named =
        |row: &Vec<String>| look.aliases.put_into_row(row).iter().map(|cell| one_line(cell).into_owned()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(named).collect();
    let mut columns: Vec<Column> = header
        .iter()
        .enumerate()
        .map(|(at, name)| Column {
            name: name.trim_start_matches('>').to_owned(),
            right: name.starts_with('>'),
            cells: rows.iter().map(|row| row.get(at).cloned().unwrap_or_default()).collect(),
        })
        .collect();
    if let Some(width) = look.width {
        fit(&mut columns, width);
    }
    let widths: Vec<_> = columns.iter().map(Column::width).collect();
    for line in 0..=rows.len() {
        let mut shown = String::new();
        for (at, (column, width)) in columns.iter().zip(&widths).enumerate() {
            let cell = if line == 0 { &column.name } else { &column.cells[line - 1] };
            let colour = (look.coloured && line > 0 && column.name == "STATE").then(|| colour_of(cell)).flatten();
            let padding = " ".repeat(width - cell.chars().count());
            let cell = colour.map_or_else(|| cell.clone(), |colour| colour.around(cell));
            let last = at + 1 == columns.len();
            shown += &if column.right { padding + &cell } else { cell + if last { "" } else { &padding } };
            shown += if last { "" } else { GAP };
        }
        writeln!(out, "{}", shown.trim_end())?;
    }
    Ok(())
}

struct Column {
    name: String,
    right: bool,
    cells: Vec<String>,
}

impl Column {
    fn width(&self) -> usize {
        self.cells.iter().chain([&self.name]).map(|cell| cell.chars().count()).max().unwrap_or(0)
    }

    /// Cuts every cell to `width`.
    fn cut(&mut self, width: usize) {
        for cell in &mut self.cells {
            if cell.chars().count() > width {
                *cell = cell.chars().take(width.saturating_sub(1)).chain(['…']).collect();
            }
        }
    }

    /// Cuts IDs to their last letters, as many as tell them apart.
    fn shorten_ids(&mut self) {
        let ids: BTreeSet<&str> = self.cells.iter().flat_map(|cell| cell.split(' ')).filter_map(id_in).collect();
        let end = |id: &str, letters: usize| id[id.len().saturating_sub(letters)..].to_owned();
        let longest = ids.iter().map(|id| id.len()).max().unwrap_or(0);
        let tells_apart =
            |letters: &usize| ids.iter().map(|id| end(id, *letters)).collect::<BTreeSet<_>>().len() == ids.len();
        let letters = (ID_LETTERS..longest).find(tells_apart).unwrap_or(longest);
        let shorten = |word: &str| match id_in(word) {
            Some(id) if id.len() > letters => format!("{}…{}", &word[..word.len() - id.len()], end(id, letters)),
            _ => word.to_owned(),
        };
        let cells = self.cells.iter().map(|cell| cell.split(' ').map(shorten).collect::<Vec<_>>().join(" "));
        self.cells = cells.collect();
    }
}

/// The ID that a word ends with: of a peer, alone or in a mint's URL, or of a content.
fn id_in(word: &str) -> Option<&str> {
    let id = word.rsplit('/').next().filter(|_| !word.starts_with('/')).unwrap_or(word);
    let is_id = ["12D3Koo", "bafy", "did:key:z6Mk"].iter().any(|start| id.starts_with(start));
    (is_id && id.len() > 40 && id.is_ascii()).then_some(id)
}

/// Makes columns narrower until they fit, or nothing more can be cut.
fn fit(columns: &mut [Column], width: usize) {
    let excess = |columns: &[Column]| {
        let all: usize = columns.iter().map(Column::width).sum();
        (all + GAP.len() * columns.len().saturating_sub(1)).saturating_sub(width)
    };
    if excess(columns) > 0 {
        columns.iter_mut().for_each(Column::shorten_ids);
    }
    loop {
        let excess = excess(columns);
        let widest = columns.iter_mut().filter(|column| !column.right && column.width() > MIN_COLUMN);
        let Some(widest) = widest.max_by_key(|column| column.width()).filter(|_| excess > 0) else { return };
        let narrower = widest.width().saturating_sub(excess).max(MIN_COLUMN).max(widest.name.chars().count());
        if narrower >= widest.width() {
            return;
        }
        widest.cut(narrower);
    }
}

/// How a state looks: what went well, what didn't, what is under way.
fn colour_of(state: &str) -> Option<Colour> {
    Some(match state {
        "delivered" | "done" => Colour::Green,
        "failed" | "lost" => Colour::Red,
        "cancelled" | "refused" => Colour::Yellow,
        "spent" | "reclaimed" | "revoked" | "ended" | "" => return None,
        _ => Colour::Cyan,
    })
}

/// The value of a field.
#[derive(Clone, Debug)]
pub enum Field {
    /// On its line.
    Line(String),
    /// On several lines, each below the one before.
    Lines(Vec<String>),
}

impl From<String> for Field {
    fn from(line: String) -> Self {
        Self::Line(line)
    }
}

impl From<Vec<String>> for Field {
    fn from(lines: Vec<String>) -> Self {
        Self::Lines(lines)
    }
}

/// Lines of `name  value`, aligned; those with an empty value are left out. What has an alias is shown with it.
pub fn fields<F: Clone + Into<Field>>(out: &mut dyn fmt::Write, pairs: &[(&str, F)]) -> fmt::Result {
    let look = Look::now();
    let lines = |value: &F| match value.clone().into() {
        Field::Line(line) if line.is_empty() => Vec::new(),
        Field::Line(line) => vec![line],
        Field::Lines(lines) => lines,
    };
    let shown: Vec<_> = pairs.iter().map(|(name, value)| (*name, lines(value))).collect();
    let width = shown.iter().filter(|(_, lines)| !lines.is_empty()).map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or(0);
    for (name, lines) in shown {
        for (index, line) in lines.iter().enumerate() {
            let alias = look.aliases.of(line).map(|alias| format!(" (@{alias})")).unwrap_or_default();
            let colour = (look.coloured && name == "state").then(|| colour_of(line)).flatten();
            let line = one_line(line);
            let line = colour.map_or_else(|| line.to_string(), |colour| colour.around(&line));
            writeln!(out, "{:width$}  {line}{alias}", if index == 0 { name } else { "" })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::aliases::Aliases;

    const SELLERS: [&str; 3] = [
        "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq",
        "12D3KooWSvUUUCuFmm4Gf5X5dxtiaEurKzREfCvX4t9oZZvKihwY",
        "12D3KooWSF18G9VfnaDQ4YtQnfG5NCKbBJs6AEzh7jtHpD7ZvKihwY",
    ];

    fn offers(look: &Look) -> String {
        let row = |seller: &str, price: &str, mint: &str, state: &str| {
            let what = "Counts lines, words and bytes of a text, and says in which language it is written";
            [seller, price, mint, state, what].map(str::to_owned).to_vec()
        };
        let own = format!("p2p://mint/{}", SELLERS[1]);
        let rows = [
            row(SELLERS[0], "3 play", &own, "done"),
            row(SELLERS[1], "1200 play", "https://mint.example", "failed"),
            row(SELLERS[2], "7 sat", "https://mint.example", "awarded"),
        ];
        let mut text = String::new();
        table_as(look, &mut text, &["SELLER", ">PRICE", "MINT", "STATE", "WHAT"], &rows, "").unwrap();
        text
    }

    fn at(width: usize) -> String {
        let text = offers(&Look { width: Some(width), ..Look::default() });
        assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
        text
    }

    #[test]
    fn at_80_columns() {
        insta::assert_snapshot!(at(80), @r"
        SELLER         PRICE  MINT                  STATE    WHAT
        …Umo7R3pq     3 play  p2p://mint/…vKihwY    done     Counts lines, words and by…
        …ZZvKihwY  1200 play  https://mint.example  failed   Counts lines, words and by…
        …7ZvKihwY      7 sat  https://mint.example  awarded  Counts lines, words and by…
        ");
    }

    #[test]
    fn at_120_columns() {
        insta::assert_snapshot!(at(120), @r"
        SELLER         PRICE  MINT                  STATE    WHAT
        …Umo7R3pq     3 play  p2p://mint/…vKihwY    done     Counts lines, words and bytes of a text, and says in which languag…
        …ZZvKihwY  1200 play  https://mint.example  failed   Counts lines, words and bytes of a text, and says in which languag…
        …7ZvKihwY      7 sat  https://mint.example  awarded  Counts lines, words and bytes of a text, and says in which languag…
        ");
    }

    #[test]
    fn without_a_terminal_nothing_is_cut() {
        let text = offers(&Look::default());
        assert!(text.contains(SELLERS[0]) && text.contains("language it is written"), "{text}");
    }

    #[test]
    fn a_table_that_fits_keeps_its_ids() {
        assert!(at(240).contains(SELLERS[0]));
    }

    #[test]
    fn states_have_colours_where_they_are_wanted_and_columns_stay_aligned() {
        let text = offers(&Look { width: Some(80), coloured: true, ..Look::default() });
        for (colour, state) in [(Colour::Green, "done"), (Colour::Red, "failed"), (Colour::Cyan, "awarded")] {
            assert!(text.contains(&colour.around(state)), "{text}");
        }
        let plain = crate::console::harmless::painted(&text, false);
        assert_eq!(plain, at(80));
    }

    #[test]
    fn a_name_of_the_operator_s_own_takes_an_id_s_place() {
        let mut aliases = Aliases::default();
        aliases.add("ann", SELLERS[0].parse().unwrap()).unwrap();
        let text = offers(&Look { aliases, ..Look::default() });
        assert!(text.contains("\n@ann  ") && !text.contains(SELLERS[0]), "{text}");
    }

    #[test]
    fn a_forged_line_in_a_cell_or_a_field_stays_in_its_line() {
        let forged = format!("cheap\n12D3KooWhonest  1 sat\x1b[8m{}", Colour::Green.around("done"));
        let mut text = String::new();
        table(&mut text, &["SELLER", "WHAT"], &[vec!["12D3KooWa".into(), forged.clone()]], "").unwrap();
        fields(&mut text, &[("what", forged)]).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(!crate::console::harmless::painted(&text, true).contains('\x1b'), "{text}");
    }

    #[test]
    fn amounts_stand_to_the_right_and_words_to_the_left() {
        let row = |price: &str| vec!["a.b".to_owned(), price.to_owned(), "x".to_owned()];
        let mut text = String::new();
        table(&mut text, &["SERVICE", ">PRICE", "WHAT"], &[row("7 sat"), row("1200 sat")], "").unwrap();
        assert_eq!(text, "SERVICE     PRICE  WHAT\na.b         7 sat  x\na.b      1200 sat  x\n");
    }

    #[test]
    fn a_field_has_as_many_lines_as_it_was_given() {
        let mut text = String::new();
        let many = Field::from(vec!["one".to_owned(), "two".to_owned()]);
        let pairs = [("a", Field::from("x".to_owned())), ("none", String::new().into()), ("many", many)];
        fields(&mut text, &pairs).unwrap();
        assert_eq!(text, "a     x\nmany  one\n      two\n");
    }
}
