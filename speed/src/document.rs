//! Write a document, and compute the id of its content.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use sha2::{Digest, Sha256};

/// Join pieces of a document. Each zero byte becomes `prefix`.
#[pyfunction]
pub fn join_document<'py>(
    py: Python<'py>,
    pieces: &Bound<'py, PyList>,
    prefix: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let mut document = Vec::with_capacity(8192);
    for piece in pieces.iter() {
        let bytes = piece
            .cast::<PyBytes>()
            .map_err(|_| PyTypeError::new_err("a piece that is not bytes"))?
            .as_bytes();
        let mut parts = bytes.split(|byte| *byte == 0);
        document.extend_from_slice(parts.next().unwrap_or_default());
        for part in parts {
            document.extend_from_slice(prefix);
            document.extend_from_slice(part);
        }
    }
    Ok(PyBytes::new(py, &document))
}

/// Return the first half of a SHA-256 over the lengths and contents of a topic, a key and a value.
#[pyfunction]
pub fn document_id(topic: &str, key: &[u8], value: Option<&[u8]>) -> String {
    let mut hash = Sha256::new();
    for part in [Some(topic.as_bytes()), Some(key), value] {
        match part {
            None => hash.update([0]),
            Some(part) => {
                hash.update([1]);
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
    }
    let mut id = String::with_capacity(32);
    for byte in &hash.finalize()[..16] {
        for digit in [byte >> 4, byte & 15] {
            id.push(char::from_digit(digit.into(), 16).unwrap_or_default());
        }
    }
    id
}
