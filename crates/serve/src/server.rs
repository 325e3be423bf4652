//! A server: two listeners, a runtime, and an orderly end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::http;
use crate::service::{Parts, Service};

/// Threads that move bytes. They never compute or wait for a store, so two keep up with far more than the workers do.
const IO_THREADS: usize = 2;

/// A running server. Dropping it without [`Server::stop`] ends it without waiting for requests in work.
pub struct Server {
    runtime: Runtime,
    service: Arc<Service>,
    stop: watch::Sender<bool>,
    listening: Vec<JoinHandle<io::Result<()>>>,
    http: SocketAddr,
    admin: SocketAddr,
}

impl Server {
    /// Looks at the tables once, then answers on both listeners.
    ///
    /// # Errors
    /// When the system gives no thread, or a listener cannot be used.
    pub fn start(parts: Parts, http: TcpListener, admin: TcpListener) -> io::Result<Server> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(IO_THREADS)
            .thread_name("io")
            .enable_all()
            .build()?;
        let service = Arc::new(Service::start(parts)?);
        let (stop, stopped) = watch::channel(false);
        let addresses = (http.local_addr()?, admin.local_addr()?);
        let listen = |listener: TcpListener, router: Router| {
            listener.set_nonblocking(true)?;
            let _context = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|connection| {
                // Without it a small answer may wait for the acknowledgement of the last one.
                if let Err(error) = connection.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY");
                }
            });
            let mut stopped = stopped.clone();
            let signal = async move {
                // A sender that is gone means the same.
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            Ok::<_, io::Error>(
                runtime.spawn(async move { axum::serve(listener, router).with_graceful_shutdown(signal).await }),
            )
        };
        let listening =
            vec![listen(http, http::public(Arc::clone(&service)))?, listen(admin, http::admin(Arc::clone(&service)))?];
        Ok(Server { runtime, service, stop, listening, http: addresses.0, admin: addresses.1 })
    }

    /// Where the public paths are.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Where the admin paths are.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Why full answers cannot be given now; `None` when they can.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.service.problem()
    }

    /// Waits for SIGTERM or ctrl-c.
    ///
    /// # Errors
    /// When the system does not tell of signals.
    pub fn wait_for_signal(&self) -> io::Result<&'static str> {
        self.runtime.block_on(async {
            #[cfg(unix)]
            {
                use tokio::signal::unix::{SignalKind, signal};
                let mut terminate = signal(SignalKind::terminate())?;
                tokio::select! {
                    _ = terminate.recv() => Ok("SIGTERM"),
                    interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| "ctrl-c"),
                }
            }
            #[cfg(not(unix))]
            tokio::signal::ctrl_c().await.map(|()| "ctrl-c")
        })
    }

    /// Takes no more connections, waits for requests in work no longer than the drain time, and ends. Returns whether
    /// all were answered.
    pub fn stop(self) -> bool {
        let Server { runtime, service, stop, listening, .. } = self;
        service.stopping.store(true, Ordering::Release);
        stop.send_replace(true);
        let drain = service.options.drain;
        let all = async {
            for task in listening {
                if let Ok(Err(error)) | Err(error) = task.await.map_err(io::Error::other) {
                    tracing::error!(%error, "a listener failed");
                }
            }
        };
        let drained = runtime.block_on(async { tokio::time::timeout(drain, all).await.is_ok() });
        if !drained {
            tracing::warn!(drain_s = drain.as_secs_f64(), "requests were still in work");
        }
        // What still waits for a disk gets a moment more.
        runtime.shutdown_timeout(Duration::from_secs(1));
        drained
    }
}
