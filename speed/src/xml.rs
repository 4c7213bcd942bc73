//! Cut the elements of one path out of an XML document that arrives in pieces.
//!
//! The ordinary way builds a tree with lxml and serialises each element. It defines the meaning. A
//! cutter answers `None` as soon as a document is invalid or unusual, and the ordinary way then
//! reads all of it. Unusual are a DOCTYPE, comments, processing instructions, CDATA, references to
//! characters, other encodings than UTF-8, and names that are not ASCII.

use crate::guarded;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::xml_places::{Places, split_clark};
use crate::xml_scope::{Scope, Space};
use crate::xml_tag::{Attribute, Tag, read_end, read_start, skip_declaration};
use crate::xml_text::{Text, is_blank, write_attribute, write_escaped};

const MAX_ELEMENTS: usize = 20_000_000;
/// libxml2 refuses documents whose different names have 10 MB.
const MAX_BYTES_OF_NAMES: usize = 4_000_000;
const NAME_SLOTS: usize = 4_096;
/// The records of one piece are larger than the piece, because each repeats its namespaces.
const MAX_FRAMES: usize = 16_000_000;

/// Why a token cannot be processed.
pub enum Stop {
    /// The rest of the token is in the next piece.
    Incomplete,
    /// The document is invalid or unusual.
    Unsure,
}

pub type Step<T> = Result<T, Stop>;

/// An element that is open: its name as written, and its namespace.
struct Open {
    name: Vec<u8>,
    local: usize,
    space: Space,
    outer_bindings: usize,
}

struct Document {
    path: Vec<(Vec<u8>, Vec<u8>)>,
    depth: Option<usize>,
    max_depth: usize,
    max_held: usize,
    places: Places,
    scope: Scope,
    open: Vec<Open>,
    spare: Vec<Open>,
    attributes: Vec<Attribute>,
    seen_names: Vec<u64>,
    bytes_of_names: usize,
    elements: usize,
    has_begun: bool,
    /// The depth of the record that is open.
    record_depth: Option<usize>,
    record: Vec<u8>,
    /// Whether the last start tag in the record still needs its end.
    is_tag_open: bool,
    skeleton: Vec<u8>,
    /// Whether the next text follows a record, and belongs to it.
    skips_text: bool,
    frames: Vec<u8>,
    count: usize,
    text: Text,
}

impl Document {
    /// Process one token at a position, and return the position after it.
    fn token(&mut self, data: &[u8], position: usize) -> Step<usize> {
        if data[position] != b'<' {
            return self.text(data, position);
        }
        match data.get(position + 1) {
            None => Err(Stop::Incomplete),
            Some(b'/') => self.end_tag(data, position),
            Some(b'?') if !self.has_begun && position == 0 => {
                let after = skip_declaration(data)?;
                self.has_begun = true;
                self.skeleton.extend_from_slice(&data[..after]);
                Ok(after)
            }
            Some(b'!' | b'?') => Err(Stop::Unsure),
            Some(_) => self.start_tag(data, position),
        }
    }

    fn text(&mut self, data: &[u8], position: usize) -> Step<usize> {
        let end = memchr::memchr(b'<', &data[position..]).ok_or(Stop::Incomplete)? + position;
        let raw = &data[position..end];
        if self.open.is_empty() {
            // Blanks before the XML declaration are an error of its own.
            if !is_blank(raw) || !self.has_begun {
                return Err(Stop::Unsure);
            }
            self.skeleton.extend_from_slice(raw);
            return Ok(end);
        }
        let content = self.text.read(raw)?;
        if self.record_depth.is_some() {
            close_tag(&mut self.record, &mut self.is_tag_open);
            write_escaped(&mut self.record, &content, raw);
            self.places.add_text(content.of(raw));
        } else if !self.skips_text {
            self.skeleton.extend_from_slice(raw);
        }
        self.skips_text = false;
        Ok(end)
    }

    fn start_tag(&mut self, data: &[u8], position: usize) -> Step<usize> {
        let mut attributes = std::mem::take(&mut self.attributes);
        let tag = read_start(data, position, &mut attributes);
        let result = tag.and_then(|tag| self.start(data, position, &tag, &attributes));
        self.attributes = attributes;
        result
    }

