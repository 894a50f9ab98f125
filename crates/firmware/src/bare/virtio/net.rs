//! The network interface, as smoltcp wants one.
//!
//! Frames are copied on their way: what the device writes to is never lent. Nothing is allocated once it is open.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use penstock_rescue::smoltcp::phy::{self, DeviceCapabilities, Medium};
use penstock_rescue::smoltcp::time::Instant;
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::mmio::MmioTransport;

use super::{Memory, find};

/// How many frames wait in either direction.
const FRAMES: usize = 64;
/// An Ethernet frame, without its checksum.
const FRAME_BYTES_MAX: usize = 1514;
/// A frame with what virtio puts before it, and what the driver asks for at least.
const BUFFER_BYTES: usize = 1600;

type Buffer = Box<[u8; BUFFER_BYTES]>;

/// The interface.
pub(crate) struct Net {
    io: Io,
    /// What was received last, and is handed on.
    received: Buffer,
}

/// The device, and what it has of ours.
struct Io {
    raw: VirtIONetRaw<Memory, MmioTransport<'static>, FRAMES>,
    /// Frames that the device fills, by the token under which it has them.
    receiving: Vec<Option<Buffer>>,
    /// Frames that the device sends, the same.
    sending: Vec<Option<Buffer>>,
    /// Frames to be sent that it does not have.
    free: Vec<Buffer>,
    /// The device does not do what it should any more.
    is_lost: bool,
}

impl Net {
    /// The first one of the machine.
    pub(crate) fn open(devices: &[Range<u64>]) -> Option<Self> {
        let raw = VirtIONetRaw::new(find(devices, DeviceType::Network)?).ok()?;
        let buffer = || Box::new([0; BUFFER_BYTES]);
        let none = || (0..FRAMES).map(|_| None).collect();
        let mut io = Io {
            raw,
            receiving: none(),
            sending: none(),
            free: (0..FRAMES).map(|_| buffer()).collect(),
            is_lost: false,
        };
        for _ in 0..FRAMES {
            io.offer(buffer());
        }
        Some(Self { io, received: buffer() })
    }

    /// The address that its host gave it.
    pub(crate) fn mac(&self) -> [u8; 6] {
        self.io.raw.mac_address()
    }
}

impl Io {
    /// Gives the device a buffer for the next frame.
    fn offer(&mut self, mut buffer: Buffer) {
        // SAFETY: the buffer is kept in `receiving` and not accessed before `receive_complete` has given it back.
        #[allow(unsafe_code, reason = "the device writes to memory")]
        let token = unsafe { self.raw.receive_begin(&mut buffer[..]) };
        match token.ok().and_then(|token| self.receiving.get_mut(usize::from(token))) {
            Some(place) => *place = Some(buffer),
            None => self.lose(buffer),
        }
    }

    /// A device that takes a buffer under a token that cannot be, or none, is not used any more. What it may still write to
    /// stays what it is.
    fn lose(&mut self, buffer: Buffer) {
        self.is_lost = true;
        Box::leak(buffer);
    }

    /// Takes the next frame out of the device's hands, for another buffer. Where in it the frame is.
    fn take(&mut self, into: &mut Buffer) -> Option<Range<usize>> {
        if self.is_lost {
            return None;
        }
        let token = self.raw.poll_receive()?;
        let Some(mut buffer) = self.receiving.get_mut(usize::from(token)).and_then(Option::take) else {
            self.is_lost = true;
            return None;
        };
        // SAFETY: it is the buffer that was given to `receive_begin`, which returned this token.
        #[allow(unsafe_code, reason = "the device wrote to memory")]
        let done = unsafe { self.raw.receive_complete(token, &mut buffer[..]) };
        let Ok((head_bytes, bytes)) = done else {
            self.lose(buffer);
            return None;
        };
        core::mem::swap(into, &mut buffer);
        self.offer(buffer);
        Some(head_bytes..(head_bytes + bytes).min(BUFFER_BYTES))
    }

    /// Takes back what was sent.
    fn reclaim(&mut self) {
        while let Some(token) = self.raw.poll_transmit().filter(|_| !self.is_lost) {
            let Some(buffer) = self.sending.get_mut(usize::from(token)).and_then(Option::take) else {
                self.is_lost = true;
                return;
            };
            // SAFETY: it is the buffer that was given to `transmit_begin`, which returned this token.
            #[allow(unsafe_code, reason = "the device read memory")]
            let done = unsafe { self.raw.transmit_complete(token, &buffer[..]) };
            match done {
                Ok(_) => self.free.push(buffer),
                Err(_) => self.lose(buffer),
            }
        }
    }

    fn can_send(&mut self) -> bool {
        self.reclaim();
        !self.is_lost && !self.free.is_empty()
    }

    fn send<R>(&mut self, bytes: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let bytes = bytes.min(FRAME_BYTES_MAX);
        let Some(mut buffer) = self.free.pop() else {
            // Nobody asks without a token, which there is only with a buffer. What is written is lost, as on any network.
            return fill(&mut vec![0; bytes]);
        };
        let head_bytes = self.raw.fill_buffer_header(&mut buffer[..]).unwrap_or(0);
        let end = head_bytes + bytes;
        let filled = fill(buffer.get_mut(head_bytes..end).unwrap_or_default());
        // SAFETY: the buffer is kept in `sending` and not accessed before `transmit_complete` has given it back.
        #[allow(unsafe_code, reason = "the device reads memory")]
        let token = unsafe { self.raw.transmit_begin(buffer.get(..end).unwrap_or_default()) };
        match token.ok().and_then(|token| self.sending.get_mut(usize::from(token))) {
            Some(place) => *place = Some(buffer),
            None => self.lose(buffer),
        }
        filled
    }
}

/// A frame that came.
pub(crate) struct Received<'a>(&'a [u8]);

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(self.0)
    }
}

/// Room for a frame.
pub(crate) struct Sending<'a>(&'a mut Io);

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, bytes: usize, fill: F) -> R {
        self.0.send(bytes, fill)
    }
}

impl phy::Device for Net {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sending<'a>;

    /// What comes is only taken while there is room for the answer to it.
    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        let Self { io, received } = self;
        if !io.can_send() {
            return None;
        }
        let frame = io.take(received)?;
        Some((Received(received.get(frame).unwrap_or_default()), Sending(io)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        self.io.can_send().then_some(Sending(&mut self.io))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_BYTES_MAX;
        capabilities
    }
}
