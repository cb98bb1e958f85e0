//! Which texts out of a token may name somebody: those that a person reads as they are.
//!
//! A subject ends up in tables, logs and terminals. Two subjects that look the same but differ in an invisible
//! character would let one caller pass for another in an analyst's eyes. Not here: look-alike letters of other
//! scripts, which no rule can tell from honest names.

use unicode_normalization::is_nfc;

/// Whether a text is visible as it is: no control, format, bidi, invisible or non-character code point, no
/// white space but single blanks (U+0020) between other characters; and spelled in the one way of those that look the
/// same (Unicode Standard Annex 15, form C).
#[must_use]
pub(super) fn is_plain(text: &str) -> bool {
    let is_trimmed = !text.starts_with(' ') && !text.ends_with(' ') && !text.contains("  ");
    is_trimmed && !text.chars().any(is_unseen) && is_nfc(text)
}

/// A text that is plain, not empty and at most `max` bytes long.
#[must_use]
pub(super) fn is_name(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max && is_plain(text)
}

/// Whether a character can't be seen, or changes how its neighbors are shown.
#[must_use]
pub fn is_unseen(c: char) -> bool {
    if c.is_control() || (c.is_whitespace() && c != ' ') {
        return true;
    }
    matches!(
        c,
        '\u{ad}'                      // soft hyphen
        | '\u{34f}'                   // combining grapheme joiner
        | '\u{61c}'                   // Arabic letter mark
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers
        | '\u{17b4}' | '\u{17b5}'     // Khmer inherent vowels
        | '\u{180b}'..='\u{180f}'     // Mongolian selectors
        | '\u{200b}'..='\u{200f}'     // zero width, left-to-right and right-to-left marks
        | '\u{202a}'..='\u{202e}'     // bidi embeddings and overrides
        | '\u{2060}'..='\u{206f}'     // word joiner, invisible operators, bidi isolates
        | '\u{2800}'                  // the blank Braille pattern
        | '\u{e000}'..='\u{f8ff}'     // private use
        | '\u{fdd0}'..='\u{fdef}'     // non-characters
        | '\u{fe00}'..='\u{fe0f}'     // variation selectors
        | '\u{feff}'                  // byte order mark
        | '\u{fff0}'..='\u{ffff}'     // specials
        | '\u{1bca0}'..='\u{1bca3}'   // shorthand format controls
        | '\u{1d173}'..='\u{1d17a}'   // musical format controls
        | '\u{e0000}'..='\u{10ffff}'  // tags, selectors, private planes
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_that_show_as_they_are_are_plain() {
        for plain in [
            "alice",
            "alice@example.com",
            "svc account 7",
            "Zo\u{eb}",
            "\u{c5}ngstr\u{f6}m",
            "Ольга",
            "田中",
            "a",
        ] {
            assert!(is_plain(plain), "{plain}");
        }
        for unseen in [
            " alice",
            "alice ",
            "svc  7",
            "ali\nce",
            "ali\u{0}ce",
            "ali\u{7f}ce",
            "ali\u{85}ce",
            "ali\u{202e}ce",
            "ali\u{2066}ce",
            "ali\u{200b}ce",
            "ali\u{feff}ce",
            "ali\u{a0}ce",
            "ali\u{2028}ce",
            "ali\u{e0041}ce",
            "ali\u{fe0f}ce",
            "ali\u{ad}ce",
            "ali\u{ffff}ce",
            "ali\u{10ffff}",
            // Zoë with an accent of its own, the Ångström sign for the letter, Hangul in parts.
            "Zoe\u{308}",
            "\u{212b}ngstr\u{f6}m",
            "\u{1112}\u{1161}\u{11ab}",
        ] {
            assert!(!is_plain(unseen), "{unseen:?}");
        }
        assert!(!is_name("", 8) && is_name("12345678", 8) && !is_name("123456789", 8));
    }
}