    fn start(
        &mut self,
        data: &[u8],
        position: usize,
        tag: &Tag,
        attributes: &[Attribute],
    ) -> Step<usize> {
        if self.open.is_empty() && self.elements > 0 {
            return Err(Stop::Unsure);
        }
        self.has_begun = true;
        self.elements += 1;
        if self.open.len() >= self.max_depth || self.elements > MAX_ELEMENTS {
            return Err(Stop::Unsure);
        }
        self.note_name(&data[tag.name.clone()])?;
        for attribute in attributes {
            self.note_name(&data[attribute.name.clone()])?;
        }
        let outer_bindings = self.scope.declare(data, attributes)?;
        let space = self.scope.element(tag.prefix(data))?;
        self.scope.check_attributes(data, attributes)?;
        let name = &data[tag.name.clone()];
        let is_record = self.is_record(&name[tag.local..], space);
        match self.record_depth {
            Some(_) if is_record => return Err(Stop::Unsure),
            None if is_record => self.begin_record()?,
            _ => {}
        }
        if let Some(record_depth) = self.record_depth {
            let level = self.open.len() - record_depth;
            let around = (level == 0).then_some(space);
            self.write_start(data, tag, attributes, outer_bindings, around)?;
            let name = (self.scope.name(space), &name[tag.local..]);
            self.places
                .start(level, name, |wanted| self.scope.find_attribute(data, attributes, wanted));
        } else {
            self.skips_text = false;
            self.skeleton.extend_from_slice(&data[position..tag.end]);
        }
        self.push(name, tag.local, space, outer_bindings);
        if tag.is_empty {
            self.end()?;
        }
        Ok(tag.end)
    }

    fn push(&mut self, name: &[u8], local: usize, space: Space, outer_bindings: usize) {
        let mut open = self.spare.pop().unwrap_or(Open {
            name: Vec::new(),
            local: 0,
            space: Space::default(),
            outer_bindings: 0,
        });
        open.name.clear();
        open.name.extend_from_slice(name);
        (open.local, open.space, open.outer_bindings) = (local, space, outer_bindings);
        self.open.push(open);
    }

    /// Return whether an element whose tag begins here is a record.
    fn is_record(&self, local: &[u8], space: Space) -> bool {
        let (wanted_space, wanted_local) = &self.path[self.path.len() - 1];
        if local != wanted_local || self.scope.name(space) != wanted_space {
            return false;
        }
        if self.depth.is_some_and(|depth| depth != self.open.len() + 1) {
            return false;
        }
        let above = &self.path[..self.path.len() - 1];
        above.len() <= self.open.len()
            && above.iter().rev().zip(self.open.iter().rev()).all(|((space, local), open)| {
                open.name[open.local..] == local[..] && self.scope.name(open.space) == &space[..]
            })
    }

    fn begin_record(&mut self) -> Step<()> {
        if self.open.is_empty() {
            return Err(Stop::Unsure);
        }
        self.record_depth = Some(self.open.len());
        self.record.clear();
        self.places.begin();
        Ok(())
    }

    fn write_start(
        &mut self,
        data: &[u8],
        tag: &Tag,
        attributes: &[Attribute],
        outer_bindings: usize,
        record_space: Option<Space>,
    ) -> Step<()> {
        let record = &mut self.record;
        close_tag(record, &mut self.is_tag_open);
        record.push(b'<');
        record.extend_from_slice(&data[tag.name.clone()]);
        match record_space {
            Some(space) => self.scope.write_all(record, outer_bindings, space, data, attributes),
            None => self.scope.write(record, outer_bindings),
        }
        for attribute in attributes.iter().filter(|attribute| !attribute.is_namespace) {
            let raw = &data[attribute.value.clone()];
            record.push(b' ');
            record.extend_from_slice(&data[attribute.name.clone()]);
            record.extend_from_slice(b"=\"");
            write_attribute(record, raw)?;
            record.push(b'"');
        }
        self.is_tag_open = true;
        Ok(())
    }

    fn end_tag(&mut self, data: &[u8], position: usize) -> Step<usize> {
        let open = self.open.last().ok_or(Stop::Unsure)?;
        let end = read_end(data, position, &open.name)?;
        if self.record_depth.is_none() {
            self.skips_text = false;
            self.skeleton.extend_from_slice(&data[position..end]);
        }
        self.end()?;
        Ok(end)
    }

    /// Close the innermost element.
    fn end(&mut self) -> Step<()> {
        let open = self.open.pop().ok_or(Stop::Unsure)?;
        if let Some(record_depth) = self.record_depth {
            if self.is_tag_open {
                self.record.extend_from_slice(b"/>");
                self.is_tag_open = false;
            } else {
                self.record.extend_from_slice(b"</");
                self.record.extend_from_slice(&open.name);
                self.record.push(b'>');
            }
            self.places.end(self.open.len() - record_depth);
            if self.open.len() == record_depth {
                self.end_record()?;
            }
        }
        self.scope.leave(open.outer_bindings);
        self.spare.push(open);
        Ok(())
    }

