//! The threads on which Vorbis is encoded.
//!
//! An encoder of vorbis_rs is full of C pointers and cannot leave the thread it was made on, while
//! a mixer goes from thread to thread with its task. So each encoder lives on one of a few threads,
//! and a mixer waits for the answer, which takes as long as encoding would. The queues to them are
//! bounded by that: no encoder ever has more than one frame under way.

use std::{
    collections::HashMap,
    num::NonZero,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
};

use crate::{
    coder::{EncodeError, Packet},
    vorbis_encoder::VorbisStream,
};

/// More threads than this would only be in each other's way, and in that of the signalling.
const THREADS_MAX: usize = 8;

type Answer = Result<Vec<Packet>, EncodeError>;

#[derive(Debug)]
enum Work {
    Open {
        quality: f32,
        answers: SyncSender<Answer>,
    },
    Encode(Vec<f32>),
    Finish,
    Close,
}

/// An encoder that lives on one of the threads.
#[derive(Debug)]
pub(crate) struct Remote {
    id: u64,
    worker: Sender<(u64, Work)>,
    answers: Receiver<Answer>,
}

impl Remote {
    pub(crate) fn new(quality: f32) -> Result<Self, EncodeError> {
        static LAST_ID: AtomicU64 = AtomicU64::new(0);
        let id = LAST_ID.fetch_add(1, Ordering::Relaxed);
        let worker = worker_for(id)?;
        let (sender, answers) = sync_channel(1);
        let work = Work::Open {
            quality,
            answers: sender,
        };
        worker.send((id, work)).map_err(|_| EncodeError)?;
        Ok(Self {
            id,
            worker,
            answers,
        })
    }

    /// Takes samples (full scale is 1.0), gives the packets that are ready.
    pub(crate) fn encode(
        &mut self,
        samples: Vec<f32>,
        packets: &mut Vec<Packet>,
    ) -> Result<(), EncodeError> {
        self.ask(Work::Encode(samples), packets)
    }

    /// Gives what is left. Nothing can be encoded after that.
    pub(crate) fn finish(&mut self, packets: &mut Vec<Packet>) -> Result<(), EncodeError> {
        self.ask(Work::Finish, packets)
    }

    fn ask(&mut self, work: Work, packets: &mut Vec<Packet>) -> Result<(), EncodeError> {
        self.worker.send((self.id, work)).map_err(|_| EncodeError)?;
        // The worker drops its end when the encoder is gone, so this cannot wait for ever.
        packets.extend(self.answers.recv().map_err(|_| EncodeError)??);
        Ok(())
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // Nobody there: then nothing has to be closed.
        let _ = self.worker.send((self.id, Work::Close));
    }
}

/// The thread of this encoder: in turn, so that they share the work.
fn worker_for(id: u64) -> Result<Sender<(u64, Work)>, EncodeError> {
    static WORKERS: OnceLock<Vec<Sender<(u64, Work)>>> = OnceLock::new();
    let workers = WORKERS.get_or_init(|| {
        let count = thread::available_parallelism().map_or(1, NonZero::get);
        (0..count.min(THREADS_MAX)).filter_map(start).collect()
    });
    let turn = usize::try_from(id % workers.len().max(1) as u64).unwrap_or_default();
    workers.get(turn).cloned().ok_or(EncodeError)
}

fn start(number: usize) -> Option<Sender<(u64, Work)>> {
    let (sender, receiver) = channel();
    let name = format!("vorbis-{number}");
    let thread = thread::Builder::new()
        .name(name)
        .spawn(move || run(&receiver));
    thread.is_ok().then_some(sender)
}

fn run(queue: &Receiver<(u64, Work)>) {
    let mut streams = HashMap::new();
    for (id, work) in queue {
        handle(&mut streams, id, work);
    }
}

fn handle(streams: &mut HashMap<u64, (VorbisStream, SyncSender<Answer>)>, id: u64, work: Work) {
    let mut packets = Vec::new();
    match work {
        Work::Open { quality, answers } => {
            if let Ok((stream, _)) = VorbisStream::new(quality) {
                streams.insert(id, (stream, answers));
            }
        }
        Work::Encode(samples) => {
            if let Some((stream, answers)) = streams.get_mut(&id) {
                let encoded = stream.encode(&samples, &mut packets);
                let _ = answers.try_send(encoded.map(|()| packets));
            }
        }
        Work::Finish => {
            if let Some((stream, answers)) = streams.remove(&id) {
                let finished = stream.finish(&mut packets);
                let _ = answers.try_send(finished.map(|()| packets));
            }
        }
        Work::Close => {
            streams.remove(&id);
        }
    }
}
