//! Text from anybody, made harmless for a line of output.

/// Longest text that is shown, in characters.
const MAX_LENGTH: usize = 256;

/// The text on one line, without what a terminal would obey, and not too long.
pub(crate) fn one_line(text: &str) -> String {
    let mut chars = text.chars().map(|c| if is_harmless(c) { c } else { char::REPLACEMENT_CHARACTER });
    let mut line: String = chars.by_ref().take(MAX_LENGTH).collect();
    if chars.next().is_some() {
        line.push('…');
    }
    line
}

/// The name of a function as a person would write it, on one line whatever the module says.
pub(crate) fn function_name(name: &str) -> String {
    match rustc_demangle::try_demangle(name) {
        Ok(demangled) => one_line(&format!("{demangled:#}")),
        Err(_) => one_line(name),
    }
}

/// Whether the character neither controls a terminal nor changes the order of what follows.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_line() {
        assert_eq!(function_name("main"), "main");
        assert_eq!(function_name("_ZN4core3fmt5write17h01e5b6bbb0fd3bbeE"), "core::fmt::write");
        assert_eq!(function_name("a\nb\x1b[31m"), "a\u{fffd}b\u{fffd}[31m");
        assert_eq!(one_line("a\u{202e}b"), "a\u{fffd}b");
        assert_eq!(function_name(&"x".repeat(10_000)).chars().count(), MAX_LENGTH + 1);
    }
}
