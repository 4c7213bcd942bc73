//! Read and write bytes for the gateway, faster than Python does.
//!
//! Nothing here knows registries, countries or topics. Each part has a counterpart in Python that
//! defines its meaning. A part that is not certain of its answer returns `None`.

mod document;
mod json;
mod json_places;
mod json_string;
mod xml;
mod xml_places;
mod xml_scope;
mod xml_tag;
mod xml_text;

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};

use pyo3::prelude::*;

/// Return the answer of a part, or `None` if it panics. Then the ordinary way does the work.
fn guarded<T>(part: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(part)).unwrap_or(None)
}

/// The version of the interface. `gateway/accelerator.py` accepts no other one.
const INTERFACE: u32 = 1;

#[pymodule(gil_used = true)]
fn qualification_gateway_speed(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // The usual message may quote the text that was read.
    set_hook(Box::new(|panic| {
        if let Some(place) = panic.location() {
            eprintln!(
                "qualification-gateway-speed has a defect at {place}: the ordinary way is used"
            );
        }
    }));
    module.add("INTERFACE", INTERFACE)?;
    module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<json::JsonReader>()?;
    module.add_function(wrap_pyfunction!(document::document_ids, module)?)?;
    module.add_class::<xml::RecordCutter>()?;
    Ok(())
}
