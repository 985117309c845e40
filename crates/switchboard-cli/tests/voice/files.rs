//! Sent files, recorded files and key files.

use std::{fs, process::Stdio};

use crate::{Home, RATE, Recording, Server, text, tone};

/// A WAV file with these samples.
fn wav(samples: &[u8], rate: u32, channels: u16) -> Vec<u8> {
    let length = u32::try_from(samples.len()).expect("a short file");
    let mut file = b"RIFF".to_vec();
    file.extend((length + 36).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend((rate * u32::from(channels) * 2).to_le_bytes());
    file.extend((channels * 2).to_le_bytes());
    file.extend([16, 0]);
    file.extend(b"data");
    file.extend(length.to_le_bytes());
    file.extend(samples);
    file
}

/// The way in which a file is passed to `voice talk`: by its name, or as standard input.
enum FileInput<'a> {
    Name(&'a str),
    Stdin(&'a str),
}

/// Sends a file and records the room in this format.
fn send_and_record(server: &Server, name: &str, file: &FileInput<'_>, format: &str) -> String {
    let home = Home::new(&format!("file-{name}-{format}"));
    let recording = text(&home.path(&format!("heard.{format}")));
    let mut listener = server.run(&home, &["listen", name, "-o", &recording], Stdio::null());
    listener.wait_for(&format!("Listening to {name}"));
    let talker = Home::new(&format!("file-{name}-{format}-talker"));
    let talking = match file {
        FileInput::Name(file) => server.run(&talker, &["talk", name, file], Stdio::null()),
        FileInput::Stdin(file) => {
            let file = fs::File::open(file).expect("it is there");
            server.run(&talker, &["talk", name], file)
        }
    };
    let printed = talking.expect_success();
    assert!(printed.contains("all of it"), "{printed}");
    listener.signal("-INT");
    listener.expect_success();
    recording
}

#[test]
fn file_of_every_format_is_played_in_full() {
    const MILLIS: usize = 1500;
    let (server, home) = (Server::start(&[]), Home::new("files"));
    let clip = text(&home.path("clip.wav"));
    // Silence at the end: stopping the recording loses the end of the audio, which is still in the encoder.
    let mut samples = tone(500.0, MILLIS, 44_100, 2);
    samples.extend(vec![0; samples.len() / 2]);
    fs::write(&clip, wav(&samples, 44_100, 2)).expect("it is written");
    let raw = text(&home.path("clip.s16le"));
    fs::write(&raw, tone(500.0, MILLIS, RATE, 1)).expect("it is written");

    let again = send_and_record(&server, "raw", &FileInput::Name(&raw), "wav");
    Recording::read(again.as_ref()).assert_tone(500.0, MILLIS);
    let again = send_and_record(&server, "stdin", &FileInput::Stdin(&clip), "wav");
    Recording::read(again.as_ref()).assert_tone(500.0, MILLIS);
    // The recording is sent in its own format.
    let formats: &[&str] = match cfg!(feature = "vorbis") {
        true => &["wav", "opus", "ogg"],
        false => &["wav", "opus"],
    };
    for format in formats {
        let recording = send_and_record(&server, "first", &FileInput::Name(&clip), format);
        let again = send_and_record(&server, "again", &FileInput::Name(&recording), "wav");
        Recording::read(again.as_ref()).assert_tone(500.0, MILLIS);
    }
}

#[cfg(not(feature = "vorbis"))]
#[test]
fn vorbis_needs_a_build_with_it() {
    let (server, home) = (Server::start(&[]), Home::new("no-vorbis"));
    let clip = text(&home.path("clip.ogg"));
    let page = [b"OggS".as_slice(), &[0; 24], b"\x01vorbis"].concat();
    fs::write(&clip, page).expect("it is written");
    let recording = text(&home.path("recording.ogg"));
    for args in [
        ["talk", "standup", &clip].as_slice(),
        &["listen", "standup", "-o", &recording],
    ] {
        let printed = server.run(&home, args, Stdio::null()).expect_failure();
        assert!(printed.contains("cargo feature `vorbis`"), "{printed}");
    }
}

#[test]
fn error_names_the_file_that_cannot_be_sent() {
    let (server, home) = (Server::start(&[]), Home::new("no-clip"));
    let unknown = text(&home.path("talk.mp3"));
    fs::write(&unknown, b"ID3\x03").expect("it is written");
    let empty = text(&home.path("empty.wav"));
    fs::write(&empty, b"").expect("it is written");
    for (file, text) in [
        (&*unknown, "neither WAV, Ogg Opus nor Ogg Vorbis"),
        (&*empty, "neither WAV, Ogg Opus nor Ogg Vorbis"),
        ("/nowhere/clip.wav", "cannot be read"),
    ] {
        let printed = server
            .run(&home, &["talk", "standup", file], Stdio::null())
            .expect_failure();
        assert!(
            printed.contains(file) && printed.contains(text),
            "{printed}"
        );
    }
}

#[test]
fn recording_with_unknown_extension_is_rejected_without_a_file() {
    let (server, home) = (Server::start(&[]), Home::new("extension"));
    let recording = home.path("meeting.mp3");
    let args = ["listen", "standup", "-o", &text(&recording)];
    let printed = server.run(&home, &args, Stdio::null()).expect_failure();
    for text in [
        "unknown extension .mp3",
        ".wav",
        ".ogg",
        ".opus",
        "--format",
    ] {
        assert!(printed.contains(text), "{printed}");
    }
    assert!(!recording.exists());
}

#[test]
fn mistyped_key_path_creates_no_key() {
    let (server, home) = (Server::start(&[]), Home::new("mistyped"));
    let mistyped = home.path("mistyped.key");
    let key = text(&mistyped);
    let listen = ["listen", "standup", "--seconds", "1", "--key", &key];
    let printed = server.run(&home, &listen, Stdio::null()).expect_failure();
    assert!(
        printed.contains("there is no key") && printed.contains("voice key --key"),
        "{printed}"
    );
    assert!(!mistyped.exists());
    let made = [&listen[..], &["--create", "-o", "/dev/null"]].concat();
    server.run(&home, &made, Stdio::null()).expect_success();
    assert!(mistyped.exists());
    let other = text(&home.path("other.key"));
    home.start(&["key", "--key", &other], Stdio::null())
        .output();
    assert!(home.path("other.key").exists(), "the key was requested");
}

#[test]
fn server_is_read_from_the_environment() {
    let (server, home) = (Server::start(&[]), Home::new("environment"));
    let url = format!("http://{}", server.address);
    let query = home.start_with(
        &[("SWITCHBOARD_URL", &url)],
        &["key", "--query"],
        Stdio::null(),
    );
    assert!(query.output().contains("Signature="));
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_switchboard"))
        .arg("check")
        .env("SWITCHBOARD_URL", &url)
        .output()
        .expect("the binary runs");
    let printed = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(
        checked.status.success(),
        "it is not a setting of the server: {printed}"
    );
}
