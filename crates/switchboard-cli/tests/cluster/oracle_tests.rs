//! Tests of the oracle with constructed records.

use std::time::{Duration, Instant};

use crate::{
    connection_end::NO_ANSWER,
    dialects::ClientDialect::{self, Lightstream, Mesh, P2p, Singo},
    history::permanent_violations,
    oracle::{lost_signals, temporary_violations},
    record::{LogEntry, MembershipRecord, QuiescentPeriod, Record, RecordedEvent, RecordedSignal},
};

/// Builds a record with times in seconds.
struct RecordBuilder {
    record: Record,
    start: Instant,
}

/// A time in seconds since the start of the record.
type Second = u32;

impl RecordBuilder {
    /// Members of one room with these dialects, which joined one second apart and have received no event.
    fn with(dialects_by_name: &[(&str, ClientDialect)]) -> Self {
        let mut builder = Self {
            record: Record::default(),
            start: Instant::now(),
        };
        for (number, (name, dialect)) in (0..).zip(dialects_by_name) {
            builder.join(number, name, *dialect);
        }
        builder
    }

    fn join(&mut self, second: Second, name: &str, dialect: ClientDialect) {
        let at = self.at(second);
        self.record.memberships.push(MembershipRecord {
            client: self.record.clients,
            dialect,
            room: 0,
            node: String::new(),
            own_name: Some(name.into()),
            requested_at: at,
            joined_at: Some(at),
            ended_at: None,
            end_reason: "",
            events: Vec::new(),
        });
        self.record.clients += 1;
    }

    fn at(&self, second: Second) -> Instant {
        self.start + Duration::from_secs(second.into())
    }

    /// Adds an event that the membership of this index received. The methods below add the event of their name.
    fn observe(&mut self, index: usize, second: Second, event: RecordedEvent) -> &mut Self {
        let at = self.at(second);
        self.record.memberships[index]
            .events
            .push(LogEntry { at, event });
        self
    }

    fn must_offer(&mut self, index: usize, second: Second, name: &str) -> &mut Self {
        self.observe(index, second, RecordedEvent::MustOffer(name.into()))
    }

    fn joined(&mut self, index: usize, second: Second, name: &str) -> &mut Self {
        self.observe(index, second, RecordedEvent::Joined(name.into()))
    }

    fn member_left(&mut self, index: usize, second: Second, name: &str) -> &mut Self {
        self.observe(index, second, RecordedEvent::Left(name.into()))
    }

    fn received(&mut self, index: usize, second: Second, from: &str, serial: usize) -> &mut Self {
        let from = from.into();
        self.observe(index, second, RecordedEvent::Signal { from, serial })
    }

    fn member_list(&mut self, index: usize, second: Second, names: &[&str]) -> &mut Self {
        let names = names.iter().map(|name| (*name).into());
        self.observe(index, second, RecordedEvent::MemberList(names.collect()))
    }

    fn send(&mut self, from: usize, second: Second, to: &str) -> &mut Self {
        let at = self.at(second);
        let to = to.into();
        self.record.signals.push(RecordedSignal { from, to, at });
        self
    }

    fn end(&mut self, index: usize, second: Second, end_reason: &'static str) -> &mut Self {
        self.record.memberships[index].ended_at = Some(self.at(second));
        self.record.memberships[index].end_reason = end_reason;
        // From now on the oracle does not expect every client to be in a room.
        self.record.clients = 0;
        self
    }

    /// A quiescent period that covers the whole record.
    fn quiescent(&self) -> [QuiescentPeriod; 1] {
        [QuiescentPeriod {
            from: self.start,
            until: None,
        }]
    }

    /// The first violation that the oracle finds.
    fn first_violation(&self) -> Option<String> {
        let quiescent = self.quiescent();
        let mut violations = permanent_violations(&self.record, &quiescent);
        violations.extend(temporary_violations(&self.record, &quiescent));
        violations.extend(lost_signals(&self.record, &quiescent));
        violations.first().map(ToString::to_string)
    }

    #[track_caller]
    fn assert_no_violation(&self) {
        assert_eq!(self.first_violation(), None);
    }

    #[track_caller]
    fn assert_violation(&self, text: &str) {
        let first_violation = self.first_violation().expect("a violation");
        assert!(first_violation.contains(text), "{first_violation}");
    }
}

