//! The signals that a process of roles listens for, from its first moment on. One that comes before anybody has time for
//! it is kept.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the process is told from outside.
pub(crate) struct Signals {
    pub(crate) stop: Stop,
    /// SIGHUP: read again what can change.
    pub(crate) hangups: Signal,
}

/// SIGTERM and SIGINT.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From when this returns on, none of them kills the process.
    pub(crate) fn listen() -> io::Result<Self> {
        let stop =
            Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        Ok(Self { stop, hangups: signal(SignalKind::hangup())? })
    }
}

impl Stop {
    /// Resolves once the process is asked to stop.
    pub(crate) async fn asked(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
