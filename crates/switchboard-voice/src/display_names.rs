//! Display names that users give themselves. A display name proves nothing, and several users may have the
//! same one.

use std::collections::HashMap;

use axum::http::StatusCode;
use switchboard_core::DisplayName;

use crate::{answer::VoiceError, id::User};

/// Maximum length of a display name, in characters.
const CHARACTERS_MAX: usize = 40;

/// The display names of users that have an event stream open.
#[derive(Debug, Default)]
pub(crate) struct DisplayNames {
    by_user: HashMap<User, DisplayName>,
}

impl DisplayNames {
    pub(crate) fn get(&self, user: &User) -> Option<&DisplayName> {
        self.by_user.get(user)
    }

    /// Sets the name of a user; `None` removes it.
    pub(crate) fn set(&mut self, user: &User, name: Option<DisplayName>) {
        match name {
            Some(name) => drop(self.by_user.insert(user.clone(), name)),
            None => drop(self.by_user.remove(user)),
        }
    }
}

/// Reads a display name: each run of white space becomes one space, and characters that control the display of other
/// characters are removed. `None` if no visible character is left.
///
/// # Errors
/// The response to the client, if the name is too long.
pub(crate) fn parse(text: &str) -> Result<Option<DisplayName>, VoiceError> {
    let shown: String = text.chars().filter(|c| !is_control(*c)).collect();
    let words: Vec<_> = shown.split_whitespace().collect();
    let name = words.join(" ");
    if name.chars().count() > CHARACTERS_MAX {
        return Err(VoiceError::new(
            StatusCode::BAD_REQUEST,
            &format!("`name` must have at most {CHARACTERS_MAX} characters."),
        ));
    }
    // 0: without a limit of bytes, because the characters are limited.
    Ok(DisplayName::parse(&name, 0).ok())
}

/// Whether a character is a control character, except white space, or a format character that is invisible or changes
/// the display of other characters. The joiners U+200C and U+200D are not: some writing systems and emoji need them.
fn is_control(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(
            c,
            // Soft hyphen; Arabic letter mark (bidirectional, UAX #9).
            '\u{ad}'
                | '\u{61c}'
                // Mongolian vowel separator, zero width space.
                | '\u{180e}'
                | '\u{200b}'
                // Bidirectional marks, embeddings and overrides.
                | '\u{200e}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                // Word joiner, invisible operators, bidirectional isolates, deprecated format characters.
                | '\u{2060}'..='\u{206f}'
                // Byte order mark; annotations; tags.
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        let name = parse(text).expect("the name is refused as too long");
        name.map(|name| name.as_str().to_owned())
    }

    #[test]
    fn a_name_is_cleaned_of_controls_and_extra_space() {
        for (given, kept) in [
            ("Ada", "Ada"),
            ("  Ada \t\r\n Lovelace\u{2028}", "Ada Lovelace"),
            ("\u{202e}adA\u{2066}\u{200f}", "adA"),
            ("A\0d\u{7f}a\u{9c}\u{200b}\u{e0041}", "Ada"),
            (
                "👩\u{200d}🚀 می\u{200c}خواهم",
                "👩\u{200d}🚀 می\u{200c}خواهم",
            ),
            ("<b>\"Ada\"</b>", "<b>\"Ada\"</b>"),
        ] {
            assert_eq!(parsed(given).as_deref(), Some(kept), "{given:?}");
        }
    }

    #[test]
    fn text_without_a_visible_character_is_no_name() {
        for given in [
            "",
            "   ",
            "\u{202e}\u{2066}",
            "\0\n",
            "\u{200d}",
            "\u{fe0f}",
        ] {
            assert_eq!(parsed(given), None, "{given:?}");
        }
    }

    #[test]
    fn a_name_has_at_most_forty_characters() {
        let longest = "é".repeat(CHARACTERS_MAX);
        assert_eq!(
            parsed(&format!("\u{202e}  {longest}  ")),
            Some(longest.clone())
        );
        assert!(parse(&format!("{longest}x")).is_err());
    }
}
