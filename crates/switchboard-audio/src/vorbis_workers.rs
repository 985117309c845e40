//! The threads on which Vorbis is encoded.
//!
//! An encoder of vorbis_rs is full of C pointers and cannot leave the thread it was made on, while
//! a mixer goes from thread to thread with its task. So each encoder lives on one of a few threads.
//! A mixer leaves a frame there and takes along what has come of the frame before, 20 ms later, so
//! that it waits only when a thread is a whole frame behind. That is also what bounds the queues:
//! no encoder ever has more than one frame under way.

use std::{
    collections::HashMap,
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SendError, Sender, SyncSender, channel, sync_channel},
    },
    thread,
};

use crate::{
    encoder::{EncodeError, Packet},
    vorbis_encoder::VorbisStream,
};

/// More threads than this would only be in each other's way, and in that of the signalling.
const THREADS_MAX: usize = 8;

static WORKERS: [VorbisWorker; THREADS_MAX] = [const { VorbisWorker::none_yet() }; THREADS_MAX];

type EncodeResult = Result<Vec<Packet>, EncodeError>;

/// The way to a thread: work for the encoder of this number.
type WorkQueue = Sender<(u64, WorkItem)>;

#[derive(Debug)]
enum WorkItem {
    Open {
        quality: f32,
        answers: SyncSender<EncodeResult>,
    },
    Encode(Vec<f32>),
    Finish,
    Close,
    #[cfg(test)]
    Panic,
}

/// An encoder that lives on one of the threads.
#[derive(Debug)]
pub(crate) struct RemoteEncoder {
    id: u64,
    queue: WorkQueue,
    answers: Receiver<EncodeResult>,
    /// Whether there is an answer that has not been taken.
    is_asked: bool,
}

impl RemoteEncoder {
    pub(crate) fn new(quality: f32) -> Result<Self, EncodeError> {
        static LAST_ID: AtomicU64 = AtomicU64::new(0);
        let id = LAST_ID.fetch_add(1, Ordering::Relaxed);
        // In turn, so that they share the work.
        let count = thread::available_parallelism().map_or(1, NonZero::get);
        let turn = id % count.min(THREADS_MAX) as u64;
        let worker = usize::try_from(turn)
            .ok()
            .and_then(|turn| WORKERS.get(turn));
        Self::on(worker.ok_or(EncodeError)?, id, quality)
    }

    fn on(worker: &VorbisWorker, id: u64, quality: f32) -> Result<Self, EncodeError> {
        let (sender, answers) = sync_channel(1);
        let work = WorkItem::Open {
            quality,
            answers: sender,
        };
        Ok(Self {
            id,
            queue: worker.send((id, work))?,
            answers,
            is_asked: false,
        })
    }

    /// Takes samples (full scale is 1.0), gives the packets that the ones before have made ready.
    pub(crate) fn encode(
        &mut self,
        samples: Vec<f32>,
        packets: &mut Vec<Packet>,
    ) -> Result<(), EncodeError> {
        self.collect(packets)?;
        self.ask(WorkItem::Encode(samples))
    }

    /// Gives what is left. Nothing can be encoded after that.
    pub(crate) fn finish(&mut self, packets: &mut Vec<Packet>) -> Result<(), EncodeError> {
        self.collect(packets)?;
        self.ask(WorkItem::Finish)?;
        self.collect(packets)
    }

    /// Has the thread panic over this encoder.
    #[cfg(test)]
    pub(crate) fn panic(&mut self) {
        self.queue
            .send((self.id, WorkItem::Panic))
            .expect("a thread");
    }

    fn ask(&mut self, work: WorkItem) -> Result<(), EncodeError> {
        self.is_asked = true;
        self.queue.send((self.id, work)).map_err(|_| EncodeError)
    }

    fn collect(&mut self, packets: &mut Vec<Packet>) -> Result<(), EncodeError> {
        if std::mem::take(&mut self.is_asked) {
            // The thread drops its end when the encoder is gone, so this cannot wait for ever.
            packets.extend(self.answers.recv().map_err(|_| EncodeError)??);
        }
        Ok(())
    }
}

impl Drop for RemoteEncoder {
    fn drop(&mut self) {
        // Nobody there: then nothing has to be closed.
        let _ = self.queue.send((self.id, WorkItem::Close));
    }
}

