//! Maps that are right but for one rule, broken in one place: written by an encoder of its own.

use candor_protocol::codec::dictionary::BadDictionary;
use ciborium::Value;
use proptest::sample::Index;

/// One way to break the deterministic form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// An integer or a length one size too long.
    LongHead,
    /// A float as a double although it is shorter.
    LongFloat,
    /// A byte string, text, array or map of indefinite length.
    Indefinite,
    /// A tag in front of a key or a value.
    Tag,
    /// The value undefined.
    Undefined,
    /// A reserved additional information.
    Reserved,
    /// A key that is an empty byte string.
    BytesKey,
    /// A key that is an empty array.
    ArrayKey,
    /// An entry twice.
    Twice,
    /// Two entries exchanged.
    Exchanged,
    /// A byte 0xFF at the end of a text.
    BadText,
}

impl Flaw {
    pub(crate) const ALL: [Flaw; 11] = [
        Flaw::LongHead,
        Flaw::LongFloat,
        Flaw::Indefinite,
        Flaw::Tag,
        Flaw::Undefined,
        Flaw::Reserved,
        Flaw::BytesKey,
        Flaw::ArrayKey,
        Flaw::Twice,
        Flaw::Exchanged,
        Flaw::BadText,
    ];

    const fn cause(self) -> BadDictionary {
        match self {
            Flaw::LongHead | Flaw::LongFloat => BadDictionary::NotShortest,
            Flaw::Indefinite => BadDictionary::IndefiniteLength,
            Flaw::Tag => BadDictionary::Tag,
            Flaw::Undefined | Flaw::Reserved => BadDictionary::BadSimple,
            Flaw::BytesKey | Flaw::ArrayKey => BadDictionary::BadKey,
            Flaw::Twice => BadDictionary::DuplicateKey,
            Flaw::Exchanged => BadDictionary::KeysNotAscending,
            Flaw::BadText => BadDictionary::NotUtf8,
        }
    }
}

/// The map with the flaw in one of the places that can have it, and the cause it must be refused with; `None`: there is
/// no such place.
pub(crate) fn broken(entries: &[(Value, Value)], flaw: Flaw, place: Index) -> Option<(Vec<u8>, BadDictionary)> {
    if entries.is_empty() {
        return None;
    }
    let places = Encoder::run(entries, flaw, usize::MAX).places;
    let chosen = (places > 0).then(|| place.index(places))?;
    Some((Encoder::run(entries, flaw, chosen).out, flaw.cause()))
}

struct Encoder {
    flaw: Flaw,
    /// Which of the places gets the flaw.
    chosen: usize,
    /// How many places there were so far.
    places: usize,
    out: Vec<u8>,
}

impl Encoder {
    fn run(entries: &[(Value, Value)], flaw: Flaw, chosen: usize) -> Encoder {
        let mut encoder = Encoder { flaw, chosen, places: 0, out: Vec::new() };
        encoder.map(entries);
        encoder
    }

    /// Whether the flaw belongs in this place, which can have it.
    fn here(&mut self, flaw: Flaw) -> bool {
        if flaw != self.flaw {
            return false;
        }
        self.places += 1;
        self.places - 1 == self.chosen
    }

    fn head(&mut self, major: u8, argument: u64) {
        let sizes: [(u64, u8, usize); 5] = [(24, 0, 0), (1 << 8, 24, 1), (1 << 16, 25, 2), (1 << 32, 26, 4), (u64::MAX, 27, 8)];
        let mut size = sizes.iter().position(|(end, ..)| argument < *end).unwrap_or(4);
        if size < 4 && self.here(Flaw::LongHead) {
            size += 1;
        }
        let (_, info, len) = sizes[size];
        let first = if len == 0 { argument as u8 } else { info };
        self.out.push(major << 5 | first);
        self.out.extend(&argument.to_be_bytes()[8 - len..]);
    }

    /// A head with what it counts, or the same of indefinite length.
    fn counted(&mut self, major: u8, count: usize, body: impl FnOnce(&mut Self, bool)) {
        let indefinite = self.here(Flaw::Indefinite);
        if indefinite {
            self.out.push(major << 5 | 31);
        } else {
            self.head(major, count as u64);
        }
        body(self, indefinite);
        if indefinite {
            self.out.push(0xFF);
        }
    }

    fn string(&mut self, major: u8, bytes: &[u8]) {
        self.counted(major, bytes.len(), |encoder, chunked| {
            if chunked {
                // One chunk, with a head of its own.
                encoder.head(major, bytes.len() as u64);
            }
            encoder.out.extend(bytes);
        });
    }

    fn text(&mut self, text: &str) {
        if self.here(Flaw::BadText) {
            self.string(3, &[text.as_bytes(), &[0xFF]].concat());
        } else {
            self.string(3, text.as_bytes());
        }
    }

    fn map(&mut self, entries: &[(Value, Value)]) {
        let mut entries = entries.to_vec();
        for at in (0..entries.len()).rev() {
            if self.here(Flaw::Twice) {
                entries.insert(at, entries[at].clone());
            }
            if at > 0 && self.here(Flaw::Exchanged) {
                entries.swap(at - 1, at);
            }
        }
        self.counted(5, entries.len(), |encoder, _| {
            for (key, value) in &entries {
                encoder.key(key);
                encoder.value(value);
            }
        });
    }

    fn key(&mut self, key: &Value) {
        if self.here(Flaw::Tag) {
            self.out.push(0xC1);
        }
        if self.here(Flaw::BytesKey) {
            self.out.push(0x40);
        } else if self.here(Flaw::ArrayKey) {
            self.out.push(0x80);
        } else {
            self.item(key);
        }
    }

    fn value(&mut self, value: &Value) {
        if self.here(Flaw::Tag) {
            self.out.push(0xC1);
        }
        if self.here(Flaw::Undefined) {
            self.out.push(0xF7);
        } else if self.here(Flaw::Reserved) {
            self.out.push(0x1C);
        } else {
            self.item(value);
        }
    }

    fn item(&mut self, value: &Value) {
        match value {
            Value::Integer(n) if i128::from(*n) >= 0 => self.head(0, i128::from(*n) as u64),
            Value::Integer(n) => self.head(1, (-1 - i128::from(*n)) as u64),
            Value::Bytes(bytes) => self.string(2, bytes),
            Value::Text(text) => self.text(text),
            Value::Array(items) => self.counted(4, items.len(), |encoder, _| items.iter().for_each(|item| encoder.value(item))),
            Value::Map(entries) => self.map(entries),
            Value::Float(value) => {
                let shortest = crate::property::dictionary::encoded(&Value::Float(*value));
                if shortest[0] != 0xFB && self.here(Flaw::LongFloat) {
                    self.out.push(0xFB);
                    self.out.extend(value.to_be_bytes());
                } else {
                    self.out.extend(shortest);
                }
            }
            other => self.out.extend(crate::property::dictionary::encoded(other)),
        }
    }
}
