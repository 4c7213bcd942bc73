//! Read wanted places of a JSON text.
//!
//! The ordinary way parses the whole text and looks the places up. It defines the meaning. The
//! reader answers `None` for each text of which it is not certain, valid or not.

use std::borrow::Cow;
use std::str;

use crate::guarded;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyList, PyString, PyTuple};

use crate::json_places::{NOTHING, Node, Target};
use crate::json_string::{plain_length, unescape};

/// A longer text is rare, so the ordinary way may read it.
const MAX_BYTES: usize = 1_000_000;
/// Nested objects and lists. The ordinary way counts a value inside them as one level more, and
/// accepts 100 levels.
const MAX_NESTING: usize = 99;
/// Numbers of so many characters fit into 64 bits, and no float of that length is out of range.
const MAX_NUMBER_LENGTH: usize = 18;
/// Up to this number of keys, comparing each pair is faster than sorting.
const MAX_PAIRED_KEYS: usize = 32;

type Wanted<'py> = Option<Bound<'py, PyAny>>;
type Found<'py> = Vec<Wanted<'py>>;

enum Scalar<'a> {
    Text(Cow<'a, str>),
    Integer(i64),
    Fraction,
    Boolean(bool),
    Null,
}

/// The rest of a text. `None` of a method means that the text is invalid or unusual.
struct Parser<'a, 'py> {
    py: Python<'py>,
    text: &'a str,
    position: usize,
    nesting: usize,
    /// The keys of all objects that are open.
    keys: Vec<&'a str>,
    /// Whether a string contains an escape or the character DEL.
    may_hold_invisible: bool,
}

impl<'a, 'py> Parser<'a, 'py> {
    fn document(&mut self, wanted: &Node, mut found: Found<'py>) -> Option<Found<'py>> {
        self.skip_space();
        if self.peek()? != b'{' {
            return None;
        }
        self.object(wanted, &mut found)?;
        self.skip_space();
        (self.position == self.text.len()).then_some(found)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.position += 1;
        }
    }

    fn accept(&mut self, expected: u8) -> Option<()> {
        self.skip_space();
        (self.peek()? == expected).then(|| self.position += 1)
    }

    fn object(&mut self, node: &Node, found: &mut Found<'py>) -> Option<()> {
        self.members(|parser, key| parser.value(node.target(key), found))
    }

    /// Read an object. `value` reads the value of a key.
    fn members(&mut self, mut value: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        let first_key = self.keys.len();
        self.items(b'}', |parser| {
            if parser.peek()? != b'"' {
                return None;
            }
            let Cow::Borrowed(key) = parser.string()? else {
                return None;
            };
            parser.keys.push(key);
            parser.accept(b':')?;
            parser.skip_space();
            value(parser, key)
        })?;
        let unique = are_unique(self.keys.get_mut(first_key..)?);
        self.keys.truncate(first_key);
        unique.then_some(())
    }