/// Two members that were introduced to each other, and one that has requested the member list.
fn three_members() -> RecordBuilder {
    let mut builder = RecordBuilder::with(&[("light-0", Lightstream), ("p", P2p), ("m", Mesh)]);
    builder.must_offer(1, 1, "light-0").joined(0, 1, "p");
    builder
        .joined(0, 2, "m")
        .must_offer(0, 2, "m")
        .joined(1, 2, "m");
    builder
        .must_offer(1, 2, "m")
        .member_list(2, 3, &["light-0", "p"]);
    builder
}

#[test]
fn a_correct_record_has_no_violation() {
    let mut builder = three_members();
    builder.assert_no_violation();
    builder.send(0, 4, "p").received(1, 4, "light-0", 0);
    builder.assert_no_violation();
    builder
        .end(2, 5, "left")
        .member_left(0, 5, "m")
        .member_left(1, 5, "m");
    builder.assert_no_violation();
}

#[test]
fn a_member_that_rejoined_gets_another_offer() {
    let mut builder = three_members();
    builder
        .member_left(0, 5, "p")
        .joined(0, 6, "p")
        .member_left(1, 6, "light-0");
    builder.assert_violation("not [\"light-0\"], which are");
    builder.must_offer(1, 6, "light-0");
    builder.assert_no_violation();
}

#[test]
fn oracle_detects_inconsistent_views() {
    let mut stale = three_members();
    stale.end(2, 5, "died").member_left(0, 5, "m");
    stale.assert_violation("client 1 observes [\"m\"], which are not members");
    let mut unknown = three_members();
    unknown.join(4, "s", Singo);
    unknown.assert_violation("not [\"s\"], which are");
    let mut member_list = three_members();
    member_list.member_list(2, 5, &["light-0"]);
    member_list.assert_violation("not [\"p\"], which are");
    let mut without_room = three_members();
    without_room.record.clients += 1;
    without_room.assert_violation("client 3 is in no room");
    let mut received = RecordBuilder::with(&[("s", Singo), ("light-1", Lightstream)]);
    received
        .must_offer(1, 1, "s")
        .send(1, 2, "s")
        .received(0, 2, "light-1", 0);
    received.assert_no_violation();
    received.end(1, 3, "died");
    received.assert_violation("client 0 observes [\"light-1\"]");
}

#[test]
fn oracle_detects_violated_offer_policies() {
    let mut both = RecordBuilder::with(&[("light-0", Lightstream), ("light-1", Lightstream)]);
    both.must_offer(1, 1, "light-0").must_offer(0, 1, "light-1");
    both.assert_violation("must both offer");
    let mut neither = RecordBuilder::with(&[("light-0", Lightstream), ("light-1", Lightstream)]);
    neither.joined(1, 1, "light-0").joined(0, 1, "light-1");
    neither.assert_violation("neither 0 nor 1 must offer");
    let mut singo = RecordBuilder::with(&[("s", Singo), ("t", Singo), ("u", Singo)]);
    singo
        .must_offer(0, 1, "t")
        .must_offer(0, 2, "u")
        .must_offer(1, 2, "u");
    singo.assert_no_violation();
    let mut newcomer = RecordBuilder::with(&[("s", Singo), ("t", Singo), ("u", Singo)]);
    newcomer
        .must_offer(0, 1, "t")
        .must_offer(0, 2, "u")
        .must_offer(2, 2, "t");
    newcomer.assert_violation("the offer policy is violated");
    let mut never = RecordBuilder::with(&[("m", Mesh), ("n", Mesh)]);
    never.member_list(0, 2, &["n"]).member_list(1, 2, &["m"]);
    never.assert_no_violation();
    never.must_offer(0, 2, "n");
    never.assert_violation("has no such request");
    let mut mesh = RecordBuilder::with(&[("m", Mesh), ("s", Singo)]);
    mesh.member_list(0, 2, &["s"]).must_offer(0, 1, "s");
    mesh.assert_violation("expected the opposite");
}

#[test]
fn oracle_detects_duplicate_introductions_and_offers() {
    let mut offers = three_members();
    offers.must_offer(1, 4, "light-0");
    offers.assert_violation("must offer 2 times to light-0");
    let mut joins = three_members();
    joins.joined(0, 4, "p");
    joins.assert_violation("a join of p, a member for");
    let mut late = three_members();
    late.must_offer(0, 4, "p");
    late.assert_violation("joined later and must offer");
    let mut leaves = three_members();
    leaves.member_left(0, 4, "x");
    leaves.assert_violation("a leave of x without a join");
    let mut member_list = three_members();
    member_list.member_list(2, 4, &["p", "light-0", "p"]);
    member_list.assert_violation("received duplicate names");
}

