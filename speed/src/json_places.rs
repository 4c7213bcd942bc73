//! The places that are wanted of a JSON text.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// What is wanted of the value of a key.
pub enum Target {
    /// A scalar or a list of scalars, and its number in the result.
    Value(usize),
    /// A member of the object.
    Member(Node),
    /// A list of objects, its number in the result, and the places inside each object.
    Objects(usize, Plan),
    /// Any value, and its number in the result.
    Anything(usize),
}

/// The wanted keys of an object, sorted by length and text.
#[derive(Default)]
pub struct Node(Vec<(String, Target)>);

#[derive(Default)]
pub struct Plan {
    pub root: Node,
    /// The number of places.
    pub size: usize,
}

pub static NOTHING: Node = Node(Vec::new());

impl Node {
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
                let empty = Target::Member(Node::default());
                self.0.insert(position, (key.clone(), empty));
                position
            }
        };
        match &mut self.0[position].1 {
            Target::Member(node) if !rest.is_empty() => node.add(rest, target),
            Target::Member(node) if node.0.is_empty() => {
                self.0[position].1 = target;
                Ok(())
            }
            _ => Err("a place twice, or a place inside another place"),
        }
    }
}

impl Plan {
    pub fn of(places: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut plan = Plan::default();
        for place in places.try_iter()? {
            let place = place?;
            let (path, target) = match place.extract::<Vec<String>>() {
                Ok(path) => (path, Target::Value(plan.size)),
                Err(_) => {
                    let (path, inner): (Vec<String>, Option<Bound<'_, PyAny>>) = place.extract()?;
                    let target = match inner {
                        Some(places) => Target::Objects(plan.size, Plan::of(&places)?),
                        None => Target::Anything(plan.size),
                    };
                    (path, target)
                }
            };
            plan.root.add(&path, target).map_err(PyValueError::new_err)?;
            plan.size += 1;
        }
        Ok(plan)
    }
}
