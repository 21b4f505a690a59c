//! A wire in memory between two ports, of one engine or of two.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded, never};
use rustix::event::{EventfdFlags, eventfd};

use super::{PortIo, ReceiveError};
use crate::drop_reason::DropReason;
use crate::packet::{Received, VNET_HEADER};

/// Frames that wait on a wire, each way; more are [`DropReason::TxQueueFull`].
const QUEUE_FRAMES: usize = 1024;
/// Largest frame on a wire, in bytes.
const MAX_FRAME: usize = 9_216;

/// One end of a wire. The other end goes when this one is dropped.
#[derive(Debug)]
pub struct WireEnd {
    /// None only while it is dropped.
    tx: Option<Sender<Bytes>>,
    rx: Receiver<Bytes>,
    own_bell: Arc<OwnedFd>,
    far_bell: Arc<OwnedFd>,
    /// Another handle receives.
    is_sender: bool,
}

/// A wire.
///
/// # Errors
/// If the process is out of file descriptors.
pub fn wire() -> io::Result<(WireEnd, WireEnd)> {
    let bell = || -> io::Result<Arc<OwnedFd>> {
        Ok(Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
    };
    let (left_bell, right_bell) = (bell()?, bell()?);
    let (to_right, from_left) = bounded(QUEUE_FRAMES);
    let (to_left, from_right) = bounded(QUEUE_FRAMES);
    let left = WireEnd {
        tx: Some(to_right),
        rx: from_right,
        own_bell: left_bell.clone(),
        far_bell: right_bell.clone(),
        is_sender: false,
    };
    let right = WireEnd {
        tx: Some(to_left),
        rx: from_left,
        own_bell: right_bell,
        far_bell: left_bell,
        is_sender: false,
    };
    Ok((left, right))
}

impl PortIo for WireEnd {
    fn raw_fd(&self) -> Option<RawFd> {
        (!self.is_sender).then(|| self.own_bell.as_raw_fd())
    }

    fn max_frame(&self) -> usize {
        MAX_FRAME
    }

    fn receive(&mut self, room: &mut [u8]) -> Result<Received, ReceiveError> {
        match self.rx.try_recv() {
            Ok(frame) => match room.get_mut(VNET_HEADER..VNET_HEADER + frame.len()) {
                Some(room) => {
                    room.copy_from_slice(&frame);
                    Ok(Received::finished(frame.len()))
                }
                None => Err(ReceiveError::Truncated),
            },
            Err(TryRecvError::Empty) => Err(ReceiveError::Empty),
            Err(TryRecvError::Disconnected) => {
                Err(ReceiveError::Gone(io::Error::from(io::ErrorKind::BrokenPipe)))
            }
        }
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), DropReason> {
        let tx = self.tx.as_ref().ok_or(DropReason::TxDeviceGone)?;
        tx.try_send(Bytes::copy_from_slice(frame)).map_err(|error| match error {
            TrySendError::Full(_) => DropReason::TxQueueFull,
            TrySendError::Disconnected(_) => DropReason::TxDeviceGone,
        })?;
        // A full counter means that the far side has a ring coming anyway.
        let _ = rustix::io::write(&*self.far_bell, &1u64.to_ne_bytes());
        Ok(())
    }

    fn sender(&self) -> io::Result<Box<dyn PortIo>> {
        Ok(Box::new(Self {
            tx: self.tx.clone(),
            rx: never(),
            own_bell: self.own_bell.clone(),
            far_bell: self.far_bell.clone(),
            is_sender: true,
        }))
    }
}

impl Drop for WireEnd {
    fn drop(&mut self) {
        // Disconnect first: the far side must find the end when it hears the bell.
        self.tx = None;
        let _ = rustix::io::write(&*self.far_bell, &1u64.to_ne_bytes());
    }
}
