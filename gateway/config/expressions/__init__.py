"""Compile the expressions of connector files: JMESPath, XPath, conditions and templates."""