    fn end_record(&mut self) -> Step<()> {
        let values = self.places.encode();
        let size = u32::try_from(self.record.len()).map_err(|_| Stop::Unsure)?;
        let size_of_values = u32::try_from(values.len()).map_err(|_| Stop::Unsure)?;
        self.frames.extend_from_slice(&size.to_be_bytes());
        self.frames.extend_from_slice(&size_of_values.to_be_bytes());
        self.frames.extend_from_slice(&self.record);
        self.frames.extend_from_slice(values);
        self.count += 1;
        self.record_depth = None;
        self.skips_text = true;
        if self.frames.len() > MAX_FRAMES { Err(Stop::Unsure) } else { Ok(()) }
    }

    /// Count the bytes of different names. A name may be counted again, which does no harm.
    fn note_name(&mut self, name: &[u8]) -> Step<()> {
        let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let slot = &mut self.seen_names[hash as usize % NAME_SLOTS];
        if *slot != hash {
            *slot = hash;
            self.bytes_of_names += name.len();
        }
        if self.bytes_of_names > MAX_BYTES_OF_NAMES { Err(Stop::Unsure) } else { Ok(()) }
    }

    /// Process all complete tokens, and return the number of their bytes.
    fn feed(&mut self, data: &[u8]) -> Option<usize> {
        let mut position = 0;
        while position < data.len() {
            match self.token(data, position) {
                Ok(after) => position = after,
                Err(Stop::Incomplete) => break,
                Err(Stop::Unsure) => return None,
            }
            if self.record.len().max(self.skeleton.len()).max(self.places.size()) > self.max_held {
                return None;
            }
        }
        (data.len() - position <= self.max_held).then_some(position)
    }
}

fn close_tag(record: &mut Vec<u8>, is_tag_open: &mut bool) {
    if *is_tag_open {
        record.push(b'>');
        *is_tag_open = false;
    }
}

/// A cutter of the records of one document.
///
/// `path` and `depth` are the path of the records in Clark notation, and their depth. `places` are
/// the paths inside a record whose texts are read: tags, and an attribute or `None`. A record, and
/// the document without its records, may have `max_held` bytes.
#[pyclass(module = "qualification_gateway_speed")]
pub struct RecordCutter {
    document: Option<Document>,
    rest: Vec<u8>,
}

#[pymethods]
impl RecordCutter {
    #[new]
    fn new(
        path: Vec<String>,
        depth: Option<usize>,
        places: Vec<(Vec<String>, Option<String>)>,
        max_depth: usize,
        max_held: usize,
    ) -> Self {
        let document = Document {
            path: path.iter().map(|tag| split_clark(tag)).collect(),
            depth,
            max_depth,
            max_held,
            places: Places::new(&places),
            scope: Scope::default(),
            open: Vec::new(),
            spare: Vec::new(),
            attributes: Vec::new(),
            seen_names: vec![0; NAME_SLOTS],
            bytes_of_names: 0,
            elements: 0,
            has_begun: false,
            record_depth: None,
            record: Vec::new(),
            is_tag_open: false,
            skeleton: Vec::new(),
            skips_text: false,
            frames: Vec::new(),
            count: 0,
            text: Text::default(),
        };
        RecordCutter { document: (!path.is_empty()).then_some(document), rest: Vec::new() }
    }

    /// Process the next bytes. Return the finished records with their sizes, and their number.
    ///
    /// `None` means that the ordinary way must read the document from its beginning.
    fn feed<'py>(&mut self, py: Python<'py>, piece: &[u8]) -> Option<(Bound<'py, PyBytes>, usize)> {
        let mut document = self.document.take()?;
        let rest = &mut self.rest;
        let is_read = py.detach(|| {
            guarded(|| {
                document.frames.clear();
                document.count = 0;
                if rest.is_empty() {
                    let read = document.feed(piece)?;
                    rest.extend_from_slice(&piece[read..]);
                } else {
                    rest.extend_from_slice(piece);
                    let read = document.feed(rest)?;
                    rest.drain(..read);
                }
                Some(())
            })
        });
        is_read?;
        let records = (PyBytes::new(py, &document.frames), document.count);
        self.document = Some(document);
        Some(records)
    }

    /// Return the document without its records, after its last byte was fed.
    fn close<'py>(&mut self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let document = self.document.take()?;
        let is_whole = document.open.is_empty() && document.elements > 0 && is_blank(&self.rest);
        is_whole.then(|| PyBytes::new(py, &document.skeleton))
    }
}
