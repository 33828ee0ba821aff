//! The two directions of one connection.

use super::Seen;
use super::fault::{Action, Fault, Side};
use crate::wire::whole_packet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::Mutex;

/// The most bytes that wait for the rest of their packet.
const PACKET_MAX: usize = 16 << 20;

pub(super) struct Pumps {
    connection: usize,
    fault: Fault,
    seen: Arc<Seen>,
}

/// A writer that both directions may use: one to pass on, the other to answer.
type Writer<T> = Mutex<WriteHalf<T>>;

impl Pumps {
    pub(super) fn new(connection: usize, fault: Fault, seen: Arc<Seen>) -> Self {
        Self { connection, fault, seen }
    }

    /// Carries until either end closes or the fault cuts; then both are closed.
    pub(super) async fn run<C, S>(&self, client: C, server: S)
    where
        C: AsyncRead + AsyncWrite,
        S: AsyncRead + AsyncWrite,
    {
        let (client_in, client_out) = split(client);
        let (server_in, server_out) = split(server);
        let (client_out, server_out) = (Mutex::new(client_out), Mutex::new(server_out));
        tokio::select! {
            _ = self.pump(Side::Client, client_in, &server_out, &client_out) => {}
            _ = self.pump(Side::Server, server_in, &client_out, &server_out) => {}
        }
        // What was passed on goes out before the end; an end that is gone already needs none.
        let _ = client_out.lock().await.shutdown().await;
        let _ = server_out.lock().await.shutdown().await;
    }

    async fn pump<F, T>(&self, from: Side, mut input: ReadHalf<F>, onward: &Writer<T>, back: &Writer<F>) -> std::io::Result<()>
    where
        F: AsyncRead + AsyncWrite,
        T: AsyncRead + AsyncWrite,
    {
        let mut direction = Direction { from, bytes: 0, packets: 0, stalled: false };
        let mut waiting = vec![];
        let mut chunk = vec![0; 64 << 10];
        loop {
            let len = input.read(&mut chunk).await?;
            if len == 0 || waiting.len() > PACKET_MAX {
                return Ok(());
            }
            if let Fault::CutAfterBytes { from: side, count } = self.fault
                && side == from
            {
                let pass = len.min(count - direction.bytes);
                onward.lock().await.write_all(&chunk[..pass]).await?;
                direction.bytes += pass;
                if direction.bytes == count {
                    return Ok(());
                }
                continue;
            }
            waiting.extend_from_slice(&chunk[..len]);
            while let Some(len) = whole_packet(&waiting) {
                let packet: Vec<u8> = waiting.drain(..len).collect();
                if self.handle(&mut direction, packet, onward, back).await?.is_break() {
                    return Ok(());
                }
            }
        }
    }

    async fn handle<F, T>(
        &self,
        direction: &mut Direction,
        packet: Vec<u8>,
        onward: &Writer<T>,
        back: &Writer<F>,
    ) -> std::io::Result<ControlFlow<()>>
    where
        F: AsyncRead + AsyncWrite,
        T: AsyncRead + AsyncWrite,
    {
        direction.packets += 1;
        // Before it goes on: what an end has received is recorded.
        self.seen.note(self.connection, direction.from, &packet);
        let earlier = |connection: Option<usize>, kind: u8| {
            let recorded = self.seen.lock();
            recorded.connections.get(connection.unwrap_or(self.connection))?.server.iter().find(|packet| packet[0] >> 4 == kind).cloned()
        };
        let action = self.fault.judge(direction.from, direction.packets, &packet, &mut direction.stalled, &earlier);
        match &action {
            Action::Pass | Action::PassAndCut => onward.lock().await.write_all(&packet).await?,
            Action::Replace(other) => onward.lock().await.write_all(other).await?,
            Action::Answer(answer) => back.lock().await.write_all(answer).await?,
            Action::Delay(by_ms) => {
                tokio::time::sleep(Duration::from_millis(*by_ms)).await;
                onward.lock().await.write_all(&packet).await?;
            }
            Action::Drop | Action::Cut => {}
        }
        onward.lock().await.flush().await?;
        back.lock().await.flush().await?;
        Ok(if matches!(action, Action::PassAndCut | Action::Cut) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

/// How far one direction has come.
struct Direction {
    from: Side,
    bytes: usize,
    packets: usize,
    stalled: bool,
}
