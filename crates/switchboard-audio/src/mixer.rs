//! The mixer: sources, their sum, and one encoded stream for each mix and format.
//!
//! An owner is the user that a source or listener belongs to, identified by a number that the caller chooses. Owners
//! that talk do not hear themselves (unless `echo_self` is set): each gets a mix without its own sources. All others
//! share the full mix.

use std::{collections::BTreeSet, fmt, ops::Range, sync::Arc};

use crate::{
    AudioSink, FRAME_SAMPLES, Format, Frame, ListenerStream, MixSettings, SourceHandle,
    latency::Latency,
    stream::{MixKind, MixStream},
    sum::{self, SampleSums},
};

/// After this many frames of digital silence (5 s), an owner is taken for muted and gets the full mix, which does not
/// contain its voice anyway. This saves the encoder of its own mix.
const MUTED_AFTER_FRAMES: u32 = 250;

/// The mixer of one call or room.
///
/// Every 20 ms: call [`Mixer::begin_frame`], then [`Mixer::render_next`] until it returns false. Sources and
/// listeners may be added in between. A source is removed when its [`SourceHandle`]s are dropped, a listener
/// when its [`AudioSink`] is closed. Other owners lose no frame when a source or listener is added or removed.
pub struct Mixer<O: AudioSink> {
    settings: Arc<MixSettings>,
    sources: Vec<MixerSource>,
    streams: Vec<MixStream<O>>,
    /// Sum of all sources in the current frame.
    full: Box<SampleSums>,
    /// The streams that [`Mixer::render_next`] has yet to render in this frame. Excludes streams created
    /// since the frame began.
    unrendered: Range<usize>,
    /// Number of listeners added so far; seeds the Ogg serial numbers.
    serials: u64,
    /// Whether sources were added or removed, or became audible or silent, since the listeners were last updated.
    has_changed: bool,
}

struct MixerSource {
    owner: u64,
    handle: SourceHandle,
    frame: Box<Frame>,
    /// Number of consecutive frames of digital silence. 0: the current frame is audible.
    silent_frames: u32,
}

impl MixerSource {
    fn pull(&mut self) {
        self.silent_frames = match self.handle.pull(&mut self.frame) {
            true => 0,
            false => self.silent_frames.saturating_add(1),
        };
    }

    fn is_audible(&self) -> bool {
        self.silent_frames == 0
    }

    fn is_muted(&self) -> bool {
        self.silent_frames >= MUTED_AFTER_FRAMES
    }
}

impl<O: AudioSink> Mixer<O> {
    /// Creates a mixer without sources and listeners.
    #[must_use]
    pub fn new(settings: Arc<MixSettings>) -> Self {
        Self {
            settings,
            sources: Vec::new(),
            streams: Vec::new(),
            full: Box::new([0; FRAME_SAMPLES]),
            unrendered: 0..0,
            serials: 0,
            has_changed: false,
        }
    }

    /// Adds a source of this owner. It lasts until the [`SourceHandle`] and its clones are dropped.
    pub fn add_source(&mut self, owner: u64) -> SourceHandle {
        let handle = SourceHandle::new(&self.settings);
        self.insert_source(owner, handle.clone());
        handle
    }

    /// Adds a source that was created by [`SourceHandle::new`] with the settings of this mixer.
    pub fn insert_source(&mut self, owner: u64, handle: SourceHandle) {
        self.remove_dropped_sources();
        self.has_changed = true;
        self.sources.push(MixerSource {
            owner,
            handle,
            frame: Box::new([0; FRAME_SAMPLES]),
            silent_frames: MUTED_AFTER_FRAMES,
        });
    }

    /// Adds a listener. It gets the headers of its stream at once, and from the next frame on the mix without its
    /// owner's sources, or with them if [`MixSettings::echo_self`] is set. A sink that rejects the headers is
    /// dropped, and so is one whose format this build cannot encode ([`Format::AVAILABLE`]).
    ///
    /// The requested latency holds while the owner has no source. While it has one, it may be in a conversation, and
    /// gets pages of at most 60 ms of Ogg and 20 ms of WAV.
    pub fn add_listener(&mut self, owner: u64, stream: impl Into<ListenerStream>, sink: O) {
        let ListenerStream { format, latency } = stream.into();
        self.remove_dropped_sources();
        if self.is_idle() {
            // Audio buffered while there was no listener would add permanent latency.
            self.sources
                .iter()
                .for_each(|source| source.handle.skip_to_now());
        }
        let mix = mix_for(owner, &self.talkers(), &self.settings);
        let participates = self.sources.iter().any(|source| source.owner == owner);
        let latency = latency
            .or(Latency::clamped(self.settings.listener_latency))
            .unwrap_or(Latency::of_conversation(format));
        self.serials += 1;
        let serial = serial_number(self.serials);
        if let Some(stream) = self.stream(mix, format) {
            stream.add_listener((owner, participates), latency, serial, sink);
        }
    }

