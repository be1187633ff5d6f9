"""What follows from the declared keys: their table, the documentation page, the schema."""

from pathlib import Path

from edgeflownas.config.describe import configuration_markdown, json_schema

ROOT = Path(__file__).resolve().parents[2]


def test_configuration_page_is_current():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == configuration_markdown(), "run: edgeflownas config docs > docs/configuration.md"


def test_schema_refuses_unknown_keys_and_accepts_what_recipes_write():
    schema = json_schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    for definition in (schema, *schema["$defs"].values()):
        assert definition["additionalProperties"] is False
    crop = schema["$defs"]["DataConfig"]["properties"]["crop_size"]["anyOf"]
    assert {option["type"] for option in crop} == {"array", "string"}
