//! A file descriptor that becomes readable when somebody rings: how threads of the engine wake an event loop.
//!
//! An eventfd where there is one, a socket pair elsewhere. Why not `loop.call_soon_threadsafe`: it needs the
//! interpreter, so a shard would wait for whatever Python code runs at the moment.

use std::{io, os::fd::RawFd, sync::Arc, task::Wake};

/// Rung by any thread, answered by the thread of one loop. A bell that is rung twice is readable once.
#[derive(Debug)]
pub(crate) struct Doorbell(imp::Bell);

impl Doorbell {
    /// # Errors
    /// The process has no file descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        imp::Bell::new().map(Self)
    }

    /// What the loop watches; it lives as long as the bell.
    pub(crate) fn fileno(&self) -> RawFd {
        self.0.fileno()
    }

    /// Makes the descriptor unreadable until it is rung again.
    pub(crate) fn clear(&self) {
        self.0.clear();
    }
}

impl Wake for Doorbell {
    fn wake(self: Arc<Self>) {
        self.0.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.ring();
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use std::{
        io,
        os::fd::{AsRawFd, OwnedFd, RawFd},
    };

    use rustix::event::{EventfdFlags, eventfd};

    #[derive(Debug)]
    pub(super) struct Bell(OwnedFd);

    impl Bell {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
        }

        pub(super) fn fileno(&self) -> RawFd {
            self.0.as_raw_fd()
        }

        // Fails only when the counter is full, and then the bell is rung already.
        pub(super) fn ring(&self) {
            let _full = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        }

        // Fails only when the counter is zero.
        pub(super) fn clear(&self) {
            let _zero = rustix::io::read(&self.0, &mut [0u8; 8]);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::{
        io::{self, Read, Write},
        os::{
            fd::{AsRawFd, RawFd},
            unix::net::UnixStream,
        },
    };

    #[derive(Debug)]
    pub(super) struct Bell {
        watched: UnixStream,
        rung: UnixStream,
    }

    impl Bell {
        pub(super) fn new() -> io::Result<Self> {
            let (watched, rung) = UnixStream::pair()?;
            watched.set_nonblocking(true)?;
            rung.set_nonblocking(true)?;
            Ok(Self { watched, rung })
        }

        pub(super) fn fileno(&self) -> RawFd {
            self.watched.as_raw_fd()
        }

        // Fails only when the buffer is full, and then the bell is rung already.
        pub(super) fn ring(&self) {
            let _full = (&self.rung).write(&[1]);
        }

        pub(super) fn clear(&self) {
            let mut bytes = [0; 64];
            while matches!((&self.watched).read(&mut bytes), Ok(count) if count == bytes.len()) {}
        }
    }
}
