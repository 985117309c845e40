//! Worker threads for Vorbis encoding.
//!
//! An encoder of vorbis_rs contains C pointers and is not `Send`, while a mixer moves between threads with
//! its task. So each encoder lives on one of a few worker threads. A mixer submits a frame and collects the
//! packets of the previous frame, 20 ms later, so it waits only if a worker is a whole frame behind. This
//! also bounds the queues: an encoder never has more than one frame in flight.

use std::{
    collections::HashMap,
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SendError, Sender, SyncSender, channel, sync_channel},
    },
    thread,
};

use crate::{
    encoder::{EncodeError, Packet},
    vorbis_encoder::VorbisStream,
};
use parking_lot::Mutex;

/// Maximum number of threads. More would compete with each other, and with signaling, for the processors.
const THREADS_MAX: usize = 8;

static WORKERS: [VorbisWorker; THREADS_MAX] = [const { VorbisWorker::not_started() }; THREADS_MAX];

type EncodeResult = Result<Vec<Packet>, EncodeError>;

/// The queue of a worker: work items with the id of their encoder.
type WorkQueue = Sender<(u64, WorkItem)>;

#[derive(Debug)]
enum WorkItem {
    Open {
        quality: f32,
        results: SyncSender<EncodeResult>,
    },
    Encode(Vec<f32>),
    Finish,
    Close,
    #[cfg(test)]
    Panic,
}

/// Handle of an encoder on a worker thread.
#[derive(Debug)]
pub(crate) struct RemoteEncoder {
    id: u64,
    queue: WorkQueue,
    results: Receiver<EncodeResult>,
    /// Whether a result has not been collected yet.
    is_in_flight: bool,
}

impl RemoteEncoder {
    pub(crate) fn new(quality: f32) -> Result<Self, EncodeError> {
        static LAST_ID: AtomicU64 = AtomicU64::new(0);
        let id = LAST_ID.fetch_add(1, Ordering::Relaxed);
        // Round-robin over the workers. There is one for each processor, up to the maximum.
        let count = thread::available_parallelism().map_or(1, NonZero::get);
        let slot = id % count.min(THREADS_MAX) as u64;
        let worker = usize::try_from(slot)
            .ok()
            .and_then(|slot| WORKERS.get(slot));
        Self::open_on(worker.ok_or(EncodeError)?, id, quality)
    }

    fn open_on(worker: &VorbisWorker, id: u64, quality: f32) -> Result<Self, EncodeError> {
        let (sender, results) = sync_channel(1);
        let work = WorkItem::Open {
            quality,
            results: sender,
        };
        Ok(Self {
            id,
            queue: worker.send((id, work))?,
            results,
            is_in_flight: false,
        })
    }

    /// Submits samples (full scale is 1.0) and appends the packets of the previous submission.
    pub(crate) fn encode(
        &mut self,
        samples: Vec<f32>,
        packets: &mut Vec<Packet>,
    ) -> Result<(), EncodeError> {
        self.collect(packets)?;
        self.submit(WorkItem::Encode(samples))
    }

    /// Ends the stream and appends the remaining packets. Later calls of `encode` fail.
    pub(crate) fn finish(&mut self, packets: &mut Vec<Packet>) -> Result<(), EncodeError> {
        self.collect(packets)?;
        self.submit(WorkItem::Finish)?;
        self.collect(packets)
    }

    /// Makes the worker panic while it handles this encoder.
    #[cfg(test)]
    pub(crate) fn panic(&mut self) {
        self.queue
            .send((self.id, WorkItem::Panic))
            .expect("the worker thread has ended");
    }

    fn submit(&mut self, work: WorkItem) -> Result<(), EncodeError> {
        self.is_in_flight = true;
        self.queue.send((self.id, work)).map_err(|_| EncodeError)
    }

    fn collect(&mut self, packets: &mut Vec<Packet>) -> Result<(), EncodeError> {
        if std::mem::take(&mut self.is_in_flight) {
            // The worker drops its sender when the encoder is removed, so this does not block forever.
            packets.extend(self.results.recv().map_err(|_| EncodeError)??);
        }
        Ok(())
    }
}

impl Drop for RemoteEncoder {
    fn drop(&mut self) {
        // If the worker has ended, there is nothing to close.
        let _ = self.queue.send((self.id, WorkItem::Close));
    }
}

/// A worker thread. It is started with the first work item, and restarted if it has ended.
#[derive(Debug)]
struct VorbisWorker(Mutex<Option<WorkQueue>>);

impl VorbisWorker {
    const fn not_started() -> Self {
        Self(Mutex::new(None))
    }

    /// Sends a work item and returns the queue for further items.
    fn send(&self, work: (u64, WorkItem)) -> Result<WorkQueue, EncodeError> {
        // A panic does not poison this lock; no code panics under it with the state half changed.
        let mut last = self.0.lock();
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
            // The next result of this encoder is an error, after which its owner creates another one. The other
            // encoders of this worker are unaffected.
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
        WorkItem::Open { quality, results } => {
            if let Ok((stream, _)) = VorbisStream::new(quality) {
                streams.insert(id, (stream, results));
            }
        }
        WorkItem::Encode(samples) => {
            if let Some((stream, results)) = streams.get_mut(&id) {
                let encoded = stream.encode(&samples, &mut packets);
                let _ = results.try_send(encoded.map(|()| packets));
            }
        }
        WorkItem::Finish => {
            if let Some((stream, results)) = streams.remove(&id) {
                let finished = stream.finish(&mut packets);
                let _ = results.try_send(finished.map(|()| packets));
            }
        }
        WorkItem::Close => {
            streams.remove(&id);
        }
        #[cfg(test)]
        WorkItem::Panic => panic!("requested by the test"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether 1 s can be encoded. It takes 47 packets; some of the last ones are still in the encoder.
    fn works(remote: &mut RemoteEncoder) -> bool {
        let mut packets = Vec::new();
        let are_accepted = (0..50).all(|_| remote.encode(vec![0.0; 960], &mut packets).is_ok());
        are_accepted && packets.len() > 35
    }

    fn open_on(worker: &VorbisWorker, id: u64) -> RemoteEncoder {
        RemoteEncoder::open_on(worker, id, 0.4).expect("cannot start the worker thread")
    }

    #[test]
    fn panic_removes_one_encoder_and_not_the_others_of_its_worker() {
        let worker = VorbisWorker::not_started();
        let [mut bad, mut good] = [0, 1].map(|id| open_on(&worker, id));
        assert!(works(&mut bad) && works(&mut good));
        bad.panic();
        assert!(!works(&mut bad));
        assert!(works(&mut good));
        let mut another = open_on(&worker, 2);
        assert!(works(&mut another));
    }

    #[test]
    fn ended_worker_is_restarted() {
        let (ended, _) = channel();
        let worker = VorbisWorker(Mutex::new(Some(ended)));
        let mut remote = open_on(&worker, 0);
        assert!(works(&mut remote));
        assert!(worker.send((0, WorkItem::Close)).is_ok());
    }

    #[test]
    fn encode_does_not_wait_for_the_submitted_frame() {
        let (queue, _unhandled_work) = channel();
        let worker = VorbisWorker(Mutex::new(Some(queue)));
        let mut remote = RemoteEncoder::open_on(&worker, 0, 0.4).expect("the queue is closed");
        assert!(remote.encode(vec![0.0; 960], &mut Vec::new()).is_ok());
    }
}
