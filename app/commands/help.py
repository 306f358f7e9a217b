"""What the help of several commands says: settings, their defaults, and which database is used."""

from app.settings import Settings

WHICH_DATABASE = (
    "Works on the database of ASSISTENZA_DATABASE_URL. Without it, on the embedded PostgreSQL in"
    " ASSISTENZA_DATA_DIR, beside a running service or alone."
)


def _settings() -> str:
    shown = []
    for name, field in Settings.model_fields.items():
        value = field.get_default(call_default_factory=True)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        shown.append(f"ASSISTENZA_{name.upper()}{'' if value in (None, ()) else f'={text}'}")
    return f"Environment variables, with their defaults: {', '.join(shown)}."


SETTINGS = _settings()
HOST: str = Settings.model_fields["host"].default
PORT: int = Settings.model_fields["port"].default
