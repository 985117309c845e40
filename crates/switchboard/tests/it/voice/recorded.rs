//! Recorded conversations between the reference server, the original implementation of `gostream`, and its clients, and
//! the responses in which this server differs.
#![expect(non_snake_case, reason = "scenarios have the recorder's names")]

use super::replay::replay;
use crate::client::{open, open_second_of_two_nodes};

pub(super) const RECORDED: [&str; 4] = [
    include_str!("recorded/calls.txt"),
    include_str!("recorded/audio.txt"),
    include_str!("recorded/rooms.txt"),
    include_str!("recorded/site.txt"),
];

macro_rules! scenarios {
    ($($(#[$attribute:meta])* $name:ident)*) => {
        $(
            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                replay(stringify!($name), open).await;
            }
        )*

        /// The same scenarios at a node that forwards all requests to the voice leader.
        mod away {
            $(
                $(#[$attribute])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::replay(stringify!($name), super::open_second_of_two_nodes).await;
                }
            )*
        }

        #[test]
        fn every_scenario_is_replayed() {
            let played = [$(stringify!($name),)*];
            let all = RECORDED.iter().flat_map(|file| file.lines());
            let heads = all.filter_map(|line| line.strip_prefix("## ")?.split(' ').next());
            let recorded: Vec<&str> = heads.collect();
            assert_eq!(recorded, played);
        }
    };
}

scenarios! {
    call_flow_accept call_flow_reject reject_right_after_newCall accept_skipping_answer errors
    challenge_shapes signature_replay hijack_messages sse_pkey_case double_accept
    reverse_call_same_pair sse_disconnect_then_send
    call_audio call_audio_opus
    #[cfg_attr(not(feature = "vorbis"), ignore = "needs the cargo feature vorbis")]
    call_audio_vorbis

    #[cfg_attr(not(feature = "vorbis"), ignore = "needs the cargo feature vorbis")]
    call_audio_unknown_format
    call_both_talk
    call_silent_no_input call_callee_only_input crash_upcall_one_byte crash_upcall_empty
    upcall_odd_and_text crash_upcall_close_race crash_joincall_leave_race
    #[cfg_attr(not(feature = "vorbis"), ignore = "needs the cargo feature vorbis")]
    format_vorbis

    #[cfg_attr(not(feature = "vorbis"), ignore = "needs the cargo feature vorbis")]
    format_ogg

    format_OPUS format_WAV reuse_ticket_sig
    room_flow room_self_echo room_names crash_uproom_one_byte crash_joinroom_leave_race
    site_call_accept site_call_reject site_errors site_audio site_room site_listroom_empty
    site_listroom_deadlock site_listmembers_panic
}

/// Steps of a scenario to which this server responds differently from the reference server.
pub(super) struct Difference {
    pub(super) scenario: &'static str,
    pub(super) steps: &'static [u32],
    pub(super) instead: Substitution,
    pub(super) why: &'static str,
}

pub(super) enum Substitution {
    /// The response to the recorded request.
    Answer(&'static str),
    /// Lines that replace the recorded step; an empty list removes it.
    Lines(&'static [&'static str]),
}

const fn answer(
    scenario: &'static str,
    steps: &'static [u32],
    answer: &'static str,
    why: &'static str,
) -> Difference {
    Difference {
        scenario,
        steps,
        instead: Substitution::Answer(answer),
        why,
    }
}

const fn lines(
    scenario: &'static str,
    steps: &'static [u32],
    lines: &'static [&'static str],
    why: &'static str,
) -> Difference {
    Difference {
        scenario,
        steps,
        instead: Substitution::Lines(lines),
        why,
    }
}

// Reasons that several differences have.

const METHODS: &str = "a path rejects other methods with the allowed ones";
const PLAYERS: &str = "GET is accepted for media players and needs a signature";
const BAD: &str = "an invalid parameter is 400";
const NO_CALL: &str = "an unknown call is 404";
const NO_USER: &str = "a user without an event stream is 404";
const NO_ROOM: &str = "an unknown room is 404";
const NO_SESSION: &str = "a token that the website does not know is 401";
const TAKES_OVER: &str = "a newer connection of a user takes over, and the user gets an event";
const LONG: &str = "a signature does not cover a challenge beyond 32 bytes";
const QUOTED: &str = "JSON is ASCII and quoted, so that nothing is injected or misread";
const FORMATS: &str = "ogg is Vorbis, and wav is WAV in any case";
const AT_ONCE: &str = "headers and silence are sent at once";
const NO_OWN_AUDIO: &str = "a user does not hear its own audio";
const ANNOUNCED: &str = "rooms of a website are announced like other rooms";
const LOCKED: &str = "an occupied room blocks no other user";

