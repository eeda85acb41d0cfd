import re

import pytest

from specs.command.stubs import stub
from specs.door import ROOT
from specs.meta.judge import each_kata, judge, reference, told

pytestmark = pytest.mark.timeout(120)
STUB = re.compile(r'NotImplementedError\(f?"((\d\d\.\d+) (?:[\w.]+|{op})): ')  # {op}: a rule that is still ...


@each_kata
def test_every_spec_is_red_on_the_stub_and_names_one_of_its_sections(kata, tmp_path):
    """With earlier katas from the reference, no spec of a kata passes on its stub, and each says what is to be written."""
    (tmp_path / kata.folder).mkdir()
    text = stub(reference(kata).read_text(encoding="utf-8"))
    (tmp_path / kata.folder / f"{kata.module}.py").write_text(text, encoding="utf-8")
    specs = judge(kata, impl=f"reference,{kata.number}={tmp_path}")
    stubs = [re.escape(what).replace(r"\{op\}", r"\w+") for what, _ in STUB.findall(text)]
    named = re.compile("|".join(rf"\b{what}\b" for what in stubs))  # such as "02.3 exp"
    wrong = [spec for spec in specs if spec["outcome"] != "red" or not named.search(spec["why"])]
    wrong += [spec for spec in specs if "::" not in spec["id"]]  # a file that can't be imported shows none of its specs
    assert specs
    assert not wrong, told(wrong)


@each_kata
def test_every_section_has_a_heading(kata):
    """The numbers in the stubs and in the names of the spec files are headings in the kata's README."""
    folder = ROOT / "katas" / kata.folder
    numbers = {number for _, number in STUB.findall(stub(reference(kata).read_text(encoding="utf-8")))}
    numbers |= {f"{kata.number}.{path.name.split('_')[1]}" for path in folder.glob("test_[1-9]*.py")}
    headings = set(re.findall(r"^## (\d\d\.\d+) ", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert numbers, "no stub and no spec"
    assert numbers <= headings, f"without a heading: {', '.join(sorted(numbers - headings))}"
