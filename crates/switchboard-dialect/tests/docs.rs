//! `docs/dialects.md` is what the dialects say of themselves. `UPDATE_DOCS=1 cargo test -p
//! switchboard-dialect` writes it anew.

use std::{fmt::Write as _, fs, path::PathBuf};

use switchboard_core::{DialectTraits, OfferRole, offer_role};
use switchboard_dialect::{ALL, Dialect};

#[test]
fn the_page_of_the_dialects_is_what_they_say() {
    let page = root().join("docs/dialects.md");
    let is = fs::read_to_string(&page).expect("the page is there");
    let mut should_be = is.clone();
    for (mark, text) in [
        ("table", table()),
        ("calls", calls()),
        ("words", translated()),
        ("pages", pages()),
    ] {
        should_be = between_marks(&should_be, mark, &text);
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&page, &should_be).expect("the page can be written");
    } else {
        assert!(
            is == should_be,
            "UPDATE_DOCS=1 cargo test -p switchboard-dialect"
        );
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn between_marks(page: &str, mark: &str, text: &str) -> String {
    let begin = format!("<!-- made: {mark} -->\n");
    let (before, rest) = page.split_once(&begin).expect("the mark is there");
    let (_, after) = rest.split_once("<!-- end -->").expect("and its end");
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

/// Where each is met, and who calls among its own.
fn table() -> String {
    let titles = [
        "dialect",
        "served under",
        "alone, by `listen`, under",
        "calls among its own",
        "members of a room",
    ];
    let mut text = head(&titles.map(str::to_owned));
    for dialect in ALL {
        let tongue = dialect.traits();
        let paths: Vec<_> = dialect
            .paths()
            .iter()
            .map(|path| format!("`{path}`"))
            .collect();
        let most = match (tongue.members_max, tongue.announces_presence) {
            (0, true) => "`limits.room_members`".to_owned(),
            (0, false) => "`limits.directory_members`".to_owned(),
            (most, _) => most.to_string(),
        };
        text += &row([
            name(*dialect),
            paths.join(", "),
            format!("`{}`", dialect.standalone_path()),
            who(offer_role(tongue, tongue)).to_owned(),
            most,
        ]);
    }
    text
}

fn who(call: OfferRole) -> &'static str {
    match call {
        OfferRole::Offerer => "the newcomer",
        OfferRole::Answerer => "the member",
        OfferRole::None => "who wants to",
    }
}

fn tongues() -> impl Iterator<Item = &'static DialectTraits> {
    ALL.iter().map(|dialect| dialect.traits())
}

/// Who calls whom, of those that carry descriptions.
fn calls() -> String {
    let speaking: Vec<_> = tongues().filter(|tongue| tongue.signals).collect();
    let quoted = |tongue: &&DialectTraits| format!("`{}`", tongue.name);
    let titles: Vec<_> = std::iter::once("comes".to_owned())
        .chain(speaking.iter().map(quoted))
        .collect();
    let mut text = head(&titles);
    for newcomer in &speaking {
        let cells = speaking
            .iter()
            .map(|member| who(offer_role(newcomer, member)).to_owned());
        text += &row(std::iter::once(quoted(newcomer)).chain(cells));
    }
    text
}

/// What of a dialect others can be told.
fn translated() -> String {
    let titles = [
        "dialect",
        "offers, answers, ICE candidates",
        "text for people",
        "told who is there",
    ];
    let mut text = head(&titles.map(str::to_owned));
    let yes = |it: bool| if it { "yes" } else { "no" }.to_owned();
    for tongue in tongues() {
        text += &row([
            format!("`{}`", tongue.name),
            yes(tongue.signals),
            yes(tongue.messages),
            of_others(tongue).to_owned(),
        ]);
    }
    text
}

/// What a client is told of the others: who has no words for one of them can only count.
fn of_others(tongue: &DialectTraits) -> &'static str {
    match (tongue.announces_presence, tongue.signals) {
        (true, true) => "yes",
        (true, false) => "how many",
        (false, _) => "no",
    }
}

/// What each file says of its dialect.
fn pages() -> String {
    let mut text = String::new();
    for dialect in ALL {
        let file = format!("src/{}.rs", dialect.traits().name.replace('-', "_"));
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
        let source = fs::read_to_string(path).expect("a dialect's file bears its name");
        // Writing into a string does not fail.
        let _ = write!(text, "\n## {}\n\n{}", name(*dialect), page_of(&source));
    }
    text
}

/// The text that a file opens with, its headings two levels further down.
fn page_of(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let lines: Vec<_> = lines
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    for part in ["# Conversation", "# Better", "# Switch"] {
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
