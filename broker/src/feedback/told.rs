//! JSON that is written as it goes, without a tree of it first: a client that is refused again and again hears of each. Text that needs
//! no escape is copied as a whole.

/// Room for most verdicts.
const BYTES: usize = 512;

/// An object that is being written. Its names are of this crate, and need no escape.
#[derive(Debug)]
pub(super) struct Object(Vec<u8>);

impl Object {
    pub(super) fn new() -> Self {
        let mut text = Vec::with_capacity(BYTES);
        text.push(b'{');
        Self(text)
    }

    fn name(&mut self, name: &str) {
        // What ends a value is no opening brace.
        self.0.extend_from_slice(if self.0.last() == Some(&b'{') { b"\"" } else { b",\"" });
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    pub(super) fn text(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        self.name(name);
        if value.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
            // Of text, nothing of it can fail.
            let _ = serde_json::to_writer(&mut self.0, value);
        } else {
            self.0.push(b'"');
            self.0.extend_from_slice(value.as_bytes());
            self.0.push(b'"');
        }
    }

    pub(super) fn number(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.name(name);
            let _ = serde_json::to_writer(&mut self.0, &value);
        }
    }

    /// One within it.
    pub(super) fn object(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.name(name);
        self.0.push(b'{');
        write(self);
        self.0.push(b'}');
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}
