//! Compute the ids of a document.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sha2::{Digest, Sha256};

type Id<'py> = Bound<'py, PyBytes>;

/// Return the id of the content and the id of the event of a document.
///
/// The first covers the topic, the key and the value. The second is a hash of the first and of the
/// event id of the raw record, after a secret key.
#[pyfunction]
pub fn document_ids<'py>(
    py: Python<'py>,
    topic: &str,
    key: &[u8],
    value: Option<&[u8]>,
    secret: &[u8],
    raw_event_id: &str,
) -> (Id<'py>, Id<'py>) {
    let mut front = Vec::with_capacity(256);
    append(&mut front, topic.as_bytes());
    append(&mut front, key);
    match value {
        None => front.push(0),
        Some(value) => append_length(&mut front, value),
    }
    let content = half_in_hex(Sha256::new().chain_update(front).chain_update(value.unwrap_or(b"")));
    let event = Sha256::new().chain_update(secret).chain_update(content).chain_update(raw_event_id);
    (PyBytes::new(py, &content), PyBytes::new(py, &half_in_hex(event)))
}

fn append(bytes: &mut Vec<u8>, part: &[u8]) {
    append_length(bytes, part);
    bytes.extend_from_slice(part);
}

fn append_length(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.push(1);
    bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
}

/// Return the first half of a hash in hexadecimal.
fn half_in_hex(hash: Sha256) -> [u8; 32] {
    let mut id = [0; 32];
    for (digits, byte) in id.chunks_exact_mut(2).zip(hash.finalize()) {
        for (digit, number) in digits.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = if number < 10 { b'0' + number } else { b'a' + number - 10 };
        }
    }
    id
}
