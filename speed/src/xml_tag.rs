//! Read the tags of an XML document.

use std::ops::Range;

use crate::xml::{Step, Stop};

const MAX_NAME: usize = 1_000;
const MAX_ATTRIBUTES: usize = 64;
const MAX_DECLARATION: usize = 100;

/// A start tag: the position of its name, where the local name begins in it, and its end.
pub struct Tag {
    pub name: Range<usize>,
    pub local: usize,
    pub is_empty: bool,
    pub end: usize,
}

impl Tag {
    /// Return the prefix, which may be empty.
    pub fn prefix<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        let name = &data[self.name.clone()];
        &name[..self.local.saturating_sub(1)]
    }
}

/// An attribute: the positions of its name and of its value, and where its local name begins.
pub struct Attribute {
    pub name: Range<usize>,
    pub local: usize,
    pub value: Range<usize>,
    pub is_namespace: bool,
}

impl Attribute {
    /// Return the prefix, which may be empty.
    pub fn prefix<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        let name = &data[self.name.clone()];
        &name[..self.local.saturating_sub(1)]
    }

    /// Return the name without its prefix.
    pub fn local_name<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        let name = &data[self.name.clone()];
        &name[self.local..]
    }
}

/// Read the start tag at a position, and its attributes.
pub fn read_start(data: &[u8], position: usize, attributes: &mut Vec<Attribute>) -> Step<Tag> {
    attributes.clear();
    let (name, local) = read_name(data, position + 1)?;
    let mut at = name.end;
    loop {
        let after_space = skip_space(data, at);
        match byte(data, after_space)? {
            b'>' => {
                let end = after_space + 1;
                return Ok(Tag { name, local, is_empty: false, end });
            }
            b'/' => {
                if byte(data, after_space + 1)? != b'>' {
                    return Err(Stop::Unsure);
                }
                let end = after_space + 2;
                return Ok(Tag { name, local, is_empty: true, end });
            }
            _ if after_space == at || attributes.len() >= MAX_ATTRIBUTES => {
                return Err(Stop::Unsure);
            }
            _ => {
                let attribute = read_attribute(data, after_space)?;
                at = attribute.value.end + 1;
                attributes.push(attribute);
            }
        }
    }
}

fn read_attribute(data: &[u8], position: usize) -> Step<Attribute> {
    let (name, local) = read_name(data, position)?;
    let equals = skip_space(data, name.end);
    if byte(data, equals)? != b'=' {
        return Err(Stop::Unsure);
    }
    let start = skip_space(data, equals + 1);
    let quote = byte(data, start)?;
    if quote != b'"' && quote != b'\'' {
        return Err(Stop::Unsure);
    }
    let start = start + 1;
    let length = memchr::memchr(quote, &data[start..]).ok_or(Stop::Incomplete)?;
    let text = &data[name.clone()];
    let is_namespace = text == b"xmlns" || text.starts_with(b"xmlns:");
    Ok(Attribute { name, local, value: start..start + length, is_namespace })
}

/// Return the position after the end tag at a position, which must have the given name.
pub fn read_end(data: &[u8], position: usize, name: &[u8]) -> Step<usize> {
    let start = position + 2;
    let known = &data[start..data.len().min(start + name.len())];
    if known != &name[..known.len()] {
        return Err(Stop::Unsure);
    }
    let after_space = skip_space(data, start + known.len());
    if byte(data, after_space)? == b'>' && known.len() == name.len() {
        Ok(after_space + 1)
    } else {
        Err(Stop::Unsure)
    }
}

/// Return the position after an XML declaration that names at most UTF-8.
pub fn skip_declaration(data: &[u8]) -> Step<usize> {
    let end = memchr::memmem::find(data, b"?>").ok_or(Stop::Incomplete)?;
    if end > MAX_DECLARATION {
        return Err(Stop::Unsure);
    }
    let text = data[..end].to_ascii_lowercase();
    let text = text.as_slice();
    let is_known = [
        &b"<?xml version=\"1.0\""[..],
        b"<?xml version=\"1.0\" encoding=\"utf-8\"",
        b"<?xml version=\"1.0\" encoding=\"utf-8\" standalone=\"yes\"",
        b"<?xml version=\"1.0\" encoding=\"utf-8\" standalone=\"no\"",
        b"<?xml version='1.0' encoding='utf-8'",
    ]
    .contains(&text);
    if is_known && !has_capitals_outside_encoding(&data[..end]) {
        Ok(end + 2)
    } else {
        Err(Stop::Unsure)
    }
}

/// Only the name of the encoding may be in capitals, and then as a whole.
fn has_capitals_outside_encoding(declaration: &[u8]) -> bool {
    let capitals = declaration.iter().filter(|byte| byte.is_ascii_uppercase()).count();
    let encoding = memchr::memmem::find(declaration, b"UTF-8").map_or(0, |_| 3);
    capitals != encoding
}

/// Return the position of an ASCII name with at most one colon, and where its local name begins.
fn read_name(data: &[u8], position: usize) -> Step<(Range<usize>, usize)> {
    let mut local = 0;
    let mut at = position;
    loop {
        let byte = byte(data, at)?;
        let is_first = at == position + local;
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {}
            b'0'..=b'9' | b'-' | b'.' if !is_first => {}
            b':' if !is_first && local == 0 => local = at + 1 - position,
            _ if is_first || at - position > MAX_NAME => return Err(Stop::Unsure),
            _ => return Ok((position..at, local)),
        }
        at += 1;
    }
}

fn skip_space(data: &[u8], mut position: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\t') = data.get(position) {
        position += 1;
    }
    position
}

fn byte(data: &[u8], position: usize) -> Step<u8> {
    data.get(position).copied().ok_or(Stop::Incomplete)
}
