//! How deep a configuration nests. Its parser calls itself for each level: a file of levels would take the stack of the
//! process, which ends a process without an error.

use std::ops::Range;

use toml_parser::{Source, lexer::TokenKind};

/// A configuration needs five levels: `[listeners.NAME.retry]` with a list of tables in it.
const MOST_LEVELS: usize = 64;

/// Where a text nests deeper than a configuration may.
pub(super) fn too_deep(text: &str) -> Option<Range<usize>> {
    // The same words that the parser sees: brackets in strings and comments are none.
    let mut open = Vec::new();
    // The dots of the key that is being read: `a.b.c = 1` makes a level with each.
    let mut dots = 0;
    let mut levels = 0;
    for token in Source::new(text).lex() {
        match token.kind() {
            kind @ (TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket) => {
                open.push((kind, dots));
                levels += 1 + dots;
                dots = 0;
            }
            // The parser skips what closes nothing, and what it has opened stays open.
            TokenKind::RightSquareBracket => dots = close(&mut open, TokenKind::LeftSquareBracket, &mut levels, dots),
            TokenKind::RightCurlyBracket => dots = close(&mut open, TokenKind::LeftCurlyBracket, &mut levels, dots),
            TokenKind::Comma | TokenKind::Newline => dots = 0,
            TokenKind::Dot => dots += 1,
            _ => {}
        }
        if levels + dots > MOST_LEVELS {
            return Some(token.span().start()..token.span().end());
        }
    }
    None
}

/// Closes the innermost bracket if it is of this kind; gives the dots of the key before the one that goes on now.
fn close(open: &mut Vec<(TokenKind, usize)>, kind: TokenKind, levels: &mut usize, dots: usize) -> usize {
    match open.pop_if(|(innermost, _)| *innermost == kind) {
        Some((_, before)) => {
            *levels -= 1 + before;
            before
        }
        None => dots,
    }
}

/// What is said of such a text.
pub(super) fn complaint() -> String {
    format!("tables and lists are nested deeper than {MOST_LEVELS} levels; a configuration needs five")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_side_by_side_is_not_deep() {
        let wide = [
            "a = [[1], [2]]\n",
            "b.c.d = { e.f = 1, g = '[[[', h = \"{{{\" } # [[[\n",
            "[i.j]\nk = 1.5\n",
            "[[l]]\n",
            "m = [\n  '''\n[\n''',\n]\n",
        ];
        assert_eq!(too_deep(&wide.concat().repeat(1_000)), None);
        assert_eq!(too_deep(&format!("a = {}1{}", "[".repeat(64), "]".repeat(64))), None);
    }

    #[test]
    fn whatever_makes_levels_is_deep() {
        let many = 100;
        for text in [
            "a = ".to_owned() + &"[".repeat(many),
            "a = ".to_owned() + &"{ a = ".repeat(many),
            "a = ".to_owned() + &"[ { a = ".repeat(many / 2),
            "a.".repeat(many) + "a = 1",
            format!("[{}a]", "a.".repeat(many)),
            format!("a = {{ {}a = 1 }}", "a . ".repeat(many)),
            "a = ".to_owned() + &"{ a.a = [ ".repeat(many / 3),
            // What closes nothing makes no room.
            "a = ".to_owned() + &"[ } ".repeat(many),
            "v = { ".to_owned() + &"a = 1 [] ".repeat(many) + "}\nb = " + &"[".repeat(many),
        ] {
            assert!(too_deep(&text).is_some(), "{text}");
        }
    }
}
