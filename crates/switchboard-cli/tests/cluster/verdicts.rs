//! The judge, tried with logs that were made up.

use std::time::{Duration, Instant};

use crate::{
    dialects::ClientDialect::{self, Lightstream, Mesh, P2p, Singo},
    end::NO_ANSWER,
    history::wrongs,
    oracle::{undelivered, unsettled},
    record::{LogEntry, ObservedEvent, QuiescentPeriod, Record, RoomStay, Signal},
};

/// A record that is written second by second.
struct RecordBuilder {
    record: Record,
    start: Instant,
}

/// A moment of these tests.
type Second = u32;

impl RecordBuilder {
    /// Members of one room in the order of their joins, a second apart, by their dialects. Nobody has been
    /// told anything yet.
    fn with(tongues: &[(&str, ClientDialect)]) -> Self {
        let mut scribe = Self {
            record: Record::default(),
            start: Instant::now(),
        };
        for (number, (name, tongue)) in (0..).zip(tongues) {
            scribe.come(number, name, *tongue);
        }
        scribe
    }

    fn come(&mut self, second: Second, name: &str, tongue: ClientDialect) {
        let at = self.at(second);
        self.record.stays.push(RoomStay {
            client: self.record.players,
            tongue,
            room: 0,
            node: String::new(),
            me: Some(name.into()),
            asked: at,
            entered: Some(at),
            ended: None,
            why: "",
            noted: Vec::new(),
        });
        self.record.players += 1;
    }

    fn at(&self, second: Second) -> Instant {
        self.start + Duration::from_secs(second.into())
    }

    fn told(&mut self, who: usize, second: Second, what: ObservedEvent) -> &mut Self {
        let at = self.at(second);
        self.record.stays[who].noted.push(LogEntry { at, what });
        self
    }

    fn call(&mut self, who: usize, second: Second, name: &str) -> &mut Self {
        self.told(who, second, ObservedEvent::Call(name.into()))
    }

    fn came(&mut self, who: usize, second: Second, name: &str) -> &mut Self {
        self.told(who, second, ObservedEvent::Came(name.into()))
    }

    fn left(&mut self, who: usize, second: Second, name: &str) -> &mut Self {
        self.told(who, second, ObservedEvent::Left(name.into()))
    }

    fn heard(&mut self, who: usize, second: Second, from: &str, serial: usize) -> &mut Self {
        let from = from.into();
        self.told(who, second, ObservedEvent::Heard { from, serial })
    }

    fn list(&mut self, who: usize, second: Second, names: &[&str]) -> &mut Self {
        let names = names.iter().map(|name| (*name).into());
        self.told(who, second, ObservedEvent::List(names.collect()))
    }

    fn sent(&mut self, from: usize, second: Second, to: &str) -> &mut Self {
        let at = self.at(second);
        let to = to.into();
        self.record.signals.push(Signal { from, to, at });
        self
    }

    fn end(&mut self, who: usize, second: Second, why: &'static str) -> &mut Self {
        self.record.stays[who].ended = Some(self.at(second));
        self.record.stays[who].why = why;
        self.record.players = 0;
        self
    }

    /// All of it was calm.
    fn calm(&self) -> [QuiescentPeriod; 1] {
        [QuiescentPeriod {
            from: self.start,
            until: None,
        }]
    }

    /// The first fault that the judge finds.
    fn verdict(&self) -> Option<String> {
        let calm = self.calm();
        let mut faults = wrongs(&self.record, &calm);
        faults.extend(unsettled(&self.record, &calm));
        faults.extend(undelivered(&self.record, &calm));
        faults.first().map(ToString::to_string)
    }

    #[track_caller]
    fn must_be_fine(&self) {
        assert_eq!(self.verdict(), None);
    }

    #[track_caller]
    fn must_give(&self, words: &str) {
        let verdict = self.verdict().expect("a fault");
        assert!(verdict.contains(words), "{verdict}");
    }
}

