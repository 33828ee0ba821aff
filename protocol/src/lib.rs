//! Candor's protocol: the wire, the packet model, the dialects and the session, without a socket, a clock or a runtime.
pub mod codec;
pub mod dialect;
pub mod packet;
