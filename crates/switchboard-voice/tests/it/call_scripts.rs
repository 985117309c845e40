//! The rules of calls from the accept to the end, and the limit of calls, one script ([`crate::script`]) for each.

use std::time::Duration;

use switchboard_voice::{CallLimits, Calls, RingOrigin};

use crate::{
    call_script::{check, check_with},
    script::{epoch, user},
};

#[test]
fn a_client_that_reloads_rings_again_and_finds_its_call() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        ann mic+ bob
            call 1
            bob: ann has mic+ headphones-
        bob mic+ ann
            call 1
            ann: bob has mic+ headphones-
        ann mic- 1
            bob: ann has mic- headphones-
        ann rings bob d1
            bob: ann rings, sign d1
        bob accepts ann t1
            call 1
            ann: bob accepted t1
        bob signs-to-accept ann
            d1
        ann mic+ bob
            call 1
            bob: ann has mic+ headphones-
        wait 1000
        ",
    );
}

#[test]
fn a_ring_rejected_during_a_call_leaves_the_call_alone() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        bob mic+ ann
            call 1
            ann: bob has mic+ headphones-
        ann rings bob d1
            bob: ann rings, sign d1
        bob rejects ann t1
            ann: bob declined t1
        bob signs-to-accept ann
            c1
        ann mic+ bob
            call 1
            bob: ann has mic+ headphones-
        wait 1000
        ",
    );
}

#[test]
fn an_accept_during_a_call_restarts_its_linger_time() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        wait 29
        ann rings bob d1
            bob: ann rings, sign d1
        bob accepts ann t1
            call 1
            ann: bob accepted t1
        wait 29
        wait 1
            call 1 ended
        ",
    );
}

#[test]
fn a_call_without_connected_audio_ends() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        wait 59
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        wait 29
        wait 1
            call 1 ended
        ann mic+ bob
            refused: NoSuchCall
        ",
    );
}

#[test]
fn linger_starts_when_the_last_audio_of_a_call_disconnects() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        ann mic+ bob
            call 1
            bob: ann has mic+ headphones-
        ann headphones+ bob
            call 1
            bob: ann has mic+ headphones+
        bob headphones+ ann
            call 1
            ann: bob has mic- headphones+
        wait 100
        ann mic- 1
            bob: ann has mic- headphones+
        ann headphones- 1
            bob: ann has mic- headphones-
        wait 100
        bob headphones- 1
            ann: bob has mic- headphones-
        wait 29
        bob headphones+ ann
            call 1
            ann: bob has mic- headphones+
        wait 100
        bob headphones- 1
            ann: bob has mic- headphones-
        wait 30
            call 1 ended
        ",
    );
}

#[test]
fn a_replacing_connection_in_a_call_causes_no_event() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        ann mic+ bob
            call 1
            bob: ann has mic+ headphones-
        ann mic+ bob
            call 1
        ann headphones+ bob
            call 1
            bob: ann has mic+ headphones+
        ann headphones+ bob
            call 1
        ann mic- 1
            bob: ann has mic- headphones+
        ann mic- 1
        ann mic+ bob
            call 1
            bob: ann has mic+ headphones+
        ",
    );
}

#[test]
fn only_the_users_of_a_call_disconnect_its_audio() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        ann mic+ bob
            call 1
            bob: ann has mic+ headphones-
        cid mic- 1
        bob mic- 1
        ann mic- 2
        cid mic+ ann
            refused: NoSuchCall
        wait 1000
        ",
    );
}

#[test]
fn a_hang_up_ends_the_call_for_both() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        ann mic+ bob
            call 1
            bob: ann has mic+ headphones-
        bob hangs-up ann
            ann: bob declined
            call 1 ended
        ann mic- 1
        ann hangs-up bob
            refused: NoSuchCall
        bob accepts ann s1
            refused: NoSuchCall
        wait 1000
        ",
    );
}

#[test]
fn a_hang_up_ends_the_ringing_from_either_side() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        ann hangs-up bob
            bob: ann declined
        bob accepts ann s1
            refused: NoSuchCall
        ann rings bob c1
            bob: ann rings, sign c1
        bob hangs-up ann
            ann: bob declined
        ann rings bob c1
            bob: ann rings, sign c1
        bob rings ann d1
            ann: bob rings, sign d1
        ann hangs-up bob
            bob: ann declined
        wait 1000
        ",
    );
}

