"""Words can be taken out of events and stored answers (R43), and nothing else of an event changes."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# Members of an event's data that hold what people wrote, or who they are.
_WORDS = (
    "ARRAY['body', 'description', 'email', 'example_url', 'name', 'note', 'phone', 'product',"
    " 'product_version', 'reason', 'resolution', 'steps_to_reproduce', 'subject']"
)
# A text is taken out whole (null), or a person's name in it is replaced by a pseudonym.
_ONLY_WORDS = f"""
CREATE FUNCTION only_words_taken_out(old_data jsonb, new_data jsonb) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp
AS $body$
DECLARE
    key text;
    position integer;
BEGIN
    IF old_data = new_data THEN
        RETURN true;
    END IF;
    IF jsonb_typeof(old_data) <> jsonb_typeof(new_data) THEN
        RETURN false;
    END IF;
    IF jsonb_typeof(old_data) = 'object' THEN
        IF NOT (old_data ?& ARRAY(SELECT jsonb_object_keys(new_data))
                AND new_data ?& ARRAY(SELECT jsonb_object_keys(old_data))) THEN
            RETURN false;
        END IF;
        FOR key IN SELECT jsonb_object_keys(old_data) LOOP
            IF key = ANY ({_WORDS}) AND jsonb_typeof(old_data->key) = 'string'
                AND (jsonb_typeof(new_data->key) = 'null' OR new_data->>key ~ 'erased-[0-9]+')
            THEN
                CONTINUE;
            END IF;
            IF NOT only_words_taken_out(old_data->key, new_data->key) THEN
                RETURN false;
            END IF;
        END LOOP;
        RETURN true;
    END IF;
    IF jsonb_typeof(old_data) = 'array' THEN
        IF jsonb_array_length(old_data) <> jsonb_array_length(new_data) THEN
            RETURN false;
        END IF;
        FOR position IN 0 .. jsonb_array_length(old_data) - 1 LOOP
            IF NOT only_words_taken_out(old_data->position, new_data->position) THEN
                RETURN false;
            END IF;
        END LOOP;
        RETURN true;
    END IF;
    RETURN false;
END $body$"""
_KEEP_EVENT = """
CREATE FUNCTION keep_event() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp
AS $body$
BEGIN
    IF current_setting('assistenza.taking_words_out', true) IS DISTINCT FROM 'yes'
        OR to_jsonb(NEW) - 'data' <> to_jsonb(OLD) - 'data'
        OR NOT only_words_taken_out(OLD.data, NEW.data)
    THEN
        RAISE EXCEPTION 'events is append-only: % refused', TG_OP
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $body$"""
# The role that serves requests has no right to update events: this is its only way.
_TAKE_OUT = """
CREATE FUNCTION take_words_out(ids bigint[], changed jsonb[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $body$
BEGIN
    PERFORM set_config('assistenza.taking_words_out', 'yes', true);
    UPDATE events e SET data = c.data FROM unnest(ids, changed) c (id, data) WHERE e.id = c.id;
    PERFORM set_config('assistenza.taking_words_out', '', true);
END $body$"""


def _refuse(when: str) -> None:
    op.execute("DROP TRIGGER refuse_change ON events")
    op.execute(
        f"CREATE TRIGGER refuse_change BEFORE {when} ON events"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def upgrade() -> None:
    for function in (_ONLY_WORDS, _KEEP_EVENT, _TAKE_OUT):
        op.execute(function)
    for signature in (
        "only_words_taken_out(jsonb, jsonb)",
        "keep_event()",
        "take_words_out(bigint[], jsonb[])",
    ):
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION take_words_out(bigint[], jsonb[]) TO assistenza_app")
    _refuse("DELETE OR TRUNCATE")
    op.execute(
        "CREATE TRIGGER keep_event BEFORE UPDATE ON events FOR EACH ROW"
        " EXECUTE FUNCTION keep_event()"
    )
    op.execute("GRANT UPDATE (note) ON time_entries TO assistenza_app")
    op.execute("GRANT UPDATE (body) ON idempotency_keys TO assistenza_app")


def downgrade() -> None:
    op.execute("REVOKE UPDATE (body) ON idempotency_keys FROM assistenza_app")
    op.execute("REVOKE UPDATE (note) ON time_entries FROM assistenza_app")
    op.execute("DROP TRIGGER keep_event ON events")
    _refuse("UPDATE OR DELETE OR TRUNCATE")
    op.execute("DROP FUNCTION take_words_out(bigint[], jsonb[])")
    op.execute("DROP FUNCTION keep_event()")
    op.execute("DROP FUNCTION only_words_taken_out(jsonb, jsonb)")
