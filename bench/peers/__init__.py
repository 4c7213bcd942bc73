"""Other engines that do the same job as the gateway. See README.md."""
