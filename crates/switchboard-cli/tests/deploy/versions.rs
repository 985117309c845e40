//! The versions in the changelog.

use std::fs;

use crate::repository;

#[test]
fn the_changelog_begins_with_unreleased_changes_and_has_a_dated_section_of_this_version() {
    let changelog = fs::read_to_string(repository("CHANGELOG.md")).expect("readable");
    let sections: Vec<_> = changelog
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    assert_eq!(sections.first(), Some(&"Unreleased"));
    let own = format!("{} - ", env!("CARGO_PKG_VERSION"));
    let dated = sections
        .iter()
        .filter_map(|section| section.strip_prefix(&own));
    let dates: Vec<_> = dated.collect();
    let [date] = dates[..] else {
        panic!("one section of this version: {sections:?}");
    };
    let parts: Vec<_> = date.split('-').map(str::len).collect();
    assert_eq!(parts, [4, 2, 2], "a date as YYYY-MM-DD: {date}");
}
