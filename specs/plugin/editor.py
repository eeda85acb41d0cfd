"""Links for editors: static tools can't follow `katas.__path__`, but they can follow a folder of files.

    python -m specs.plugin.editor

makes `.kata/editor/katas/tensor.py` → `katas/02_tensor/tensor.py` and so on; `[tool.pyright]` names that folder, so that
completion and go-to-definition work. Every run of pytest makes the links that are missing.
"""

import os

from specs.door import KATAS, ROOT

FOLDER = ROOT / ".kata" / "editor" / "katas"


def link() -> None:
    """Makes the missing links, one per kata."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "__init__.py").touch()
    for kata in KATAS:
        place, target = FOLDER / f"{kata.module}.py", ROOT / "katas" / kata.folder / f"{kata.module}.py"
        if place.exists() or not target.exists():
            continue
        place.unlink(missing_ok=True)  # a link whose file was gone
        try:
            place.symlink_to(os.path.relpath(target, FOLDER))
        except OSError:  # Windows without the right to make symbolic links
            os.link(target, place)


if __name__ == "__main__":
    link()
    print(f"linked {len(KATAS)} katas in {FOLDER}")
