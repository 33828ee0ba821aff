//! Candor's protocol: the wire, the packet model, the dialects and the session, without a socket, a clock or a runtime.
pub mod annotate;
pub mod codec;
pub mod dialect;
pub mod extension;
pub mod packet;
pub mod session;
pub mod shown;
#[cfg(feature = "sim")]
pub mod sim;
