"""Build, sign and verify SOAP messages."""