#[test]
fn oracle_detects_signals_without_a_valid_sender() {
    let mut unknown_sender = three_members();
    unknown_sender.join(4, "q", P2p);
    unknown_sender.send(3, 5, "light-0").received(0, 5, "q", 0);
    unknown_sender.assert_violation("a signal of q without an introduction");
    let mut after_leave = three_members();
    after_leave
        .send(1, 4, "m")
        .end(1, 4, "left")
        .member_left(2, 5, "p");
    after_leave.received(2, 6, "p", 0).member_left(0, 5, "p");
    after_leave.assert_violation("after its leave");
    let mut wrong_sender = three_members();
    wrong_sender.send(1, 4, "light-0").received(0, 4, "m", 0);
    wrong_sender.assert_violation("with the sender m");
    let mut other = three_members();
    other.send(1, 4, "m").received(0, 4, "p", 0);
    other.assert_violation("which was for m");
    let mut unsent = three_members();
    unsent.received(0, 4, "p", 7);
    unsent.assert_violation("which was not sent");
}

#[test]
fn oracle_detects_lost_duplicated_and_reordered_signals() {
    let mut duplicate = three_members();
    duplicate
        .send(0, 4, "p")
        .received(1, 4, "light-0", 0)
        .received(1, 4, "light-0", 0);
    duplicate.assert_violation("received signal 0 after 0");
    let mut reordered = three_members();
    reordered.send(0, 4, "p").send(0, 4, "p");
    reordered
        .received(1, 4, "light-0", 1)
        .received(1, 4, "light-0", 0);
    reordered.assert_violation("received signal 0 after 1");
    let mut lost = three_members();
    lost.send(0, 4, "p").send(0, 4, "p");
    lost.assert_violation("signal 0 of client 0 to client 1 was neither delivered nor rejected");
    lost.observe(0, 5, RecordedEvent::Error("no-such-peer".to_owned()));
    lost.assert_violation("signal 1 of client 0");
    lost.observe(0, 5, RecordedEvent::Error("no-such-peer".to_owned()));
    lost.assert_no_violation();
    let mut sender = three_members();
    sender
        .send(0, 4, "p")
        .end(1, 4, "died")
        .member_left(0, 5, "p")
        .member_list(2, 5, &["light-0"]);
    sender.assert_no_violation();
}

#[test]
fn signals_outside_of_quiescent_periods_may_be_lost() {
    let mut builder = three_members();
    builder.send(0, 6, "p");
    let quiescent = |until| {
        [QuiescentPeriod {
            from: builder.start,
            until: Some(builder.at(until)),
        }]
    };
    assert_eq!(lost_signals(&builder.record, &quiescent(9)).len(), 1);
    assert_eq!(lost_signals(&builder.record, &quiescent(6)), []);
}

#[test]
fn oracle_detects_different_orders_of_changes() {
    let mut builder = RecordBuilder::with(&[("light-0", Lightstream), ("light-1", Lightstream)]);
    builder.must_offer(1, 1, "light-0").joined(0, 1, "light-1");
    for (name, dialect) in [("p", P2p), ("q", P2p)] {
        builder.join(2, name, dialect);
    }
    builder
        .must_offer(2, 2, "light-0")
        .must_offer(2, 2, "light-1")
        .must_offer(3, 2, "light-0")
        .must_offer(3, 2, "light-1");
    builder
        .must_offer(3, 2, "p")
        .joined(2, 2, "q")
        .joined(0, 2, "p")
        .joined(0, 2, "q");
    let mut reordered = RecordBuilder {
        record: Record {
            memberships: builder.record.memberships.clone(),
            ..Record::default()
        },
        start: builder.start,
    };
    builder.joined(1, 2, "p").joined(1, 2, "q");
    builder.assert_no_violation();
    reordered.joined(1, 2, "q").joined(1, 2, "p");
    reordered.assert_violation("observe different orders");
}

#[test]
fn oracle_detects_unanswered_joins_and_lost_memberships() {
    let mut frozen = three_members();
    frozen.join(4, "q", P2p);
    frozen.record.memberships[3].joined_at = None;
    frozen.end(3, 12, NO_ANSWER);
    frozen.assert_violation("was not answered");
    let mut out = three_members();
    out.observe(0, 4, RecordedEvent::Error("evicted".to_owned()));
    out.assert_violation("lost its membership");
}
