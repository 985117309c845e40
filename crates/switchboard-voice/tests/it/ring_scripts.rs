//! The rules of ringing, up to the accept, one script ([`crate::script`]) for each.

use std::time::Instant;

use switchboard_voice::{CallError, CallLimits, Calls, RingOrigin};

use crate::{
    call_script::check,
    script::{epoch, seconds, user},
};

#[test]
fn the_four_steps_are_relayed_one_by_one() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob answers ann s1 c2
            ann: bob answered s1, sign c2
        ann confirms bob s2 c3
            bob: ann confirmed s2, sign c3
        bob accepts ann s3
            call 1
            ann: bob accepted s3
        ",
    );
}

#[test]
fn each_user_signs_the_challenge_relayed_to_it() {
    check(
        "
        bob signs-to-accept ann
            nothing
        ann rings bob c1
            bob: ann rings, sign c1
        bob signs-to-accept ann
            c1
        ann signs-to-confirm bob
            nothing
        bob answers ann s1 c2
            ann: bob answered s1, sign c2
        bob signs-to-accept ann
            nothing
        bob signs-to-answer ann
            c1
        ann signs-to-confirm bob
            c2
        ann confirms bob s2 c3
            bob: ann confirmed s2, sign c3
        bob signs-to-accept ann
            c3
        ann signs-to-confirm bob
            c2
        bob rejects ann s3
            ann: bob declined s3
        bob signs-to-accept ann
            nothing
        ann signs-to-confirm bob
            nothing
        ",
    );
}

#[test]
fn a_ring_may_be_accepted_at_once() {
    check(
        "
        1 rings 2 -
            2: 1 rings, sign -
        2 accepts 1 -
            call 1
            1: 2 accepted -
        ",
    );
}

#[test]
fn a_ring_may_be_rejected_at_once() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob rejects ann s1
            ann: bob declined s1
        bob rejects ann s1
            refused: NoSuchCall
        bob accepts ann s1
            refused: NoSuchCall
        wait 1000
        ",
    );
}

#[test]
fn only_the_callee_accepts_or_rejects_a_call() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        ann accepts bob s1
            refused: NoSuchCall
        ann rejects bob s1
            refused: NoSuchCall
        ann answers bob s1 c2
            refused: NoSuchCall
        cid accepts ann s1
            refused: NoSuchCall
        cid hangs-up ann
            refused: NoSuchCall
        ",
    );
}

#[test]
fn a_confirmation_needs_an_answer() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        ann confirms bob s2 c3
            refused: NoSuchCall
        bob answers ann s1 c2
            ann: bob answered s1, sign c2
        bob confirms ann s2 c3
            refused: NoSuchCall
        ann confirms bob s2 c3
            bob: ann confirmed s2, sign c3
        ",
    );
}

#[test]
fn a_repeated_ring_replaces_the_earlier_one_and_its_challenges() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob answers ann s1 c2
            ann: bob answered s1, sign c2
        wait 50
        ann rings bob c4
            bob: ann rings, sign c4
        bob signs-to-accept ann
            c4
        ann signs-to-confirm bob
            nothing
        ann confirms bob s2 c3
            refused: NoSuchCall
        wait 59
        wait 1
            ann: bob declined
            bob: ann declined
        ",
    );
}

#[test]
fn a_user_cannot_call_itself() {
    check(
        "
        ann rings ann c1
            refused: SelfCall
        ann answers ann s1 c2
            refused: NoSuchCall
        ann confirms ann s1 c2
            refused: NoSuchCall
        ann accepts ann s1
            refused: NoSuchCall
        ann rejects ann s1
            refused: NoSuchCall
        ann hangs-up ann
            refused: NoSuchCall
        ann mic+ ann
            refused: NoSuchCall
        ",
    );
}

#[test]
fn an_unanswered_ring_expires_for_both_users() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob answers ann s1 c2
            ann: bob answered s1, sign c2
        ann confirms bob s2 c3
            bob: ann confirmed s2, sign c3
        wait 59.999
        wait 0.001
            ann: bob declined
            bob: ann declined
        bob accepts ann s3
            refused: NoSuchCall
        bob signs-to-accept ann
            nothing
        ",
    );
}

