from edge.operator_page.ui_types import TARGET, generate
from tests.conftest import absent


def test_the_types_of_the_page_are_those_of_what_it_is_told() -> None:
    if not TARGET.parent.is_dir():
        absent(str(TARGET.parent), "an installed wheel holds the built page only")
    assert TARGET.read_text() == generate(), "run `python -m edge.operator_page.ui_types`"
