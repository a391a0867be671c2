//! What people see: values to text. Nothing here knows where the text goes; a width is an argument, colours are never
//! used, and words that came from elsewhere can't control a terminal.

pub mod agent;
pub mod config;
pub mod diff;
pub mod doctor;
mod duration;
pub mod history;
pub mod key;
pub mod probe;
pub mod report;
pub mod status;
pub mod wait;
pub mod why;

pub use duration::human;

use comfy_table::{ContentArrangement, Table, presets};

/// A table without lines. With a width it is fitted into it.
fn plain_table(header: &[&str], width: Option<u16>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.to_vec());
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table
}

/// The text of a table whose first column begins at the left edge.
fn text_of(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// A size as people say it.
fn bytes(size: u64) -> String {
    bytesize::ByteSize::b(size).display().iec().to_string()
}

/// Words from elsewhere on one line, of bounded length, without anything that a terminal would act on.
fn tame(text: &str) -> String {
    tame_to(300, text)
}

fn tame_to(longest: usize, text: &str) -> String {
    let mut tame: String = text.chars().take(longest).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(longest).is_some() {
        tame.push('…');
    }
    tame
}