#[test]
fn an_accept_after_the_ring_time_is_rejected_even_if_the_timer_has_not_fired() {
    let mut calls = Calls::new(CallLimits::default());
    let (ann, bob, now) = (user("ann"), user("bob"), epoch());
    assert_eq!(
        calls.ring(&ann, &bob, "c1".into(), RingOrigin::UNKNOWN, now),
        Ok(())
    );
    let late = now + seconds("60");
    assert_eq!(calls.poll_timeout(), Some(late));
    let accepted = calls.accept(&bob, &ann, "s1".into(), late);
    assert_eq!(accepted, Err(CallError::NoSuchCall));
    assert_eq!(calls.poll_timeout(), None);
}

#[test]
fn a_repeated_accept_sends_the_event_again_and_changes_nothing() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        bob signs-to-accept ann
            c1
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        wait 20
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        wait 10
            call 1 ended
        bob accepts ann s1
            refused: NoSuchCall
        bob signs-to-accept ann
            nothing
        ",
    );
}

#[test]
fn the_caller_has_no_accept_to_replay() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        ann accepts bob s1
            refused: NoSuchCall
        ann signs-to-confirm bob
            nothing
        ",
    );
}

#[test]
fn the_challenges_of_a_ring_end_with_the_accept() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob answers ann s1 c2
            ann: bob answered s1, sign c2
        ann confirms bob s2 c3
            bob: ann confirmed s2, sign c3
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        bob answers ann s1 c2
            refused: NoSuchCall
        ann confirms bob s2 c3
            refused: NoSuchCall
        bob rejects ann s1
            refused: NoSuchCall
        ann signs-to-confirm bob
            nothing
        bob mic+ ann
            call 1
            ann: bob has mic+ headphones-
        wait 1000
        ",
    );
}

#[test]
fn when_both_ring_the_first_accept_makes_the_one_call() {
    check(
        "
        ann rings bob a1
            bob: ann rings, sign a1
        bob rings ann b1
            ann: bob rings, sign b1
        ann accepts bob s1
            call 1
            bob: ann accepted s1
        ann rejects bob s1
            refused: NoSuchCall
        bob rejects ann s1
            refused: NoSuchCall
        bob mic+ ann
            call 1
            ann: bob has mic+ headphones-
        ann mic+ bob
            call 1
            bob: ann has mic+ headphones-
        wait 1000
        ",
    );
}

#[test]
fn when_both_ring_both_may_accept() {
    check(
        "
        ann rings bob a1
            bob: ann rings, sign a1
        bob rings ann b1
            ann: bob rings, sign b1
        ann accepts bob s1
            call 1
            bob: ann accepted s1
        bob signs-to-accept ann
            a1
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        ann signs-to-accept bob
            b1
        ann accepts bob s1
            call 1
            bob: ann accepted s1
        ",
    );
}

#[test]
fn when_both_ring_each_ring_has_its_own_challenges() {
    check(
        "
        ann rings bob a1
            bob: ann rings, sign a1
        bob rings ann b1
            ann: bob rings, sign b1
        bob answers ann s a2
            ann: bob answered s, sign a2
        ann signs-to-accept bob
            b1
        ann signs-to-confirm bob
            a2
        ann answers bob s b2
            bob: ann answered s, sign b2
        bob signs-to-accept ann
            nothing
        bob signs-to-confirm ann
            b2
        ann confirms bob s a3
            bob: ann confirmed s, sign a3
        bob signs-to-accept ann
            a3
        ann signs-to-accept bob
            nothing
        ",
    );
}

#[test]
fn when_both_ring_one_ring_may_be_rejected_and_the_other_continues() {
    check(
        "
        ann rings bob a1
            bob: ann rings, sign a1
        wait 10
        bob rings ann b1
            ann: bob rings, sign b1
        bob rejects ann s1
            ann: bob declined s1
        wait 50
        ann accepts bob s2
            call 1
            bob: ann accepted s2
        ",
    );
}

