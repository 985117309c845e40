//! Who hears whom: the sources, their sum, and a stream for each distinct (mix, format).

use std::{collections::BTreeSet, fmt, ops::Range, sync::Arc};

use crate::{
    AudioSink, FRAME_SAMPLES, Format, Frame, MixSettings, SourceHandle,
    listener::MixListener,
    stream::{MixKind, MixStream},
    sum::{self, SampleSums},
};

/// Whoever has been silent for so long hears what everybody hears, from the encoder that everybody
/// has: without him it is the same. 5 s of digital silence: no microphone, or a muted one.
const MUTED_AFTER_FRAMES: u32 = 250;

/// The mixer of one call or room.
///
/// Each 20 ms: [`Mixer::begin_frame`], then [`Mixer::render_next`] until it is false. In between,
/// sources and listeners may come; they go by themselves, once their [`SourceHandle`]s are dropped or
/// their [`AudioSink`]s closed. Whatever an owner does, nobody else loses a frame.
pub struct Mixer<O: AudioSink> {
    settings: Arc<MixSettings>,
    sources: Vec<MixerSource>,
    streams: Vec<MixStream<O>>,
    /// Everybody, in this frame.
    full: Box<SampleSums>,
    /// The streams that [`Mixer::render_next`] has yet to render. Those made since the frame began
    /// are not among them.
    unrendered: Range<usize>,
    /// How many listeners there have been.
    serials: u64,
}

struct MixerSource {
    owner: u64,
    handle: SourceHandle,
    frame: Box<Frame>,
    /// For how many frames it has given nothing but digital silence. 0: it is heard in this one.
    silent_frames: u32,
}

impl MixerSource {
    fn pull(&mut self) {
        self.silent_frames = match self.handle.pull(&mut self.frame) {
            true => 0,
            false => self.silent_frames.saturating_add(1),
        };
    }

    fn is_heard(&self) -> bool {
        self.silent_frames == 0
    }
}

impl<O: AudioSink> Mixer<O> {
    /// A mixer with nobody in it.
    #[must_use]
    pub fn new(settings: Arc<MixSettings>) -> Self {
        Self {
            settings,
            sources: Vec::new(),
            streams: Vec::new(),
            full: Box::new([0; FRAME_SAMPLES]),
            unrendered: 0..0,
            serials: 0,
        }
    }

    /// A new source of this owner, which lasts until the [`SourceHandle`] and its clones are dropped.
    pub fn add_source(&mut self, owner: u64) -> SourceHandle {
        self.forget_sources();
        let input = SourceHandle::new(self.settings.latency_samples_max());
        self.sources.push(MixerSource {
            owner,
            handle: input.clone(),
            frame: Box::new([0; FRAME_SAMPLES]),
            silent_frames: MUTED_AFTER_FRAMES,
        });
        input
    }

    /// A new listener, who gets the headers of his stream at once, and from the next frame on
    /// everybody but himself (unless `echo_self`). An outlet that takes no headers is dropped, and
    /// so is one whose format cannot be encoded on this machine.
    pub fn add_listener(&mut self, owner: u64, format: Format, outlet: O) {
        self.forget_sources();
        if self.is_idle() {
            // What gathered while nobody listened would be heard late for ever.
            self.sources
                .iter()
                .for_each(|source| source.handle.skip_to_now());
        }
        let mix = self.mix_for(owner, &self.talkers());
        self.serials += 1;
        let serial = scatter(self.serials);
        if let Some(stream) = self.stream(mix, format) {
            stream.add_listener(owner, serial, outlet);
        }
    }

    /// Begins a frame: takes 20 ms of each source and sums them, after whoever has gone is
    /// forgotten. What was left to render of the frame before is rendered first.
    pub fn begin_frame(&mut self) {
        while self.render_next() {}
        self.forget_sources();
        self.full.fill(0);
        for source in &mut self.sources {
            source.pull();
            if source.is_heard() {
                sum::add(&mut self.full, &source.frame);
            }
        }
        // After the sources are known: who begins to talk must not hear himself in this very frame.
        self.forget_listeners();
        self.unrendered = 0..self.streams.len();
    }

