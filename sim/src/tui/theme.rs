//! What stands out, and how. Colour is never the only carrier: words and symbols say the same.

use ratatui::style::{Color, Modifier, Style};

/// The looks of the screens. The sixteen colours of the terminal's own palette, so that they suit a
/// light one as well as a dark one; or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    colours: bool,
}

impl Theme {
    pub const COLOURS: Self = Self { colours: true };
    pub const PLAIN: Self = Self { colours: false };

    /// Without colours when `NO_COLOR` is set to anything but the empty text.
    pub fn from_env() -> Self {
        Self::from_no_color(std::env::var_os("NO_COLOR").as_deref())
    }

    fn from_no_color(value: Option<&std::ffi::OsStr>) -> Self {
        Self { colours: value.is_none_or(|value| value.is_empty()) }
    }

    const fn coloured(self, colour: Color, otherwise: Modifier) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new().add_modifier(otherwise) }
    }

    /// Ordinary text.
    pub const fn text(self) -> Style {
        Style::new()
    }

    /// What matters less: scales, units, what is planned.
    pub const fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub const fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The heading of a section.
    pub const fn title(self) -> Style {
        self.coloured(Color::Cyan, Modifier::BOLD).add_modifier(Modifier::BOLD)
    }

    pub const fn good(self) -> Style {
        self.coloured(Color::Green, Modifier::empty())
    }

    /// Near a limit, or out of the ordinary.
    pub const fn warning(self) -> Style {
        self.coloured(Color::Yellow, Modifier::BOLD)
    }

    /// Over a limit, or broken.
    pub const fn bad(self) -> Style {
        self.coloured(Color::Red, Modifier::BOLD).add_modifier(Modifier::BOLD)
    }

    /// The line that is selected, the page that is shown.
    pub const fn selected(self) -> Style {
        Style::reset().add_modifier(Modifier::REVERSED)
    }

    /// A word that must not be overlooked.
    pub const fn badge(self) -> Style {
        self.coloured(Color::Yellow, Modifier::BOLD).add_modifier(Modifier::REVERSED)
    }

    /// Curves and bars that belong together: the first, the second and the third of them.
    pub const fn series(self, number: usize) -> Style {
        let colour = match number {
            0 => Color::Cyan,
            1 => Color::Yellow,
            _ => Color::Magenta,
        };
        self.coloured(colour, Modifier::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_no_color_means_colours() {
        let of = |value: Option<&str>| Theme::from_no_color(value.map(std::ffi::OsStr::new));
        assert_eq!([of(None), of(Some("")), of(Some("1"))], [Theme::COLOURS, Theme::COLOURS, Theme::PLAIN]);
    }
}
