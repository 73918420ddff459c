//! One direction of a connection, and the stream that two of them make.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll, Waker},
};

use futures::io::{AsyncRead, AsyncWrite};

use super::{Fabric, HostId, State, driver::What, lock, nat::Flow};

/// What may be under way or unread in one direction, in bytes.
const WINDOW: usize = 512 * 1024;

pub(super) struct Pipe {
    pub(super) from: HostId,
    pub(super) to: HostId,
    /// As the boxes on its way know the connection, where there are any.
    pub(super) flows: [Option<Flow>; 2],
    base_us: u64,
    /// Written, with the moment of arrival; `None` is the end.
    under_way: VecDeque<(u64, Option<Vec<u8>>)>,
    /// Arrived, with how much of the first has been read.
    arrived: VecDeque<Vec<u8>>,
    read: usize,
    /// Bytes in both.
    held: usize,
    ended: bool,
    closed: bool,
    dead: bool,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// No later write arrives before this.
    last_arrival_us: u64,
    /// The virtual moment of the last write: writes of one moment travel as one.
    last_write_us: Option<u64>,
    /// How long it has been cut off, and the wait before the next try.
    stalled_us: u64,
    retry_us: u64,
}

/// Bytes in one segment: what Ethernet's MTU leaves of 1,500 after the headers of IP and TCP and a timestamp.
const SEGMENT: usize = 1_448;
/// After this long without getting through, a connection is reset, as by keep-alives.
const GIVE_UP_US: u64 = 60_000_000;

impl Pipe {
    fn new(from: HostId, to: HostId, flows: [Option<Flow>; 2], base_us: u64) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            from,
            to,
            flows,
            base_us,
            under_way: VecDeque::new(),
            arrived: VecDeque::new(),
            read: 0,
            held: 0,
            ended: false,
            closed: false,
            dead: false,
            reader_gone: false,
            reader: None,
            writer: None,
            last_arrival_us: 0,
            last_write_us: None,
            stalled_us: 0,
            retry_us: 0,
        }))
    }

    /// Breaks the connection: both ends see a reset, and what was under way is gone.
    pub(super) fn reset(&mut self) {
        self.dead = true;
        self.under_way.clear();
        self.arrived.clear();
        (self.held, self.read) = (0, 0);
        [self.reader.take(), self.writer.take()].into_iter().flatten().for_each(Waker::wake);
    }

    /// Its writer's machine is gone: nothing more comes, and the reader isn't told.
    pub(super) fn fall_silent(&mut self) {
        self.closed = true;
        self.held -= self.under_way.iter().filter_map(|(_, bytes)| bytes.as_ref()).map(Vec::len).sum::<usize>();
        self.under_way.clear();
    }

    /// The network can't deliver now: tries again later, and after a minute resets. Returns when to try again.
    pub(super) fn stall(&mut self, now_us: u64) -> Option<u64> {
        self.retry_us = (self.retry_us * 2).clamp(200_000, 16_000_000);
        self.stalled_us += self.retry_us;
        if self.stalled_us > GIVE_UP_US {
            self.reset();
            return None;
        }
        let again = now_us + self.retry_us;
        for (at, _) in &mut self.under_way {
            *at = (*at).max(again);
        }
        self.last_arrival_us = self.last_arrival_us.max(again);
        Some(again)
    }

    /// Hands over what has arrived by `at_us`.
    pub(super) fn arrive(&mut self, at_us: u64) -> Option<Waker> {
        (self.retry_us, self.stalled_us) = (0, 0);
        while self.under_way.front().is_some_and(|(at, _)| *at <= at_us) {
            match self.under_way.pop_front() {
                Some((_, Some(bytes))) if !self.reader_gone => self.arrived.push_back(bytes),
                Some((_, Some(bytes))) => self.held -= bytes.len(),
                _ => self.ended = true,
            }
        }
        self.reader.take()
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }
}

