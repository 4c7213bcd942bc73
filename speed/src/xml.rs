//! Read wanted places of an XML text.
