//! A thread beside the requests that ends with its owner.

use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

/// A running thread. Dropping it tells the thread to end, and waits until it has.
#[derive(Debug)]
pub(crate) struct Background {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts `work`, which ends when the receiver that it is given says that the sender is gone.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(name: &str, work: impl FnOnce(&Receiver<()>) + Send + 'static) -> std::io::Result<Background> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&stopped))?;
        Ok(Background { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there is a bug that its own message has told already.
            let _ = thread.join();
        }
    }
}