/// Two who were introduced as they should be, and one who knows both by asking.
fn three() -> RecordBuilder {
    let mut scribe = RecordBuilder::with(&[("light-0", Lightstream), ("p", P2p), ("m", Mesh)]);
    scribe.call(1, 1, "light-0").came(0, 1, "p");
    scribe.came(0, 2, "m").call(0, 2, "m").came(1, 2, "m");
    scribe.call(1, 2, "m").list(2, 3, &["light-0", "p"]);
    scribe
}

#[test]
fn what_is_as_it_should_be_gives_no_fault() {
    let mut scribe = three();
    scribe.must_be_fine();
    scribe.sent(0, 4, "p").heard(1, 4, "light-0", 0);
    scribe.must_be_fine();
    scribe.end(2, 5, "left").left(0, 5, "m").left(1, 5, "m");
    scribe.must_be_fine();
}

#[test]
fn members_who_left_and_came_again_may_be_called_again() {
    let mut scribe = three();
    scribe.left(0, 5, "p").came(0, 6, "p").left(1, 6, "light-0");
    scribe.must_give("not [\"light-0\"] who are");
    scribe.call(1, 6, "light-0");
    scribe.must_be_fine();
}

#[test]
fn a_view_must_be_the_truth() {
    let mut ghost = three();
    ghost.end(2, 5, "died").left(0, 5, "m");
    ghost.must_give("client 1 sees [\"m\"] who are not there");
    let mut unknown = three();
    unknown.come(4, "s", Singo);
    unknown.must_give("not [\"s\"] who are");
    let mut list = three();
    list.list(2, 5, &["light-0"]);
    list.must_give("not [\"p\"] who are");
    let mut outside = three();
    outside.record.players += 1;
    outside.must_give("client 3 is in no room");
    let mut heard = RecordBuilder::with(&[("s", Singo), ("light-1", Lightstream)]);
    heard
        .call(1, 1, "s")
        .sent(1, 2, "s")
        .heard(0, 2, "light-1", 0);
    heard.must_be_fine();
    heard.end(1, 3, "died");
    heard.must_give("client 0 sees [\"light-1\"]");
}

#[test]
fn of_two_one_is_told_to_call_by_the_custom() {
    let mut both = RecordBuilder::with(&[("light-0", Lightstream), ("light-1", Lightstream)]);
    both.call(1, 1, "light-0").call(0, 1, "light-1");
    both.must_give("are both told to call");
    let mut neither = RecordBuilder::with(&[("light-0", Lightstream), ("light-1", Lightstream)]);
    neither.came(1, 1, "light-0").came(0, 1, "light-1");
    neither.must_give("neither 0 nor 1 is told to call");
    let mut singo = RecordBuilder::with(&[("s", Singo), ("t", Singo), ("u", Singo)]);
    singo.call(0, 1, "t").call(0, 2, "u").call(1, 2, "u");
    singo.must_be_fine();
    let mut newcomer = RecordBuilder::with(&[("s", Singo), ("t", Singo), ("u", Singo)]);
    newcomer.call(0, 1, "t").call(0, 2, "u").call(2, 2, "t");
    newcomer.must_give("it is not the custom");
    let mut never = RecordBuilder::with(&[("m", Mesh), ("n", Mesh)]);
    never.list(0, 2, &["n"]).list(1, 2, &["m"]);
    never.must_be_fine();
    never.call(0, 2, "n");
    never.must_give("who are never told");
    let mut mesh = RecordBuilder::with(&[("m", Mesh), ("s", Singo)]);
    mesh.list(0, 2, &["s"]).call(0, 1, "s");
    mesh.must_give("should be the other way");
}

#[test]
fn nobody_is_introduced_or_told_to_call_twice() {
    let mut calls = three();
    calls.call(1, 4, "light-0");
    calls.must_give("is told 2 times to call light-0");
    let mut comes = three();
    comes.came(0, 4, "p");
    comes.must_give("sees p come, who has been there");
    let mut late = three();
    late.call(0, 4, "p");
    late.must_give("who came later and can be told to");
    let mut leaves = three();
    leaves.left(0, 4, "x");
    leaves.must_give("sees x leave, and did not know it");
    let mut list = three();
    list.list(2, 4, &["p", "light-0", "p"]);
    list.must_give("sees somebody twice");
}

