//! Keep the namespaces that are in scope.

use crate::xml::{Step, Stop};
use crate::xml_tag::Attribute;
use crate::xml_text::attribute_text;

const MAX_BINDINGS: usize = 64;
const MAX_NAMESPACE: usize = 200;
const MAX_PREFIX: usize = 100;
const XML: &[u8] = b"http://www.w3.org/XML/1998/namespace";
const RESERVED: &[u8] = b"http://www.w3.org/2000/xmlns";

struct Binding {
    prefix: Vec<u8>,
    name: Vec<u8>,
    /// The number of the element that declares it, so that its declarations stay together.
    element: usize,
}

/// A namespace: none, that of the prefix `xml`, or a binding.
#[derive(Clone, Copy, Default, PartialEq)]
pub enum Space {
    #[default]
    None,
    Xml,
    Bound(usize),
}

#[derive(Default)]
pub struct Scope {
    bindings: Vec<Binding>,
    elements: usize,
}

impl Scope {
    /// Add the declarations of an element, and return how many there were before.
    pub fn declare(&mut self, data: &[u8], attributes: &[Attribute]) -> Step<usize> {
        let before = self.bindings.len();
        self.elements += 1;
        for attribute in attributes.iter().filter(|attribute| attribute.is_namespace) {
            let name = &data[attribute.value.clone()];
            let prefix = if attribute.local == 0 { &b""[..] } else { attribute.local_name(data) };
            if prefix.starts_with(b"xml") || prefix.len() > MAX_PREFIX || !is_plain_name(name) {
                return Err(Stop::Unsure);
            }
            if self.bindings.len() >= MAX_BINDINGS {
                return Err(Stop::Unsure);
            }
            let (prefix, name) = (prefix.to_vec(), name.to_vec());
            self.bindings.push(Binding { prefix, name, element: self.elements });
        }
        Ok(before)
    }

    /// Forget the declarations of an element.
    pub fn leave(&mut self, before: usize) {
        self.bindings.truncate(before);
    }

    /// Return the namespace of an element with a prefix.
    pub fn element(&self, prefix: &[u8]) -> Step<Space> {
        match self.find(prefix) {
            Some(space) => Ok(space),
            None if prefix.is_empty() => Ok(Space::None),
            None => Err(Stop::Unsure),
        }
    }

    /// Return the name of a namespace, which is empty for none.
    pub fn name(&self, space: Space) -> &[u8] {
        match space {
            Space::None => b"",
            Space::Xml => XML,
            Space::Bound(number) => &self.bindings[number].name,
        }
    }

    /// Check that each prefix is declared, and that no attribute occurs twice.
    pub fn check_attributes(&self, data: &[u8], attributes: &[Attribute]) -> Step<()> {
        for (number, attribute) in attributes.iter().enumerate() {
            let name = &data[attribute.name.clone()];
            if attributes[..number].iter().any(|other| &data[other.name.clone()] == name) {
                return Err(Stop::Unsure);
            }
            if attribute.is_namespace || attribute.local == 0 {
                continue;
            }
            let prefix = attribute.prefix(data);
            let local = attribute.local_name(data);
            // The value of xml:id has a form of its own.
            if prefix == b"xml" && local != b"lang" {
                return Err(Stop::Unsure);
            }
            let space = self.find(prefix).ok_or(Stop::Unsure)?;
            for other in &attributes[..number] {
                if !other.is_namespace
                    && other.local != 0
                    && other.local_name(data) == local
                    && self.find(other.prefix(data)).map(|found| self.name(found))
                        == Some(self.name(space))
                {
                    return Err(Stop::Unsure);
                }
            }
        }
        Ok(())
    }

    /// Return the text of an attribute with a namespace and a local name.
    pub fn find_attribute(
        &self,
        data: &[u8],
        attributes: &[Attribute],
        wanted: (&[u8], &[u8]),
    ) -> Option<Vec<u8>> {
        let attribute = attributes.iter().find(|attribute| {
            !attribute.is_namespace
                && attribute.local_name(data) == wanted.1
                && self.space_of_attribute(data, attribute) == wanted.0
        })?;
        attribute_text(&data[attribute.value.clone()]).ok()
    }

    fn space_of_attribute(&self, data: &[u8], attribute: &Attribute) -> &[u8] {
        if attribute.local == 0 {
            return b"";
        }
        self.find(attribute.prefix(data)).map_or(b"", |space| self.name(space))
    }

    fn find(&self, prefix: &[u8]) -> Option<Space> {
        if prefix == b"xml" {
            return Some(Space::Xml);
        }
        self.bindings.iter().rposition(|binding| binding.prefix == prefix).map(Space::Bound)
    }

    /// Append the declarations of an element inside a record.
    pub fn write(&self, out: &mut Vec<u8>, before: usize) {
        for binding in &self.bindings[before..] {
            write_binding(out, binding);
        }
    }

    /// Append the declarations of a record, and those of the elements around it.
    ///
    /// lxml writes those of the record, then what its name and its attributes use, then those of
    /// its parent, and so on.
    pub fn write_all(
        &self,
        out: &mut Vec<u8>,
        before: usize,
        space: Space,
        data: &[u8],
        attributes: &[Attribute],
    ) {
        self.write(out, before);
        let of_attributes = attributes
            .iter()
            .filter(|attribute| !attribute.is_namespace && attribute.local != 0)
            .filter_map(|attribute| self.find(attribute.prefix(data)));
        let mut written = Vec::new();
        for used in std::iter::once(space).chain(of_attributes) {
            if let Space::Bound(number) = used
                && number < before
                && !written.contains(&number)
            {
                write_binding(out, &self.bindings[number]);
                written.push(number);
            }
        }
        let mut end = before;
        while end > 0 {
            let element = self.bindings[end - 1].element;
            let start = self.bindings[..end].partition_point(|other| other.element < element);
            for number in start..end {
                let binding = &self.bindings[number];
                let nearer = &self.bindings[end..];
                if !written.contains(&number)
                    && !nearer.iter().any(|other| other.prefix == binding.prefix)
                {
                    write_binding(out, binding);
                }
            }
            end = start;
        }
    }
}

fn write_binding(out: &mut Vec<u8>, binding: &Binding) {
    out.extend_from_slice(b" xmlns");
    if !binding.prefix.is_empty() {
        out.push(b':');
        out.extend_from_slice(&binding.prefix);
    }
    out.extend_from_slice(b"=\"");
    out.extend_from_slice(&binding.name);
    out.push(b'"');
}

/// Return whether a namespace is a URI that every reader accepts.
fn is_plain_name(name: &[u8]) -> bool {
    let rest = [&b"urn:"[..], b"http://", b"https://"]
        .into_iter()
        .find_map(|start| name.strip_prefix(start));
    let Some(rest) = rest else { return false };
    let is_urn = name.starts_with(b"urn:");
    let is_plain = rest.iter().all(|byte| {
        byte.is_ascii_alphanumeric() || b"/._-#".contains(byte) || (is_urn && *byte == b':')
    });
    let marks = rest.iter().filter(|byte| **byte == b'#').count();
    let first_is_plain = rest.first().is_some_and(u8::is_ascii_alphanumeric);
    is_plain && first_is_plain && marks <= 1 && name.len() <= MAX_NAMESPACE && is_free(name)
}

fn is_free(name: &[u8]) -> bool {
    name != XML && !name.starts_with(RESERVED)
}
