//! Detection of visible characters in names.

/// Whether a name has a visible character. White space (Unicode `White_Space`), control characters (`Cc`) and
/// characters that are not displayed (`Default_Ignorable_Code_Point`, which includes the invisible ones of `Cf`) are
/// not visible. A name without visible characters looks like an empty name.
pub(crate) fn is_visible(name: &str) -> bool {
    let is_graphic = |byte: u8| byte.is_ascii_graphic();
    name.bytes().any(is_graphic) || name.chars().any(|c| !is_invisible(c))
}

/// A name as it looks: without characters that are not displayed and without white space at its ends, and with one
/// space for each other run of white space. `None` if that is the name itself.
pub(crate) fn visible_form(name: &str) -> Option<String> {
    if name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let is_displayed = |c: &char| c.is_whitespace() || !is_invisible(*c);
    let displayed: String = name.chars().filter(is_displayed).collect();
    let words: Vec<_> = displayed.split_whitespace().collect();
    let visible = words.join(" ");
    (visible != name).then_some(visible)
}

fn is_invisible(c: char) -> bool {
    c.is_whitespace() || c.is_control() || is_ignorable(c)
}

/// `Default_Ignorable_Code_Point` of Unicode 17 (DerivedCoreProperties.txt), and two kinds more that are not displayed:
/// the annotation characters (`Cf`) and the braille pattern without dots. The property covers unassigned characters of
/// these blocks too, so new releases of Unicode hardly change it.
fn is_ignorable(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_the_same_have_the_same_visible_form() {
        for name in [
            " Ada L",
            "Ada L\u{200b}",
            "A\u{ad}da L\t",
            "\u{feff}Ada\u{a0}\u{3000}L",
            "Ada\u{2060} \u{200d} L",
            "Ada\r\nL\0",
        ] {
            assert_eq!(visible_form(name).as_deref(), Some("Ada L"), "{name:?}");
        }
        for name in ["Ada", "Ada L", "ada l", "Àda", "日 本", "A\u{301}"] {
            assert_eq!(visible_form(name), None, "{name:?}");
        }
    }

    #[test]
    fn names_of_invisible_characters_only_are_not_visible() {
        for name in [
            " ",
            "\t\r\n",
            "\u{a0}\u{3000}",
            "\u{200b}",
            "\u{feff}",
            "\u{202e}\u{2066}",
            "\u{ad}",
            "\u{3164}",
            "\u{2800}",
            "\0\u{7f}\u{85}",
            "\u{e0041}\u{fe0f}",
            "\u{2028} \u{200d}",
        ] {
            assert!(!is_visible(name), "{name:?}");
        }
        for name in [
            "a",
            " a ",
            "\u{200d}é",
            "日",
            "👩\u{200d}🚀",
            "_",
            "\u{301}",
            "\u{600}",
            "\u{e000}",
        ] {
            assert!(is_visible(name), "{name:?}");
        }
    }
}