/// The way to one thread, which is started when there is work for it, and again should it ever end.
#[derive(Debug)]
struct VorbisWorker(Mutex<Option<WorkQueue>>);

impl VorbisWorker {
    const fn none_yet() -> Self {
        Self(Mutex::new(None))
    }

    /// Sends work, and gives the way for more of it.
    fn send(&self, work: (u64, WorkItem)) -> Result<WorkQueue, EncodeError> {
        // Nothing that holds this lock panics half-way through a change.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let work = match &*last {
            None => work,
            Some(queue) => match queue.send(work) {
                Ok(()) => return Ok(queue.clone()),
                Err(SendError(work)) => work,
            },
        };
        let queue = start().ok_or(EncodeError)?;
        queue.send(work).map_err(|_| EncodeError)?;
        Ok(last.insert(queue).clone())
    }
}

fn start() -> Option<WorkQueue> {
    let (sender, receiver) = channel();
    let thread = thread::Builder::new().name("vorbis".into());
    thread.spawn(move || run(&receiver)).ok()?;
    Some(sender)
}

fn run(queue: &Receiver<(u64, WorkItem)>) {
    let mut streams = HashMap::new();
    for (id, work) in queue {
        let handled = catch_unwind(AssertUnwindSafe(|| handle(&mut streams, id, work)));
        if handled.is_err() {
            // Whoever has this encoder makes another; the others on this thread notice nothing.
            streams.remove(&id);
        }
    }
}

fn handle(
    streams: &mut HashMap<u64, (VorbisStream, SyncSender<EncodeResult>)>,
    id: u64,
    work: WorkItem,
) {
    let mut packets = Vec::new();
    match work {
        WorkItem::Open { quality, answers } => {
            if let Ok((stream, _)) = VorbisStream::new(quality) {
                streams.insert(id, (stream, answers));
            }
        }
        WorkItem::Encode(samples) => {
            if let Some((stream, answers)) = streams.get_mut(&id) {
                let encoded = stream.encode(&samples, &mut packets);
                let _ = answers.try_send(encoded.map(|()| packets));
            }
        }
        WorkItem::Finish => {
            if let Some((stream, answers)) = streams.remove(&id) {
                let finished = stream.finish(&mut packets);
                let _ = answers.try_send(finished.map(|()| packets));
            }
        }
        WorkItem::Close => {
            streams.remove(&id);
        }
        #[cfg(test)]
        WorkItem::Panic => panic!("as the test wants it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a second can be encoded, which is 47 long windows.
    fn works(remote: &mut RemoteEncoder) -> bool {
        let mut packets = Vec::new();
        let are_taken = (0..50).all(|_| remote.encode(vec![0.0; 960], &mut packets).is_ok());
        are_taken && packets.len() > 35
    }

    #[test]
    fn a_panic_costs_one_encoder_and_not_its_neighbours() {
        let worker = VorbisWorker::none_yet();
        let [mut bad, mut good] =
            [0, 1].map(|id| RemoteEncoder::on(&worker, id, 0.4).expect("a thread"));
        assert!(works(&mut bad) && works(&mut good));
        bad.panic();
        assert!(!works(&mut bad));
        assert!(works(&mut good));
        let mut another = RemoteEncoder::on(&worker, 2, 0.4).expect("a thread");
        assert!(works(&mut another));
    }

    #[test]
    fn a_thread_that_has_ended_is_started_again() {
        let (ended, _) = channel();
        let worker = VorbisWorker(Mutex::new(Some(ended)));
        let mut remote = RemoteEncoder::on(&worker, 0, 0.4).expect("another thread");
        assert!(works(&mut remote));
        assert!(worker.send((0, WorkItem::Close)).is_ok());
    }

    #[test]
    fn nobody_waits_for_a_frame_that_was_just_given() {
        let (queue, _work_that_nobody_does) = channel();
        let worker = VorbisWorker(Mutex::new(Some(queue)));
        let mut remote = RemoteEncoder::on(&worker, 0, 0.4).expect("a queue");
        assert!(remote.encode(vec![0.0; 960], &mut Vec::new()).is_ok());
    }
}