#[test]
fn a_hang_up_ends_a_call_and_the_ringing_in_it_at_once() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        bob rings ann d1
            ann: bob rings, sign d1
        bob hangs-up ann
            ann: bob declined
            call 1 ended
        ann accepts bob t1
            refused: NoSuchCall
        ",
    );
}

#[test]
fn a_new_call_of_the_same_users_has_a_new_id() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        ann mic+ bob
            call 1
            bob: ann has mic+ headphones-
        ann hangs-up bob
            bob: ann declined
            call 1 ended
        ann rings bob c2
            bob: ann rings, sign c2
        bob accepts ann s2
            call 2
            ann: bob accepted s2
        ann mic+ bob
            call 2
            bob: ann has mic+ headphones-
        ann mic- 1
        ann mic+ bob
            call 2
        ",
    );
}

#[test]
fn a_ring_outlives_the_call_in_which_it_began() {
    check(
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        ann rings bob d1
            bob: ann rings, sign d1
        wait 30
            call 1 ended
        bob accepts ann t1
            call 2
            ann: bob accepted t1
        ",
    );
}

fn at_most(calls_per_user: usize) -> CallLimits {
    CallLimits {
        calls_per_user,
        ..CallLimits::default()
    }
}

#[test]
fn a_user_at_the_call_limit_gets_too_many_and_its_caller_gets_busy() {
    check_with(
        at_most(2),
        "
        ann rings bob a1
            bob: ann rings, sign a1
        ann rings cid a1
            cid: ann rings, sign a1
        ann rings dan a1
            refused: TooManyCalls
        dan rings ann d1
            refused: Busy
        dan rings bob d1
            bob: dan rings, sign d1
        bob rejects ann s1
            ann: bob declined s1
        dan rings ann d1
            ann: dan rings, sign d1
        ann hangs-up cid
            cid: ann declined
        ann rings bob a1
            bob: ann rings, sign a1
        ",
    );
}

#[test]
fn actions_of_other_users_do_not_use_up_the_call_limit() {
    check_with(
        at_most(1),
        "
        bob rings ann b1
            ann: bob rings, sign b1
        cid rings ann c1
            ann: cid rings, sign c1
        dan rings ann d1
            ann: dan rings, sign d1
        eve rings ann e1
            ann: eve rings, sign e1
        fay rings ann f1
            refused: Busy
        ann accepts bob s1
            call 1
            bob: ann accepted s1
        bob mic+ ann
            call 1
            ann: bob has mic+ headphones-
        fay rings ann f1
            ann: fay rings, sign f1
        ann rings gus a1
            gus: ann rings, sign a1
        ann mic+ bob
            refused: TooManyCalls
        ann hangs-up gus
            gus: ann declined
        ann mic+ bob
            call 1
            bob: ann has mic+ headphones-
        ann rings gus a1
            refused: TooManyCalls
        ",
    );
}

#[test]
fn a_pair_of_users_uses_one_place_of_the_call_limit() {
    check_with(
        at_most(1),
        "
        ann rings bob c1
            bob: ann rings, sign c1
        bob rings ann d1
            ann: bob rings, sign d1
        bob accepts ann s1
            call 1
            ann: bob accepted s1
        ann rings bob c1
            bob: ann rings, sign c1
        bob rejects ann s1
            ann: bob declined s1
        cid rings bob c1
            refused: Busy
        wait 30
            call 1 ended
        cid rings bob c1
            bob: cid rings, sign c1
        ",
    );
}

#[test]
fn a_call_limit_of_zero_means_no_limit() {
    check_with(
        at_most(0),
        "
        ann rings bob c1
            bob: ann rings, sign c1
        ann rings cid c1
            cid: ann rings, sign c1
        ann rings dan c1
            dan: ann rings, sign c1
        ",
    );
}

#[test]
fn an_overflowing_timeout_never_fires() {
    let limits = CallLimits {
        ring: Duration::MAX,
        ..CallLimits::default()
    };
    let mut calls = Calls::new(limits);
    let rung = calls.ring(
        &user("ann"),
        &user("bob"),
        "c1".into(),
        RingOrigin::UNKNOWN,
        epoch(),
    );
    assert_eq!(rung, Ok(()));
    assert_eq!(calls.poll_timeout(), None);
}
