"""The page that kata 20 serves, in a browser: `tox -e page`."""