    /// Encodes and delivers one (mix, format) of this frame. False: all are done.
    pub fn render_next(&mut self) -> bool {
        let next = self.unrendered.next();
        let Some(stream) = next.and_then(|next| self.streams.get_mut(next)) else {
            return false;
        };
        let mut frame = [0; FRAME_SAMPLES];
        match stream.mix {
            MixKind::Full => sum::saturate(&mut frame, &self.full),
            MixKind::Without(owner) => {
                let mut others = *self.full;
                for source in &self.sources {
                    if source.is_heard() && source.owner == owner {
                        sum::subtract(&mut others, &source.frame);
                    }
                }
                sum::saturate(&mut frame, &others);
            }
        }
        stream.render(&frame);
        true
    }

    /// Whether there are no listeners, so that nobody need make frames.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.streams
            .iter()
            .all(|stream| stream.listeners.is_empty())
    }

    /// Ends the stream of every listener, properly, and drops them.
    pub fn end(&mut self) {
        self.forget_listeners();
        self.unrendered = 0..0;
        self.streams.drain(..).for_each(MixStream::end);
    }

    /// How many sources there are. Those that have gone count until the next frame.
    #[must_use]
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// How many listeners there are. Those that have gone count until the next frame.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.streams
            .iter()
            .map(|stream| stream.listeners.len())
            .sum()
    }

    fn forget_sources(&mut self) {
        self.sources.retain(|source| source.handle.is_held());
    }

    /// Drops listeners who have gone and streams without any, and moves those whose mix is another
    /// now, because their own source came or went.
    fn forget_listeners(&mut self) {
        let talkers = self.talkers();
        let mut moved = Vec::new();
        for stream in &mut self.streams {
            stream.listeners.retain(MixListener::is_open);
            let (mix, settings) = (stream.mix, &self.settings);
            let leaves =
                |listener: &mut MixListener<O>| mix_for(listener.owner, &talkers, settings) != mix;
            let leavers = stream.listeners.extract_if(.., leaves);
            moved.extend(leavers.map(|listener| (stream.format, listener)));
        }
        for (format, listener) in moved {
            let mix = self.mix_for(listener.owner, &talkers);
            if let Some(stream) = self.stream(mix, format) {
                stream.adopt_listener(listener);
            }
        }
        self.streams.retain(|stream| !stream.listeners.is_empty());
    }

    /// Those whose mix is not everybody's.
    fn talkers(&self) -> BTreeSet<u64> {
        let talks = |source: &&MixerSource| source.silent_frames < MUTED_AFTER_FRAMES;
        self.sources
            .iter()
            .filter(talks)
            .map(|source| source.owner)
            .collect()
    }

    fn mix_for(&self, owner: u64, talkers: &BTreeSet<u64>) -> MixKind {
        mix_for(owner, talkers, &self.settings)
    }

    /// The stream of this mix in this format, made if need be.
    fn stream(&mut self, mix: MixKind, format: Format) -> Option<&mut MixStream<O>> {
        let is_it = |stream: &MixStream<O>| stream.mix == mix && stream.format == format;
        let at = match self.streams.iter().position(is_it) {
            Some(at) => at,
            None => {
                self.streams
                    .push(MixStream::new(mix, format, &self.settings).ok()?);
                self.streams.len() - 1
            }
        };
        self.streams.get_mut(at)
    }
}

fn mix_for(owner: u64, talkers: &BTreeSet<u64>, settings: &MixSettings) -> MixKind {
    match talkers.contains(&owner) && !settings.echo_self {
        true => MixKind::Without(owner),
        false => MixKind::Full,
    }
}

/// A serial number that looks like no other: SplitMix64. Ogg wants them unlike each other, so that
/// files can be chained; nothing depends on nobody guessing them.
fn scatter(count: u64) -> u32 {
    let mut bits = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits >> 32) as u32
}

impl<O: AudioSink> fmt::Debug for Mixer<O> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Mixer")
            .field("settings", &self.settings)
            .field("sources", &self.sources())
            .field("listeners", &self.listeners())
            .finish_non_exhaustive()
    }
}
