//! Collect the texts at wanted places of a record.

type Name = (Vec<u8>, Vec<u8>);

struct Place {
    tags: Vec<Name>,
    attribute: Option<Name>,
    /// How many of the tags the open elements have.
    matched: usize,
    is_open: bool,
    texts: Vec<Vec<u8>>,
}

/// The wanted places, and what a record has there.
pub struct Places {
    places: Vec<Place>,
    size: usize,
    encoded: Vec<u8>,
}

impl Places {
    pub fn new(plan: &[(Vec<String>, Option<String>)]) -> Self {
        let place = |(tags, attribute): &(Vec<String>, Option<String>)| Place {
            tags: tags.iter().map(|tag| split_clark(tag)).collect(),
            attribute: attribute.as_deref().map(split_clark),
            matched: 0,
            is_open: false,
            texts: Vec::new(),
        };
        Places { places: plan.iter().map(place).collect(), size: 0, encoded: Vec::new() }
    }

    /// Return how many bytes the texts of the record have so far.
    pub fn size(&self) -> usize {
        self.size
    }

    pub fn begin(&mut self) {
        self.size = 0;
        for place in &mut self.places {
            place.texts.clear();
            (place.matched, place.is_open) = (0, false);
        }
    }

    /// Note the start of an element. The level of the record itself is 0.
    pub fn start(
        &mut self,
        level: usize,
        name: (&[u8], &[u8]),
        attribute: impl Fn((&[u8], &[u8])) -> Option<Vec<u8>>,
    ) {
        for place in &mut self.places {
            if level > 0 {
                let is_next = place.matched + 1 == level
                    && place
                        .tags
                        .get(level - 1)
                        .is_some_and(|(space, local)| (space.as_slice(), local.as_slice()) == name);
                if !is_next {
                    continue;
                }
                place.matched = level;
            }
            if level != place.tags.len() {
                continue;
            }
            if let Some((space, local)) = &place.attribute {
                if let Some(text) = attribute((space, local)) {
                    self.size += text.len();
                    place.texts.push(text);
                }
            } else {
                place.texts.push(Vec::new());
                place.is_open = true;
            }
        }
    }

    pub fn add_text(&mut self, text: &[u8]) {
        for place in self.places.iter_mut().filter(|place| place.is_open) {
            if let Some(last) = place.texts.last_mut() {
                self.size += text.len();
                last.extend_from_slice(text);
            }
        }
    }

    /// Note the end of an element.
    pub fn end(&mut self, level: usize) {
        for place in &mut self.places {
            if place.matched == level {
                if level == place.tags.len() {
                    place.is_open = false;
                }
                place.matched = level.saturating_sub(1);
            }
        }
    }

    /// Return the texts of the record as JSON: a list of texts for each place.
    pub fn encode(&mut self) -> &[u8] {
        let encoded = &mut self.encoded;
        encoded.clear();
        for (number, place) in self.places.iter().enumerate() {
            encoded.push(if number == 0 { b'[' } else { b',' });
            encoded.push(b'[');
            for (number, text) in place.texts.iter().enumerate() {
                if number > 0 {
                    encoded.push(b',');
                }
                write_json(encoded, text);
            }
            encoded.push(b']');
        }
        if !self.places.is_empty() {
            encoded.push(b']');
        }
        encoded
    }
}

/// Append a text as JSON. Of the control characters, XML has only the tab and the line feed here.
fn write_json(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}

/// Split a name in Clark notation, such as `{urn:x}a`, into namespace and local name.
pub fn split_clark(name: &str) -> Name {
    match name.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some((space, local)) => (space.into(), local.into()),
        None => (Vec::new(), name.into()),
    }
}
