//! Checks that the generated parts of `docs/dialects.md` match the module comments and traits of the
//! dialects. `UPDATE_DOCS=1 cargo test -p switchboard-dialects` writes them anew.

use std::{fmt::Write as _, fs, path::PathBuf};

use switchboard_core::{DialectTraits, OfferRole, offer_role};
use switchboard_dialects::{ALL, Dialect};

#[test]
fn generated_parts_of_the_dialects_page_are_up_to_date() {
    let page = root().join("docs/dialects.md");
    let current = fs::read_to_string(&page).expect("docs/dialects.md can be read");
    let mut expected = current.clone();
    for (mark, text) in [
        ("table", table()),
        ("calls", offerers()),
        ("words", translations()),
        ("pages", pages()),
    ] {
        expected = between_marks(&expected, mark, &text);
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&page, &expected).expect("the page can be written");
    } else {
        assert!(
            current == expected,
            "docs/dialects.md is out of date; UPDATE_DOCS=1 cargo test -p switchboard-dialects writes it anew"
        );
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The page with `text` in place of the text between a mark and its end.
fn between_marks(page: &str, mark: &str, text: &str) -> String {
    let begin = format!("<!-- made: {mark} -->\n");
    let (before, rest) = page.split_once(&begin).expect("the page has the mark");
    let (_, after) = rest
        .split_once("<!-- end -->")
        .expect("the mark has an end");
    format!("{before}{begin}{text}<!-- end -->{after}")
}

fn name(dialect: &dyn Dialect) -> String {
    format!("`{}`", dialect.traits().name)
}

fn row(cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<_> = cells.into_iter().collect();
    format!("| {} |\n", cells.join(" | "))
}

fn head(cells: &[String]) -> String {
    row(cells.to_vec()) + &row(cells.iter().map(|_| "---".to_owned()))
}

/// The table of dialects: paths, the side that sends the offer within the dialect, and the room limit.
fn table() -> String {
    let titles = [
        "dialect",
        "served under",
        "served with `listen` under",
        "sends the offer",
        "members of a room",
    ];
    let mut text = head(&titles.map(str::to_owned));
    for dialect in ALL {
        let traits = dialect.traits();
        let paths: Vec<_> = dialect
            .paths()
            .iter()
            .map(|path| format!("`{path}`"))
            .collect();
        let members_max = match (traits.members_max, traits.announces_presence) {
            (0, true) => "`limits.room_members`".to_owned(),
            (0, false) => "`limits.directory_members`".to_owned(),
            (members_max, _) => members_max.to_string(),
        };
        text += &row([
            name(*dialect),
            paths.join(", "),
            format!("`{}`", dialect.standalone_path()),
            offerer(offer_role(traits, traits)).to_owned(),
            members_max,
        ]);
    }
    text
}

fn offerer(role: OfferRole) -> &'static str {
    match role {
        OfferRole::Offerer => "the newcomer",
        OfferRole::Answerer => "the member",
        OfferRole::None => "either side",
    }
}

fn all_traits() -> impl Iterator<Item = &'static DialectTraits> {
    ALL.iter().map(|dialect| dialect.traits())
}

/// The table of offerers for each pair of dialects that carry descriptions.
fn offerers() -> String {
    let with_signals: Vec<_> = all_traits().filter(|traits| traits.signals).collect();
    let quoted = |traits: &&DialectTraits| format!("`{}`", traits.name);
    let titles: Vec<_> = std::iter::once("newcomer".to_owned())
        .chain(with_signals.iter().map(quoted))
        .collect();
    let mut text = head(&titles);
    for newcomer in &with_signals {
        let cells = with_signals
            .iter()
            .map(|member| offerer(offer_role(newcomer, member)).to_owned());
        text += &row(std::iter::once(quoted(newcomer)).chain(cells));
    }
    text
}

/// The table of contents that are translated to other dialects.
fn translations() -> String {
    let titles = [
        "dialect",
        "offers, answers, ICE candidates",
        "text messages",
        "gets presence",
    ];
    let mut text = head(&titles.map(str::to_owned));
    let yes = |it: bool| if it { "yes" } else { "no" }.to_owned();
    for traits in all_traits() {
        text += &row([
            format!("`{}`", traits.name),
            yes(traits.signals),
            yes(traits.messages),
            presence(traits).to_owned(),
        ]);
    }
    text
}

/// The presence information that a client gets: all members, only their number, or none.
fn presence(traits: &DialectTraits) -> &'static str {
    match (traits.announces_presence, traits.signals) {
        (true, true) => "yes",
        (true, false) => "only the number",
        (false, _) => "no",
    }
}

/// The module comment of each dialect as a section.
fn pages() -> String {
    let mut text = String::new();
    for dialect in ALL {
        let file = format!("src/{}.rs", dialect.traits().name.replace('-', "_"));
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
        let source =
            fs::read_to_string(path).expect("the file of a dialect has the dialect's name");
        // Writing into a string does not fail.
        let _ = write!(text, "\n## {}\n\n{}", name(*dialect), page_of(&source));
    }
    text
}

/// The module comment of a file, with its headings two levels further down.
fn page_of(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let lines: Vec<_> = lines
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    for part in [
        "# Conversation",
        "# Differences from the original server",
        "# Migration from the original server",
    ] {
        assert!(
            lines.contains(&part),
            "{part:?} is missing in {:?}",
            lines.first()
        );
    }
    let demoted = lines.iter().map(|line| match line.strip_prefix("# ") {
        Some(title) => format!("### {title}\n"),
        None => format!("{line}\n"),
    });
    demoted.collect()
}