/// Puts bytes, or the end, on their way: in segments, each with its own jitter and its own chance to be lost.
fn write(fabric: &Fabric, shared: &Arc<Mutex<Pipe>>, pipe: &mut Pipe, bytes: Option<&[u8]>) {
    let mut state = fabric.lock();
    let now = state.now_us();
    state.traffic.writes += 1;
    let Some(mut bytes) = bytes else { return send(&mut state, shared, pipe, None) };
    state.count(pipe.from, pipe.to, bytes.len() as u64);
    pipe.held += bytes.len();
    // Writes of one moment fill the segment that is still in the socket's buffer.
    if pipe.last_write_us == Some(now)
        && let Some((_, Some(last))) = pipe.under_way.back_mut()
    {
        let (fits, rest) = bytes.split_at(bytes.len().min(SEGMENT.saturating_sub(last.len())));
        last.extend_from_slice(fits);
        bytes = rest;
    }
    pipe.last_write_us = Some(now);
    bytes.chunks(SEGMENT).for_each(|segment| send(&mut state, shared, pipe, Some(segment)));
}

fn send(state: &mut State, shared: &Arc<Mutex<Pipe>>, pipe: &mut Pipe, segment: Option<&[u8]>) {
    let length = segment.map_or(0, <[u8]>::len) as u64;
    let delay = state.delay_us(pipe.base_us) + state.uplink_us(pipe.from, length);
    let at = (state.now_us() + delay).max(pipe.last_arrival_us);
    pipe.last_arrival_us = at;
    pipe.under_way.push_back((at, segment.map(<[u8]>::to_vec)));
    state.push(at, What::Deliver(Arc::clone(shared)));
}

/// One end of a connection.
pub struct FabricStream {
    fabric: Fabric,
    out: Arc<Mutex<Pipe>>,
    into: Arc<Mutex<Pipe>>,
}

impl FabricStream {
    /// Both ends of a new connection.
    pub(super) fn pair(fabric: &Fabric, from: HostId, to: HostId, flows: [Option<Flow>; 2]) -> (Self, Self) {
        let mut state = fabric.lock();
        let there = Pipe::new(from, to, flows, state.base_us(from, to));
        let back = Pipe::new(to, from, flows, state.base_us(to, from));
        state.pipes.extend([&there, &back].map(Arc::downgrade));
        if state.pipes.len().is_power_of_two() {
            state.pipes.retain(|pipe: &Weak<_>| pipe.strong_count() > 0);
        }
        let near = Self { fabric: fabric.clone(), out: Arc::clone(&there), into: Arc::clone(&back) };
        (near, Self { fabric: fabric.clone(), out: back, into: there })
    }

    fn close(&self) {
        let mut pipe = lock(&self.out);
        if !pipe.closed && !pipe.dead {
            pipe.closed = true;
            write(&self.fabric, &self.out, &mut pipe, None);
        }
    }
}

impl AsyncRead for FabricStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut pipe = lock(&self.into);
        let pipe = &mut *pipe;
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut filled = 0;
        while let Some(first) = pipe.arrived.front().filter(|_| filled < buffer.len()) {
            let count = (first.len() - pipe.read).min(buffer.len() - filled);
            buffer[filled..filled + count].copy_from_slice(&first[pipe.read..pipe.read + count]);
            filled += count;
            pipe.read += count;
            pipe.held -= count;
            if pipe.read == first.len() {
                pipe.arrived.pop_front();
                pipe.read = 0;
            }
        }
        if filled > 0 {
            if let Some(writer) = pipe.writer.take() {
                writer.wake();
            }
            return Poll::Ready(Ok(filled));
        }
        if pipe.dead {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if pipe.ended {
            return Poll::Ready(Ok(0));
        }
        pipe.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for FabricStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = lock(&self.out);
        if pipe.dead || pipe.closed || pipe.reader_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if pipe.held >= WINDOW {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = bytes.len().min(WINDOW - pipe.held);
        write(&self.fabric, &self.out, &mut pipe, Some(&bytes[..count]));
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for FabricStream {
    fn drop(&mut self) {
        self.close();
        let mut pipe = lock(&self.into);
        pipe.reader_gone = true;
        pipe.held -= pipe.arrived.iter().map(Vec::len).sum::<usize>() - pipe.read;
        pipe.read = 0;
        pipe.arrived.clear();
        if let Some(writer) = pipe.writer.take() {
            writer.wake();
        }
    }
}
