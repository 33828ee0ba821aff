//! Accepting connections.

use super::{SharedCore, serve};
use crate::shard::ListenerSettings;
use crate::transport::tls::TlsSettings;
use crate::transport::url::Scheme;
use crate::transport::{Limits, Transport};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// A listener as a shard serves it.
#[derive(Debug, Clone)]
pub struct Listener {
    pub settings: Arc<ListenerSettings>,
    pub scheme: Scheme,
    /// The path of a WebSocket.
    pub path: Arc<str>,
    pub tls: Option<Arc<TlsSettings>>,
}

/// Waits until one more connection may be accepted: meanwhile others wait in the system's queue.
async fn room(core: &SharedCore) {
    loop {
        let (due, notify) = {
            let mut core = core.borrow_mut();
            let Err(due_ms) = core.open_turn().make_room() else { return core.wake_turn() };
            core.is_waited_for_room = true;
            core.wake_turn();
            ((due_ms != u64::MAX).then(|| core.clock.instant(due_ms)), Rc::clone(&core.room))
        };
        match due {
            Some(due) => drop(tokio::time::timeout_at(due.into(), notify.notified()).await),
            None => notify.notified().await,
        }
    }
}

/// Accepts for as long as the shard runs.
pub async fn accept(core: SharedCore, socket: TcpListener, listener: Listener) {
    loop {
        match socket.accept().await {
            Ok((stream, address)) => {
                // Before the first byte: a handshake that waits for an acknowledgement takes 40 ms longer. Linux takes it from the listener.
                #[cfg(not(target_os = "linux"))]
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(peer = %address, error = %error, "a connection ended before it began");
                    continue;
                }
                match Transport::accept(listener.scheme, listener.tls.as_deref(), Limits::DEFAULT) {
                    Ok(transport) => {
                        let transport = transport.at_path(&listener.path);
                        serve::start(&core, stream, address, Arc::clone(&listener.settings), transport);
                        room(&core).await;
                    }
                    Err(error) => tracing::error!(peer = %address, error = %error, "no transport for a connection"),
                }
            }
            Err(error) => {
                // Out of descriptors, or a connection that was reset while it waited: others may still come.
                tracing::warn!(listener = listener.settings.name, error = %error, "cannot accept; trying again");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
