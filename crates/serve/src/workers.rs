//! Threads that compute: a fixed number of them behind a bounded queue.
//!
//! Requests are not answered on the threads that move bytes: one that waits for a store, or ranks a large catalogue,
//! would stall every connection of its thread. `spawn_blocking` would not either, but its threads are not bounded by
//! the work that one machine can do at once, and each would need buffers of its own; these keep one [`Workspace`] each.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::{predict, recommend};

/// Buffers of one thread, reused by request after request.
#[derive(Debug, Default)]
pub struct Workspace {
    /// For recommendations.
    pub recommend: recommend::Workspace,
    /// For rows.
    pub predict: predict::Workspace,
}

type Job = Box<dyn FnOnce(&mut Workspace) + Send>;

/// The threads; dropping it lets them finish what is queued and waits for them.
#[derive(Debug)]
pub struct Workers {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

/// The queue was full, or the threads are stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    /// One per thread, by which it is woken.
    wakers: Vec<Condvar>,
    capacity: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Threads that wait, the last one on top: it is woken first, because its buffers are still in its core's cache.
    idle: Vec<usize>,
    stopping: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("jobs", &self.jobs.len()).field("stopping", &self.stopping).finish()
    }
}

impl Workers {
    /// Starts `threads` threads, at least one, with room for `capacity` waiting jobs.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(threads: usize, capacity: usize) -> std::io::Result<Workers> {
        let threads = threads.max(1);
        let wakers = std::iter::repeat_with(Condvar::new).take(threads).collect();
        let queue = Arc::new(Queue { state: Mutex::default(), wakers, capacity });
        let mut workers = Workers { queue, threads: Vec::new() };
        for number in 0..threads {
            let queue = Arc::clone(&workers.queue);
            let named = std::thread::Builder::new().name(format!("answer-{number}"));
            workers.threads.push(named.spawn(move || queue.work(number))?);
        }
        Ok(workers)
    }

    /// Queues a job.
    ///
    /// # Errors
    /// [`Full`]; the job is dropped.
    pub fn submit(&self, job: impl FnOnce(&mut Workspace) + Send + 'static) -> Result<(), Full> {
        let mut state = self.queue.state();
        if state.stopping || state.jobs.len() >= self.queue.capacity {
            return Err(Full);
        }
        state.jobs.push_back(Box::new(job));
        let woken = state.idle.pop();
        drop(state);
        if let Some(thread) = woken {
            self.queue.wakers[thread].notify_one();
        }
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.state().stopping = true;
        self.queue.wakers.iter().for_each(Condvar::notify_one);
        for thread in self.threads.drain(..) {
            // A worker catches the panics of its jobs, so it ends by itself.
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, thread: usize) -> Option<Job> {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.stopping {
                return None;
            }
            state.idle.push(thread);
            state = self.wakers[thread].wait(state).unwrap_or_else(PoisonError::into_inner);
            // Who was woken was taken from the list; a wait may also end by itself.
            state.idle.retain(|idle| *idle != thread);
        }
    }

    fn work(&self, thread: usize) {
        let mut workspace = Workspace::default();
        while let Some(job) = self.next(thread) {
            // A panic is a bug, but one request's: its caller sees the dropped channel, the next request is answered.
            if catch_unwind(AssertUnwindSafe(|| job(&mut workspace))).is_err() {
                tracing::error!("a request panicked; this is a bug");
                workspace = Workspace::default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_are_done_on_few_threads_and_a_panic_ends_none() {
        let workers = Workers::start(2, 100).expect("threads");
        let (sender, receiver) = mpsc::channel();
        for number in 0..50 {
            let sender = sender.clone();
            let job = move |_: &mut Workspace| {
                assert!(number % 10 != 3, "job {number} fails");
                sender.send(number).expect("the receiver lives");
            };
            workers.submit(job).expect("room for 100");
        }
        drop((workers, sender));
        let mut done: Vec<i32> = receiver.iter().collect();
        done.sort_unstable();
        assert_eq!(done, (0..50).filter(|number| number % 10 != 3).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_queue_refuses() {
        let workers = Workers::start(1, 1).expect("a thread");
        let (release, wait) = mpsc::channel::<()>();
        let (started, begun) = mpsc::channel();
        let blocking = move |_: &mut Workspace| {
            started.send(()).expect("the test waits");
            wait.recv().expect("the test releases it");
        };
        workers.submit(blocking).expect("an idle thread");
        begun.recv().expect("it began");
        workers.submit(|_| ()).expect("one may wait");
        assert_eq!(workers.submit(|_| ()), Err(Full));
        release.send(()).expect("it waits");
    }
}
