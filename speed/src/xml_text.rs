//! Read the texts of an XML document, and write them as lxml does.

use std::str;

use crate::xml::{Step, Stop};

const NON_ASCII: u8 = 1;
const SPECIAL: u8 = 2;
const QUOTE: u8 = 4;
const BLANK: u8 = 8;
const INVALID: u8 = 16;

/// What each byte means for a text.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'\t' | b'\n' => BLANK,
            0..=0x1f | b'<' => INVALID,
            b'&' | b'>' => SPECIAL,
            b'"' => QUOTE,
            0x80.. => NON_ASCII,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

/// A reader of texts. It keeps the memory of the last text.
#[derive(Default)]
pub struct Text {
    unescaped: Vec<u8>,
}

/// The content of a text: as written, or with its references replaced.
pub enum Content<'a> {
    Plain,
    Unescaped(&'a [u8]),
}

impl Content<'_> {
    /// Return the text itself.
    pub fn of<'a>(&'a self, raw: &'a [u8]) -> &'a [u8] {
        match self {
            Content::Plain => raw,
            Content::Unescaped(text) => text,
        }
    }
}

impl Text {
    /// Return the content of a text between two tags.
    pub fn read(&mut self, raw: &[u8]) -> Step<Content<'_>> {
        let classes = classes_of(raw)?;
        if classes & SPECIAL == 0 {
            return Ok(Content::Plain);
        }
        if memchr::memmem::find(raw, b"]]>").is_some() {
            return Err(Stop::Unsure);
        }
        self.unescaped.clear();
        unescape(&mut self.unescaped, raw)?;
        Ok(Content::Unescaped(&self.unescaped))
    }
}

/// Append a text between two tags as lxml writes it.
pub fn write_escaped(out: &mut Vec<u8>, content: &Content, raw: &[u8]) {
    match content {
        Content::Plain => out.extend_from_slice(raw),
        Content::Unescaped(text) => escape(out, text, false),
    }
}

/// Append the value of an attribute as lxml writes it.
pub fn write_attribute(out: &mut Vec<u8>, raw: &[u8]) -> Step<()> {
    let classes = classes_of(raw)?;
    if classes & BLANK != 0 {
        return Err(Stop::Unsure);
    }
    if classes & (SPECIAL | QUOTE) == 0 {
        out.extend_from_slice(raw);
        return Ok(());
    }
    let mut text = Vec::with_capacity(raw.len());
    unescape(&mut text, raw)?;
    escape(out, &text, true);
    Ok(())
}

/// Return the value of an attribute.
pub fn attribute_text(raw: &[u8]) -> Step<Vec<u8>> {
    if classes_of(raw)? & BLANK != 0 {
        return Err(Stop::Unsure);
    }
    let mut text = Vec::with_capacity(raw.len());
    unescape(&mut text, raw)?;
    Ok(text)
}

/// Return whether a text consists of blanks.
pub fn is_blank(raw: &[u8]) -> bool {
    raw.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\n'))
}

/// Return the classes of all bytes, if each character may be in an XML document.
fn classes_of(raw: &[u8]) -> Step<u8> {
    let classes = raw.iter().fold(0, |classes, byte| classes | CLASSES[*byte as usize]);
    if classes & INVALID != 0 {
        return Err(Stop::Unsure);
    }
    if classes & NON_ASCII != 0 {
        let text = str::from_utf8(raw).map_err(|_| Stop::Unsure)?;
        if text.contains(['\u{fffe}', '\u{ffff}']) {
            return Err(Stop::Unsure);
        }
    }
    Ok(classes)
}

fn unescape(out: &mut Vec<u8>, raw: &[u8]) -> Step<()> {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'&', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let known: [(&[u8], u8); 5] = [
            (b"&amp;", b'&'),
            (b"&lt;", b'<'),
            (b"&gt;", b'>'),
            (b"&quot;", b'"'),
            (b"&apos;", b'\''),
        ];
        let (name, byte) =
            known.into_iter().find(|(name, _)| rest.starts_with(name)).ok_or(Stop::Unsure)?;
        out.push(byte);
        rest = &rest[name.len()..];
    }
    out.extend_from_slice(rest);
    Ok(())
}

fn escape(out: &mut Vec<u8>, text: &[u8], is_attribute: bool) {
    for byte in text {
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'"' if is_attribute => out.extend_from_slice(b"&quot;"),
            _ => out.push(*byte),
        }
    }
}