#[test]
fn nobody_is_heard_who_is_not_there() {
    let mut stranger = three();
    stranger.come(4, "q", P2p);
    stranger.sent(3, 5, "light-0").heard(0, 5, "q", 0);
    stranger.must_give("hears q, whom it does not know");
    let mut gone = three();
    gone.sent(1, 4, "m").end(1, 4, "left").left(2, 5, "p");
    gone.heard(2, 6, "p", 0).left(0, 5, "p");
    gone.must_give("after it has left");
    let mut mask = three();
    mask.sent(1, 4, "light-0").heard(0, 4, "m", 0);
    mask.must_give("in the name of m");
    let mut other = three();
    other.sent(1, 4, "m").heard(0, 4, "p", 0);
    other.must_give("which was for m");
    let mut nobody = three();
    nobody.heard(0, 4, "p", 7);
    nobody.must_give("which nobody has sent");
}

#[test]
fn signals_come_once_in_order_or_are_refused() {
    let mut echo = three();
    echo.sent(0, 4, "p")
        .heard(1, 4, "light-0", 0)
        .heard(1, 4, "light-0", 0);
    echo.must_give("hears signal 0 after 0");
    let mut turned = three();
    turned.sent(0, 4, "p").sent(0, 4, "p");
    turned.heard(1, 4, "light-0", 1).heard(1, 4, "light-0", 0);
    turned.must_give("hears signal 0 after 1");
    let mut lost = three();
    lost.sent(0, 4, "p").sent(0, 4, "p");
    lost.must_give("signal 0 of client 0 to client 1 neither arrived nor was refused");
    lost.told(0, 5, ObservedEvent::Error("no-such-peer".to_owned()));
    lost.must_give("signal 1 of client 0");
    lost.told(0, 5, ObservedEvent::Error("no-such-peer".to_owned()));
    lost.must_be_fine();
    let mut parting = three();
    parting
        .sent(0, 4, "p")
        .end(1, 4, "died")
        .left(0, 5, "p")
        .list(2, 5, &["light-0"]);
    parting.must_be_fine();
}

#[test]
fn what_is_sent_while_something_is_disturbed_may_be_lost() {
    let mut scribe = three();
    scribe.sent(0, 6, "p");
    let calm = |until| {
        [QuiescentPeriod {
            from: scribe.start,
            until: Some(scribe.at(until)),
        }]
    };
    assert_eq!(undelivered(&scribe.record, &calm(9)).len(), 1);
    assert_eq!(undelivered(&scribe.record, &calm(6)), []);
}

#[test]
fn all_see_one_order() {
    let mut scribe = RecordBuilder::with(&[("light-0", Lightstream), ("light-1", Lightstream)]);
    scribe.call(1, 1, "light-0").came(0, 1, "light-1");
    for (name, tongue) in [("p", P2p), ("q", P2p)] {
        scribe.come(2, name, tongue);
    }
    scribe
        .call(2, 2, "light-0")
        .call(2, 2, "light-1")
        .call(3, 2, "light-0")
        .call(3, 2, "light-1");
    scribe
        .call(3, 2, "p")
        .came(2, 2, "q")
        .came(0, 2, "p")
        .came(0, 2, "q");
    let mut turned = RecordBuilder {
        record: Record {
            stays: scribe.record.stays.clone(),
            ..Record::default()
        },
        start: scribe.start,
    };
    scribe.came(1, 2, "p").came(1, 2, "q");
    scribe.must_be_fine();
    turned.came(1, 2, "q").came(1, 2, "p");
    turned.must_give("two see another order");
}

#[test]
fn who_asks_has_an_answer_and_who_is_in_stays_in() {
    let mut silent = three();
    silent.come(4, "q", P2p);
    silent.record.stays[3].entered = None;
    silent.end(3, 12, NO_ANSWER);
    silent.must_give("had no answer");
    let mut out = three();
    out.told(0, 4, ObservedEvent::Error("evicted".to_owned()));
    out.must_give("lost its place");
}