    /// Read the members of an object or a list, from its opening bracket to after the closing one.
    fn items(&mut self, end: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.position += 1;
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return None;
        }
        self.skip_space();
        if self.peek()? == end {
            self.position += 1;
        } else {
            loop {
                self.skip_space();
                item(self)?;
                self.skip_space();
                let next = self.peek()?;
                self.position += 1;
                if next == end {
                    break;
                } else if next != b',' {
                    return None;
                }
            }
        }
        self.nesting -= 1;
        Some(())
    }

    fn value(&mut self, target: Option<&Target>, found: &mut Found<'py>) -> Option<()> {
        match (target, self.peek()?) {
            (Some(Target::Value(number)), _) => *found.get_mut(*number)? = self.wanted()?,
            (Some(Target::Members(node)), b'{') => self.object(node, found)?,
            (Some(Target::Members(_)), b'n') => drop(self.scalar()?),
            (Some(Target::Members(_)), _) => return None,
            (None, b'{') => self.object(&NOTHING, found)?,
            (None, b'[') => self.items(b']', |parser| parser.value(None, found))?,
            (None, _) => drop(self.scalar()?),
        }
        Some(())
    }

    /// Read a value as a Python object. The inner `None` is a null.
    fn wanted(&mut self) -> Option<Wanted<'py>> {
        Some(Some(match self.peek()? {
            b'{' => {
                let members = PyDict::new(self.py);
                self.members(|parser, key| members.set_item(key, parser.wanted()?).ok())?;
                members.into_any()
            }
            b'[' => {
                let mut values = Vec::new();
                self.items(b']', |parser| {
                    values.push(parser.wanted()?);
                    Some(())
                })?;
                PyList::new(self.py, values).ok()?.into_any()
            }
            _ => match self.scalar()? {
                Scalar::Text(text) => PyString::new(self.py, &text).into_any(),
                Scalar::Integer(number) => PyInt::new(self.py, number).into_any(),
                Scalar::Boolean(flag) => PyBool::new(self.py, flag).to_owned().into_any(),
                Scalar::Null => return Some(None),
                Scalar::Fraction => return None,
            },
        }))
    }

    fn scalar(&mut self) -> Option<Scalar<'a>> {
        match self.peek()? {
            b'"' => self.string().map(Scalar::Text),
            b't' => self.word("true", Scalar::Boolean(true)),
            b'f' => self.word("false", Scalar::Boolean(false)),
            b'n' => self.word("null", Scalar::Null),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str, value: Scalar<'a>) -> Option<Scalar<'a>> {
        self.text.get(self.position..)?.starts_with(word).then(|| {
            self.position += word.len();
            value
        })
    }

    fn number(&mut self) -> Option<Scalar<'a>> {
        let start = self.position;
        if self.peek() == Some(b'-') {
            self.position += 1;
        }
        let first = self.peek()?;
        let digits = self.skip_digits();
        if digits == 0 || (first == b'0' && digits > 1) {
            return None;
        }
        let whole = self.text.get(start..self.position)?;
        let mut fraction = false;
        if self.peek() == Some(b'.') {
            self.position += 1;
            fraction = self.skip_digits() > 0;
            if !fraction {
                return None;
            }
        }
        let unusual = matches!(self.peek(), Some(b'e' | b'E')) || whole == "-0";
        if unusual || self.position - start > MAX_NUMBER_LENGTH {
            return None;
        }
        if fraction {
            return Some(Scalar::Fraction);
        }
        whole.parse().ok().map(Scalar::Integer)
    }

    fn skip_digits(&mut self) -> usize {
        let start = self.position;
        while let Some(b'0'..=b'9') = self.peek() {
            self.position += 1;
        }
        self.position - start
    }

    /// Read a string from its opening quote to after its closing quote.
    fn string(&mut self) -> Option<Cow<'a, str>> {
        let bytes = self.text.as_bytes();
        let start = self.position + 1;
        let mut end = start;
        let mut escaped = false;
        loop {
            end += plain_length(bytes.get(end..)?);
            match bytes.get(end)? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    end += 1;
                }
                0x7f => self.may_hold_invisible = true,
                _ => return None,
            }
            end += 1;
        }
        self.position = end + 1;
        let content = self.text.get(start..end)?;
        if !escaped {
            return Some(Cow::Borrowed(content));
        }
        self.may_hold_invisible = true;
        unescape(content).map(Cow::Owned)
    }
}

fn are_unique(keys: &mut [&str]) -> bool {
    if keys.len() > MAX_PAIRED_KEYS {
        keys.sort_unstable();
        return keys.windows(2).all(|pair| pair[0] != pair[1]);
    }
    let mut rest = &*keys;
    while let Some((key, others)) = rest.split_first() {
        if others.contains(key) {
            return false;
        }
        rest = others;
    }
    true
}

/// Read wanted places of JSON texts. Each place is a tuple of keys.
#[pyclass(frozen)]
pub struct JsonReader {
    wanted: Node,
    size: usize,
}

#[pymethods]
impl JsonReader {
    #[new]
    fn new(places: Vec<Vec<String>>) -> PyResult<Self> {
        Ok(JsonReader { wanted: Node::of(&places)?, size: places.len() })
    }

    /// Return the values of the places and whether a text may hold invisible characters.
    ///
    /// An absent value and a null are `None`. The answer is `None` if the text is invalid or
    /// unusual.
    fn read<'py>(&self, py: Python<'py>, body: &[u8]) -> PyResult<Option<Bound<'py, PyTuple>>> {
        if body.len() > MAX_BYTES {
            return Ok(None);
        }
        let Ok(text) = str::from_utf8(body) else {
            return Ok(None);
        };
        let mut parser = Parser {
            py,
            text,
            position: 0,
            nesting: 0,
            keys: Vec::with_capacity(64),
            may_hold_invisible: false,
        };
        let places = vec![None; self.size];
        let Some(mut found) = guarded(|| parser.document(&self.wanted, places)) else {
            return Ok(None);
        };
        found.push(Some(PyBool::new(py, parser.may_hold_invisible).to_owned().into_any()));
        PyTuple::new(py, found).map(Some)
    }
}
