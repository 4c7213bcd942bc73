//! The places that are wanted of a JSON text.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// What is wanted of the value of a key: the value, with its number in the result, or members.
pub enum Target {
    Value(usize),
    Members(Node),
}

/// The wanted keys of an object, sorted by length and text.
#[derive(Default)]
pub struct Node(Vec<(String, Target)>);

pub static NOTHING: Node = Node(Vec::new());

impl Node {
    /// Return the node of all places. Each place is a path of keys.
    pub fn of(places: &[Vec<String>]) -> PyResult<Self> {
        let mut root = Node::default();
        for (number, path) in places.iter().enumerate() {
            root.add(path, Target::Value(number)).map_err(PyValueError::new_err)?;
        }
        Ok(root)
    }

    fn search(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(name, _)| {
            name.len().cmp(&key.len()).then_with(|| name.as_str().cmp(key))
        })
    }

    pub fn target(&self, key: &str) -> Option<&Target> {
        let position = self.search(key).ok()?;
        self.0.get(position).map(|(_, target)| target)
    }

    fn add(&mut self, path: &[String], target: Target) -> Result<(), &'static str> {
        let (key, rest) = path.split_first().ok_or("a place without a key")?;
        let position = match self.search(key) {
            Ok(position) => position,
            Err(position) => {
                let empty = Target::Members(Node::default());
                self.0.insert(position, (key.clone(), empty));
                position
            }
        };
        match &mut self.0[position].1 {
            Target::Members(node) if !rest.is_empty() => node.add(rest, target),
            Target::Members(node) if node.0.is_empty() => {
                self.0[position].1 = target;
                Ok(())
            }
            _ => Err("a place twice, or a place inside another place"),
        }
    }
}