pub(super) const DIFFERENCES: &[Difference] = &[
    answer("errors", &[11, 15, 19], "405", METHODS),
    answer("errors", &[17], "403", PLAYERS),
    answer("errors", &[25], "200", "the call page is served"),
    answer("errors", &[49, 51, 61], "400", BAD),
    answer("errors", &[53], "404", NO_USER),
    answer("errors", &[55, 57, 59, 63], "404", NO_CALL),
    answer("errors", &[65], "400", "an empty challenge is invalid"),
    answer("errors", &[67, 71], "404", NO_CALL),
    lines(
        "errors",
        &[75, 76],
        &[],
        "a rejected request creates no room",
    ),
    answer(
        "errors",
        &[78],
        "404",
        "users with keys have no tokens, and no website is requested",
    ),
    answer("errors", &[80], "400", BAD),
    answer(
        "errors",
        &[84],
        "404",
        "the page of the original server is not served",
    ),
    answer("challenge_shapes", &[35, 41, 59, 68], "400", LONG),
    lines("challenge_shapes", &[36, 42, 60, 69], &[], LONG),
    answer("challenge_shapes", &[38, 44, 62], "403", LONG),
    lines("challenge_shapes", &[39, 45, 63], &[], LONG),
    lines(
        "challenge_shapes",
        &[48],
        &[r#"B < newCall {"challenge": "d\u00e9fi-\u6311\u6218","from": "$A"}"#],
        QUOTED,
    ),
    lines(
        "challenge_shapes",
        &[66],
        &[r#"B < newCall {"challenge": "x\",\"from\":\"FORGED\",\"y\":\"","from": "$A"}"#],
        QUOTED,
    ),
    lines(
        "signature_replay",
        &[20],
        &[
            "A POST /newCall Destination=$B&challenge=1&signature=$A(old) = 200 ticket",
            r#"B < newCall {"challenge": "1","from": "$A"}"#,
        ],
        "requesting tickets of a key does not invalidate its other tickets",
    ),
    lines(
        "hijack_messages",
        &[10],
        &[
            r#"X < newCall {"challenge": "1","from": "$A"}"#,
            r#"B < newCall {"challenge": "1","from": "$A"}"#,
        ],
        "all event streams of a key get the event",
    ),
    answer("sse_disconnect_then_send", &[12], "404", NO_USER),
    lines(
        "call_audio",
        &[29],
        &[
            "A WS /upCall?otherID=$B&PKey=$A&Signature=$A(ticket) = 101",
            r#"A < replaced {"way": "in","connection": "","from": "$B"}"#,
        ],
        TAKES_OVER,
    ),
    lines(
        "call_audio",
        &[30],
        &[
            "B FORM /joinCall otherID=$A&format=wav&Signature=$B(ticket) = 200 audio/wav wav",
            r#"B < replaced {"way": "out","connection": "","from": "$A"}"#,
        ],
        TAKES_OVER,
    ),
    answer("call_audio_vorbis", &[23], "200 audio/ogg vorbis", AT_ONCE),
    answer(
        "call_audio_unknown_format",
        &[23],
        "200 audio/ogg vorbis",
        AT_ONCE,
    ),
    answer("call_silent_no_input", &[23], "200 audio/wav wav", AT_ONCE),
    lines("call_both_talk", &[31], &["A hears 1000"], NO_OWN_AUDIO),
    lines("call_both_talk", &[33], &["B hears 8000"], NO_OWN_AUDIO),
    lines(
        "upcall_odd_and_text",
        &[26],
        &[
            "A says AB",
            "A is closed 1003",
            r#"B < setAudioConf {"answer": "","challenge": "","from": "$A","in": "0","out": "0"}"#,
        ],
        "text messages are rejected",
    ),
    answer("format_ogg", &[25], "200 audio/ogg vorbis", FORMATS),
    answer("format_WAV", &[25], "200 audio/wav wav", FORMATS),
    lines(
        "reuse_ticket_sig",
        &[30],
        &[
            "A POST /joinCall otherID=$B&format=WAV&signature=$A(ticket) = 200 audio/wav wav",
            r#"B < setAudioConf {"answer": "","challenge": "","from": "$A","in": "1","out": "1"}"#,
        ],
        "parameter names are case-insensitive",
    ),
    answer("room_flow", &[25], "404", NO_ROOM),
    answer("room_flow", &[27], "400", BAD),
    lines("room_self_echo", &[16], &["A hears 0"], NO_OWN_AUDIO),
    answer("room_names", &[11, 23], "400", BAD),
    answer("room_names", &[27], "403", PLAYERS),
    lines(
        "room_names",
        &[12],
        &[
            r#"A < newRoom {"roomid": 1,"name": "\u00e91","type": "no type","desc": "no desc","count": 1}"#,
        ],
        QUOTED,
    ),
    lines(
        "room_names",
        &[13],
        &[
            r#"B < newRoom {"roomid": 1,"name": "\u00e91","type": "no type","desc": "no desc","count": 1}"#,
        ],
        QUOTED,
    ),
    lines(
        "room_names",
        &[15],
        &[
            r#"A < newRoom {"roomid": 2,"name": "\u043a\u043e\u043c\u043d\u0430\u0442\u0430-\ud83d\ude80","type": "no type","desc": "no desc","count": 1}"#,
        ],
        QUOTED,
    ),
    lines(
        "room_names",
        &[16],
        &[
            r#"B < newRoom {"roomid": 2,"name": "\u043a\u043e\u043c\u043d\u0430\u0442\u0430-\ud83d\ude80","type": "no type","desc": "no desc","count": 1}"#,
        ],
        QUOTED,
    ),
    lines(
        "room_names",
        &[18],
        &[
            r#"A < newRoom {"roomid": 3,"name": "\", \"x\":\"y","type": "no type","desc": "no desc","count": 1}"#,
        ],
        QUOTED,
    ),
    lines(
        "room_names",
        &[19],
        &[
            r#"B < newRoom {"roomid": 3,"name": "\", \"x\":\"y","type": "no type","desc": "no desc","count": 1}"#,
        ],
        QUOTED,
    ),
    answer(
        "room_names",
        &[21],
        r#"200 [{ "id" : 1, "name" : "\u00e91", "desc" : "no desc", "count" : 1},{ "id" : 2, "name" : "\u043a\u043e\u043c\u043d\u0430\u0442\u0430-\ud83d\ude80", "desc" : "no desc", "count" : 1},{ "id" : 3, "name" : "\", \"x\":\"y", "desc" : "no desc", "count" : 1}]"#,
        QUOTED,
    ),
    answer("site_errors", &[9, 23, 25, 43, 47, 53, 56], "400", BAD),
    answer(
        "site_errors",
        &[11, 13, 15, 21, 27, 29, 33, 35, 41, 46],
        "401",
        NO_SESSION,
    ),
    lines(
        "site_errors",
        &[17],
        &[
            "1 POST /newCall [CSRFToken: nl] Destination=2 = 200",
            r#"2 < newCall {"from": 1}"#,
        ],
        "a token may end with a line break",
    ),
    answer("site_errors", &[19], "404", NO_USER),
    answer("site_errors", &[39, 45], "404", NO_CALL),
    answer(
        "site_errors",
        &[48, 50],
        "404",
        "users of a website have no keys",
    ),
    lines(
        "site_errors",
        &[58],
        &[
            "1 FORM /joinRoom [] roomID=7&format=wav&token=tok1 = 200 audio/wav wav",
            r#"1 < newRoom {"roomid": 7,"name": "7","type": "no type","desc": "no desc","count": 1}"#,
            r#"2 < newRoom {"roomid": 7,"name": "7","type": "no type","desc": "no desc","count": 1}"#,
        ],
        ANNOUNCED,
    ),
    lines(
        "site_room",
        &[7],
        &[
            "1 WS /upRoom?token=tok1&roomID=7 = 101",
            r#"1 < newRoom {"roomid": 7,"name": "7","type": "no type","desc": "no desc","count": 1}"#,
            r#"2 < newRoom {"roomid": 7,"name": "7","type": "no type","desc": "no desc","count": 1}"#,
        ],
        ANNOUNCED,
    ),
    lines(
        "site_room",
        &[8],
        &[
            "2 FORM /joinRoom roomID=7&format=wav = 200 audio/wav wav",
            r#"1 < setAudioConf {"from": 2,"roomid": "7","in": "0","out": "1"}"#,
        ],
        ANNOUNCED,
    ),
    answer(
        "site_listroom_deadlock",
        &[2, 4],
        r#"200 [{ "id" : 7, "name" : "7", "desc" : "no desc", "count" : 1}]"#,
        LOCKED,
    ),
    answer("site_listroom_deadlock", &[6], "101", LOCKED),
    answer(
        "site_listmembers_panic",
        &[2],
        r#"200 [{ "user" : 1, "mic" : 1, "hds" : 0}]"#,
        LOCKED,
    ),
];
