"""Other engines doing the same job, built and run beside ours: see README.md."""
