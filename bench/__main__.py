"""Every measurement of records per second and CPU seconds per million records, one line each: ``python -m bench``."""

from __future__ import annotations

from bench import harmonise, stage

harmonise.main()
stage.main()