#[test]
fn a_call_exists_in_both_directions() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        bob rings ann d1
            ann: bob rings, sign d1
        ann accepts bob t1
            call 1
            bob: ann accepted t1
        ann headphones+ bob
            call 1
            bob: ann has mic- headphones+
        bob mic+ ann
            call 1
            ann: bob has mic+ headphones-
        ",
    );
}

#[test]
fn the_signature_of_an_answer_neither_accepts_nor_rejects() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob answers ann s1 c2
            ann: bob answered s1, sign c2
        bob accepts ann s1
            refused: NotConfirmed
        bob rejects ann s1
            refused: NotConfirmed
        ann confirms bob s2 c1
            refused: ChallengeInUse
        bob accepts ann s1
            refused: NotConfirmed
        ann confirms bob s2 c3
            bob: ann confirmed s2, sign c3
        bob accepts ann s3
            call 1
            ann: bob accepted s3
        ",
    );
}

#[test]
fn the_challenge_of_a_ring_cannot_be_forwarded_to_another_user() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        eve rings bob c1
            refused: ChallengeInUse
        bob signs-to-accept eve
            nothing
        ann rings bob c1
            bob: ann rings, sign c1
        ann rings cid c1
            cid: ann rings, sign c1
        eve rings ann c1
            ann: eve rings, sign c1
        bob rejects ann s1
            ann: bob declined s1
        eve rings bob c1
            bob: eve rings, sign c1
        ",
    );
}

#[test]
fn the_challenge_of_an_accept_cannot_be_forwarded_to_another_user() {
    check(
        "
        eve rings bob e1
            bob: eve rings, sign e1
        bob answers eve s1 e2
            eve: bob answered s1, sign e2
        ann rings bob c1
            bob: ann rings, sign c1
        bob answers ann s1 c2
            ann: bob answered s1, sign c2
        ann confirms bob s2 c3
            bob: ann confirmed s2, sign c3
        eve confirms bob s2 c3
            refused: ChallengeInUse
        eve confirms bob s2 c1
            refused: ChallengeInUse
        bob signs-to-accept eve
            nothing
        eve rings bob c3
            refused: ChallengeInUse
        bob accepts ann s3
            call 1
            ann: bob accepted s3
        eve rings bob c3
            refused: ChallengeInUse
        eve rings bob c1
            bob: eve rings, sign c1
        wait 30
            call 1 ended
        eve rings bob c3
            bob: eve rings, sign c3
        ",
    );
}

#[test]
fn the_challenge_of_a_confirmation_cannot_be_forwarded_to_another_user() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob answers ann s1 c2
            ann: bob answered s1, sign c2
        eve rings ann c2
            refused: ChallengeInUse
        ann rings eve d1
            eve: ann rings, sign d1
        eve answers ann s1 c2
            refused: ChallengeInUse
        ann signs-to-confirm eve
            nothing
        eve accepts ann s2
            call 1
            ann: eve accepted s2
        ann confirms bob s2 c3
            bob: ann confirmed s2, sign c3
        eve rings ann c2
            refused: ChallengeInUse
        wait 60
            ann: bob declined
            bob: ann declined
            call 1 ended
        eve rings ann c2
            ann: eve rings, sign c2
        ",
    );
}

#[test]
fn a_challenge_can_be_used_again_after_its_ring_was_replaced() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob answers ann s1 c2
            ann: bob answered s1, sign c2
        bob answers ann s1 c4
            ann: bob answered s1, sign c4
        eve rings ann c2
            refused: ChallengeInUse
        ann rings bob c5
            bob: ann rings, sign c5
        eve rings ann c2
            ann: eve rings, sign c2
        eve rings bob c1
            bob: eve rings, sign c1
        ",
    );
}

#[test]
fn empty_challenges_of_site_users_are_never_in_use() {
    let mut calls = Calls::new(CallLimits::default());
    let (ann, bob, cid, now) = (user("ann"), user("bob"), user("cid"), epoch());
    assert_eq!(
        calls.ring(&ann, &cid, "".into(), RingOrigin::UNKNOWN, now),
        Ok(())
    );
    assert_eq!(
        calls.ring(&bob, &cid, "".into(), RingOrigin::UNKNOWN, now),
        Ok(())
    );
    assert!(calls.accept(&cid, &ann, "".into(), now).is_ok());
    assert!(calls.accept(&cid, &bob, "".into(), now).is_ok());
}

