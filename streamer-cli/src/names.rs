//! Names that are not there, with the nearest one that is.

use crate::config::nearest;

/// ` (did you mean 'receipt'?)`, when one of the known names comes near.
pub(crate) fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(name, known.into_iter().filter(|known| *known != name)) {
        Some(near) => format!(" (did you mean '{near}'?)"),
        None => String::new(),
    }
}
