"""What follows from the declared keys: their table, the documentation page, the schema."""

from __future__ import annotations

from pathlib import Path

from edgeflownas.config import Config
from edgeflownas.config.describe import configuration_markdown, json_schema
from edgeflownas.config.keys import keys

ROOT = Path(__file__).resolve().parents[2]


def test_keys_cover_the_models() -> None:
    fields = {
        f"{group}.{name}"
        for group, field in Config.model_fields.items()
        for name in field.annotation.model_fields  # type: ignore[union-attr]
    }
    assert set(keys()) == fields
    for full, key in keys().items():
        assert key.kind in ("identity", "dynamics", "observation"), full
        assert key.help, f"{full} has no help text beneath it in config/keys.py"


def test_configuration_page_is_current() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == configuration_markdown(), "run: edgeflownas config docs > docs/configuration.md"


def test_schema_refuses_unknown_keys_and_accepts_what_recipes_write() -> None:
    schema = json_schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    for definition in (schema, *schema["$defs"].values()):
        assert definition["additionalProperties"] is False
    crop = schema["$defs"]["DataConfig"]["properties"]["crop_size"]["anyOf"]
    assert {option["type"] for option in crop} == {"array", "string"}