    /// Begins a frame: renders the rest of the previous frame, removes dropped sources and closed listeners,
    /// takes 20 ms of each source, and sums them.
    pub fn begin_frame(&mut self) {
        while self.render_next() {}
        self.remove_dropped_sources();
        self.full.fill(0);
        for source in &mut self.sources {
            let was_muted = source.is_muted();
            source.pull();
            self.has_changed |= source.is_muted() != was_muted;
            if source.is_audible() {
                sum::add(&mut self.full, &source.frame);
            }
        }
        // After the sources are pulled, so that an owner that starts talking does not hear itself in this frame.
        self.update_listeners();
        self.unrendered = 0..self.streams.len();
    }

    /// Encodes one mix of the current frame in one format and delivers it. Returns false when all are done.
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
                    if source.is_audible() && source.owner == owner {
                        sum::subtract(&mut others, &source.frame);
                    }
                }
                sum::saturate(&mut frame, &others);
            }
        }
        stream.render(&frame);
        true
    }

    /// Whether there are no listeners, so that no frames are needed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.streams.iter().all(MixStream::is_empty)
    }

    /// Finishes the stream of every listener and drops the listeners.
    pub fn end(&mut self) {
        self.update_listeners();
        self.unrendered = 0..0;
        self.streams.drain(..).for_each(MixStream::end);
    }

    /// Number of sources, including those that were dropped since the last frame.
    #[must_use]
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// Number of listeners whose sink is open.
    #[must_use]
    pub fn listeners(&self) -> usize {
        let listeners = self.streams.iter().flat_map(MixStream::listeners);
        listeners.filter(|listener| listener.is_open()).count()
    }

    fn remove_dropped_sources(&mut self) {
        let before = self.sources.len();
        self.sources.retain(|source| source.handle.is_held());
        self.has_changed |= self.sources.len() != before;
    }

    /// Removes streams without listeners. Moves listeners whose mix has changed, because their owner's sources became
    /// audible or silent. Sets the latency of those whose owner has added its first source or dropped its last one. A
    /// closed listener is removed when its next page is due.
    fn update_listeners(&mut self) {
        if std::mem::take(&mut self.has_changed) {
            self.move_listeners();
        }
        self.streams.retain(|stream| !stream.is_empty());
    }

    fn move_listeners(&mut self) {
        let talkers = self.talkers();
        let participants: BTreeSet<u64> = self.sources.iter().map(|source| source.owner).collect();
        let settings = self.settings.clone();
        let mix_for = |owner| {
            let mix = mix_for(owner, &talkers, &settings);
            (mix, participants.contains(&owner))
        };
        let mut moved = Vec::new();
        for stream in &mut self.streams {
            let format = stream.format;
            let moving = stream.update_listeners(mix_for);
            moved.extend(moving.into_iter().map(|listener| (format, listener)));
        }
        for (format, listener) in moved {
            let (mix, _) = mix_for(listener.owner);
            if let Some(stream) = self.stream(mix, format) {
                stream.adopt_listener(listener);
            }
        }
    }

    /// The owners that are not muted. They get a mix without their own sources.
    fn talkers(&self) -> BTreeSet<u64> {
        self.sources
            .iter()
            .filter(|source| !source.is_muted())
            .map(|source| source.owner)
            .collect()
    }

    /// The stream of this mix in this format, created if it does not exist.
    fn stream(&mut self, mix: MixKind, format: Format) -> Option<&mut MixStream<O>> {
        let matches = |stream: &MixStream<O>| stream.mix == mix && stream.format == format;
        let at = match self.streams.iter().position(matches) {
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

/// Derives an Ogg serial number from a counter (SplitMix64). The numbers must differ, so that saved streams can be
/// concatenated (chained) in one file; they need not be unpredictable.
fn serial_number(count: u64) -> u32 {
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
