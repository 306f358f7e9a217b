"""A misspelt setting is told, never silently another's default."""

from app.settings import Settings, unknown_settings


def test_what_is_no_setting_is_named() -> None:
    environment = {
        "ASSISTENZA_PORT": "1",
        "ASSISTENZA_PROT": "1",
        "assistenza_hots": "x",
        "ASSISTENZA_TEST_DATABASE_URL": "x",
        "PATH": "x",
    }
    assert unknown_settings(environment) == ["ASSISTENZA_HOTS", "ASSISTENZA_PROT"]
    every = {f"ASSISTENZA_{name.upper()}": "" for name in Settings.model_fields}
    assert unknown_settings(every) == []
