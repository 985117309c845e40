//! Saves 10 s of a room with two sources in every format, for inspection with `opusinfo`, `ogginfo` or `ffprobe`. One
//! file of each format has the whole time, another one the stream of a listener that joins after 5 s, and a third one
//! the same in pages of 200 ms.
//! `cargo run -p switchboard-audio --example save -- DIRECTORY`

use std::{env, fs::File, io, io::Write, path::PathBuf, sync::Arc};

use switchboard_audio::{
    AudioChunk, AudioSink, FRAME_SAMPLES, Format, Frame, Latency, ListenerStream, MixSettings,
    Mixer,
};

/// A sink that writes the stream to a file.
struct FileSink(File);

impl AudioSink for FileSink {
    fn send(&mut self, chunk: AudioChunk) -> bool {
        self.0.write_all(&chunk.into_bytes()).is_ok()
    }

    fn is_open(&self) -> bool {
        true
    }
}

fn main() -> io::Result<()> {
    let directory: PathBuf = env::args_os().nth(1).unwrap_or_else(|| ".".into()).into();
    let mut mixer = Mixer::new(Arc::new(MixSettings::default()));
    let handles = [mixer.add_source(1), mixer.add_source(2)];
    for frame in 0..500 {
        for &format in Format::AVAILABLE {
            let extension = extension(format);
            let names: &[(&str, Option<u64>)] = match frame {
                0 => &[("early", None)],
                250 => &[("late", None), ("long", Some(200))],
                _ => &[],
            };
            for (name, millis) in names {
                let latency = millis.and_then(|millis| Latency::from_millis(millis).ok());
                let file = File::create(directory.join(format!("{name}.{extension}")))?;
                mixer.add_listener(3, ListenerStream { format, latency }, FileSink(file));
            }
        }
        for (handle, hertz) in handles.iter().zip([440.0, 1_000.0]) {
            // Three seconds in five are sound.
            if frame % 250 < 150 {
                handle.push(&tone(hertz, frame));
            }
        }
        mixer.begin_frame();
        while mixer.render_next() {}
    }
    mixer.end();
    Ok(())
}

fn extension(format: Format) -> &'static str {
    match format {
        Format::Wav => "wav",
        Format::Opus => "opus",
        Format::Vorbis => "ogg",
    }
}

fn tone(hertz: f64, frame: usize) -> Frame {
    std::array::from_fn(|at| {
        let seconds = (frame * FRAME_SAMPLES + at) as f64 / 48_000.0;
        ((std::f64::consts::TAU * hertz * seconds).sin() * 6_000.0) as i16
    })
}