/// Ann rings bob up to `times` times at `now`. Returns the number of rings before the first refused one.
fn ring_often(calls: &mut Calls, times: usize, now: Instant) -> usize {
    let (ann, bob) = (user("ann"), user("bob"));
    for rings in 0..times {
        if let Err(refusal) = calls.ring(&ann, &bob, "c1".into(), RingOrigin::UNKNOWN, now) {
            assert_eq!(refusal, CallError::RateExceeded);
            return rings;
        }
        let (to, _) = calls.poll_event().expect("the callee gets no event");
        assert_eq!(to, bob);
    }
    times
}

#[test]
fn after_a_burst_of_ten_a_caller_rings_once_a_second() {
    let mut calls = Calls::new(CallLimits::default());
    let now = epoch();
    assert_eq!(ring_often(&mut calls, 20, now), 10);
    assert_eq!(ring_often(&mut calls, 20, now + seconds("0.999")), 0);
    assert_eq!(calls.poll_event(), None);
    assert_eq!(calls.poll_timeout(), Some(now + seconds("60")));
    assert_eq!(ring_often(&mut calls, 20, now + seconds("1")), 1);
    assert_eq!(ring_often(&mut calls, 20, now + seconds("4.5")), 3);
    assert_eq!(ring_often(&mut calls, 20, now + seconds("5")), 1);
    assert_eq!(ring_often(&mut calls, 20, now + seconds("50")), 10);
}

#[test]
fn the_ring_rate_is_per_caller_and_counts_ended_rings() {
    let mut calls = Calls::new(CallLimits::default());
    let (ann, bob, cid, now) = (user("ann"), user("bob"), user("cid"), epoch());
    assert_eq!(ring_often(&mut calls, 20, now), 10);
    assert_eq!(
        calls.ring(&ann, &cid, "c1".into(), RingOrigin::UNKNOWN, now),
        Ok(())
    );
    assert_eq!(
        calls.ring(&bob, &ann, "d1".into(), RingOrigin::UNKNOWN, now),
        Ok(())
    );
    let rejected = calls.reject(&bob, &ann, "s1".into(), now);
    // This ends the ring of ann; bob still rings.
    assert_eq!(rejected, Ok(()));
    assert_eq!(ring_often(&mut calls, 20, now), 0);
    assert_eq!(calls.hang_up(&bob, &ann, now), Ok(()));
    while calls.poll_event().is_some() {}
    assert_eq!(ring_often(&mut calls, 20, now), 0);
    assert_eq!(ring_often(&mut calls, 20, now + seconds("2")), 2);
}

#[test]
fn a_caller_that_hangs_up_and_rings_again_is_limited() {
    let mut calls = Calls::new(CallLimits::default());
    let (ann, bob, now) = (user("ann"), user("bob"), epoch());
    let mut rings = 0;
    for tenth in 0..300 {
        let now = now + seconds("0.1") * tenth;
        if ring_often(&mut calls, 1, now) == 1 {
            rings += 1;
            assert_eq!(calls.hang_up(&ann, &bob, now), Ok(()));
            calls.poll_event().expect("the hang-up causes no event");
        }
    }
    assert_eq!(rings, 10 + 29, "ten at once, then one each second");
    assert!(calls.is_empty());
}

#[test]
fn each_client_of_the_callee_has_its_own_challenge() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob answers ann s1 c2
            ann: bob answered s1, sign c2
        bob answers ann s1 d2
            ann: bob answered s1, sign d2
        ann signs-to-confirm bob
            c2 or d2
        ann confirms bob s2 c3
            bob: ann confirmed s2, sign c3
        ann confirms bob s2 d3
            bob: ann confirmed s2, sign d3
        bob answers ann s1 e2
            ann: bob answered s1, sign e2
        bob signs-to-accept ann
            c3 or d3
        bob accepts ann s3
            call 1
            ann: bob accepted s3
        bob signs-to-accept ann
            c3 or d3
        ",
    );
}
