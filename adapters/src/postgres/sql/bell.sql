-- The doorbell. Each function may be there already, as an older version made it.

-- Wakes readers that sleep, and names the last of the bells that were armed: whoever armed a later one is not meant.
-- The transaction has its number before it looks at the bell, and a reader that arms the bell takes a number after
-- that: so a transaction that did not see the bell armed is known to the reader, which then does not sleep before that
-- transaction has ended.
create or replace function {schema}.ring() returns void language plpgsql as $$
declare
    armed constant bigint := coalesce(pg_sequence_last_value('{schema}.armed'), 0);
begin
    if armed > coalesce(pg_sequence_last_value('{schema}.rung'), 0)
        and current_setting('{schema}.doorbell', true) is distinct from 'off'
    then
        perform pg_notify('{schema}', armed::text);
    end if;
end $$;

-- Arms the bell, and answers the number of a transaction after that.
create or replace function {schema}.arm(out bell bigint, out transaction bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    bell := nextval('{schema}.armed');
    transaction := pg_current_xact_id()::text::bigint;
end $$;

-- Disarms this bell and all that were armed before it: their readers are awake, or are woken by who disarms.
create or replace function {schema}.disarm(bell bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform setval('{schema}.rung', greatest(bell, pg_sequence_last_value('{schema}.rung')));
end $$;
