//! The table of options: each is written there once. Flags, keys of the file, `--help`, the annotated example and the README's
//! table of defaults are all read from it.

mod info;
mod table;
#[cfg(test)]
mod tests;
mod value;

pub use info::{DefaultValue, Group, OptionInfo, Scope};
pub use table::GROUPS;
pub use value::namespace;

/// All rows, in the order of the table.
pub fn options() -> impl Iterator<Item = &'static OptionInfo> {
    GROUPS.iter().flat_map(|group| group.options)
}

/// The row called `name`.
pub fn named(name: &str) -> Option<&'static OptionInfo> {
    options().find(|option| option.name == name)
}
