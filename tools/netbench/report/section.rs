//! The parts of a document that reports replace, each between markers of its own, so that one can
//! be measured anew without the other.

use crate::error::{BenchError, Result};
use crate::figure::Scenario;

/// A part of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Scenarios of one machine.
    OneMachine,
    /// Between two.
    Vxlan,
}

impl Section {
    /// All, in the order of documents.
    pub const ALL: [Self; 2] = [Self::OneMachine, Self::Vxlan];

    /// True if it shows that scenario.
    pub fn shows(self, scenario: Scenario) -> bool {
        (scenario == Scenario::Vxlan) == (self == Self::Vxlan)
    }

    /// Those that show any of these scenarios.
    pub fn of(scenarios: &[Scenario]) -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(|section| scenarios.iter().any(|scenario| section.shows(*scenario)))
    }

    const fn markers(self) -> (&'static str, &'static str) {
        match self {
            Self::OneMachine => ("<!-- netbench:begin -->", "<!-- netbench:end -->"),
            Self::Vxlan => ("<!-- netbench-vxlan:begin -->", "<!-- netbench-vxlan:end -->"),
        }
    }

    /// A document, called `name` in complaints, with its part replaced.
    ///
    /// # Errors
    /// If it has no markers.
    pub fn replace(self, document: &str, name: &str, text: &str) -> Result<String> {
        let (begin, end) = self.markers();
        let missing = || BenchError::Missing {
            what: format!("{name} has no `{begin}` followed by `{end}`"),
            remedy: "put the two lines where the section belongs".to_owned(),
        };
        let (before, rest) = document.split_once(begin).ok_or_else(missing)?;
        let (_, after) = rest.split_once(end).ok_or_else(missing)?;
        Ok(format!("{before}{begin}\n{text}{end}{after}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_own_markers_is_replaced() {
        for section in Section::ALL {
            let (begin, end) = section.markers();
            let others = Section::ALL.into_iter().filter(|other| *other != section);
            let others: String = others
                .map(|other| format!("{}\nkept\n{}\n", other.markers().0, other.markers().1))
                .collect();
            let document = format!("a\n{others}{begin}\nold\n{end}\nb\n");
            let new = section.replace(&document, "README.md", "new\n").unwrap();
            assert_eq!(new, format!("a\n{others}{begin}\nnew\n{end}\nb\n"));
            assert_eq!(section.replace(&new, "README.md", "new\n").unwrap(), new);
            assert!(section.replace(&others, "README.md", "new").is_err());
        }
    }

    #[test]
    fn every_scenario_has_one_section() {
        for scenario in Scenario::ALL {
            assert_eq!(Section::of(&[scenario]).count(), 1);
        }
        assert_eq!(Section::of(&Scenario::ALL).collect::<Vec<_>>(), Section::ALL);
        assert_eq!(Section::of(&Scenario::DEFAULT).collect::<Vec<_>>(), [Section::OneMachine]);
    }
}
