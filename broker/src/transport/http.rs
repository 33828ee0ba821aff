//! The HTTP that a server has to speak to say no.

use bytes::{BufMut, BytesMut};

/// Appends a whole HTTP answer with a text for people. `header` is further header lines, each with its line end. The
/// connection is to be closed behind it.
pub(super) fn refuse(status: (u16, &str), header: &str, text: &str, output: &mut BytesMut) {
    let (code, phrase) = status;
    let len = text.len() + 1;
    let head = format!(
        "HTTP/1.1 {code} {phrase}\r\n{header}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n"
    );
    output.put_slice(head.as_bytes());
    output.put_slice(text.as_bytes());
    output.put_u8(b'\n');
}
