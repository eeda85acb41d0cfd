"""Everything pytest needs to know about the katas lives in one plugin."""

pytest_plugins = ["specs.plugin.hooks"]
