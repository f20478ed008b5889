-- Publishing the changes of a table's rows. Each function may be there already, as an older version made it.

-- The columns of a row that are told, each value in the text that it has as JSON.
create or replace function {schema}.told(row_text json, columns text[]) returns text language sql as $$
    select case
        when columns is null then row_text::text
        else (
            select '{' || coalesce(string_agg(to_json(key) || ':' || value, ',' order by place), '') || '}'
            from json_each(row_text) with ordinality as field (key, value, place) where key = any (columns)
        )
    end
$$;

-- Refuses a row that lacks a column of the options, as one that was renamed: read as a value that is null, a tenant's
-- row would go to all.
create or replace function {schema}.check_columns(row_text json, columns text[], options json, watched regclass)
returns void language plpgsql as $$
declare
    missing text;
begin
    select unnest(columns || array[
        options ->> 'tenant_column', options ->> 'user_column', options ->> 'channel_column'
    ]) except select null except select json_object_keys(row_text) into missing limit 1;
    if found then
        raise exception '`%` is watched and has no column `%` any more', watched, missing
            using errcode = 'undefined_column', hint = 'watch it again, with the columns that it has now';
    end if;
end $$;

-- Runs with the rights of the schema's owner, so that whoever may change the table need not be able to publish.
create or replace function {schema}.tell_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    options constant json := tg_argv[1];
    columns constant text[] := case json_typeof(options -> 'columns') when 'array'
        then array(select json_array_elements_text(options -> 'columns')) end;
    old_row json;
    new_row json;
    old_place text[];
    new_place text[];
    before text;
    after text;
begin
    if tg_op = 'TRUNCATE' then
        perform {schema}.publish(tg_argv[0], options ->> 'truncated',
            json_build_object('table', tg_table_schema || '.' || tg_table_name)::text);
        return null;
    end if;
    if tg_op <> 'INSERT' then
        old_row := row_to_json(old);
        before := {schema}.told(old_row, columns);
        old_place := {schema}.place(tg_argv[0], options, old_row);
    end if;
    if tg_op <> 'DELETE' then
        new_row := row_to_json(new);
        after := {schema}.told(new_row, columns);
        new_place := {schema}.place(tg_argv[0], options, new_row);
    end if;
    perform {schema}.check_columns(coalesce(new_row, old_row), columns, options,
        coalesce(pg_partition_root(tg_relid), tg_relid));
    if old_place = new_place and before = after then
        return null;
    elsif old_place = new_place then
        perform {schema}.publish(new_place[1], options ->> 'updated', after, before, new_place[2], new_place[3]);
        return null;
    end if;
    -- A row that moves to another channel, tenant or user is gone for those it leaves, and new for the others.
    if old_place is not null then
        perform {schema}.publish(old_place[1], options ->> 'deleted', 'null', before, old_place[2], old_place[3]);
    end if;
    if new_place is not null then
        perform {schema}.publish(new_place[1], options ->> 'inserted', after, null, new_place[2], new_place[3]);
    end if;
    return null;
end $$;

-- Channel, tenant and user of a row; arrays are equal where both have no value, too.
create or replace function {schema}.place(channel text, options json, row_text json) returns text[] language sql as $$
    select array[
        channel || coalesce(':' || (row_text ->> (options ->> 'channel_column')), ''),
        row_text ->> (options ->> 'tenant_column'),
        row_text ->> (options ->> 'user_column')
    ]
$$;

-- Publishes each change of a row of `watched` to `channel`, or to `channel:value` with a column that gives the value:
-- the row as data and, for changes, as it was before; for deletions only as it was. TRUNCATE names no rows: one event
-- with the table's name tells of it, to `channel`. Watching again replaces what was said before. Only for tables whose
-- owner is trusted with the rights of this schema's owner: casts to JSON of the owner's types run with them.
create or replace function {schema}.watch(
    watched regclass, channel text, columns text[] default null, tenant_column name default null,
    user_column name default null, channel_column name default null, inserted text default 'inserted',
    updated text default 'updated', deleted text default 'deleted', truncated text default 'truncated'
) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    unknown text;
    options constant json := json_build_object('columns', columns, 'tenant_column', tenant_column,
        'user_column', user_column, 'channel_column', channel_column, 'inserted', inserted, 'updated', updated,
        'deleted', deleted, 'truncated', truncated);
begin
    if '' in (coalesce(channel, ''), coalesce(inserted, ''), coalesce(updated, ''), coalesce(deleted, ''),
        coalesce(truncated, ''))
    then
        raise exception 'the channel and the event types cannot be empty' using errcode = 'invalid_parameter_value';
    end if;
    select named into unknown
    from unnest(columns || array[tenant_column, user_column, channel_column]::text[]) as given (named)
    where named is not null and not exists (
        select from pg_attribute where attrelid = watched and attname = named and attnum > 0 and not attisdropped
    ) limit 1;
    if found then
        raise exception '`%` has no column `%`', watched, unknown using errcode = 'undefined_column';
    end if;
    perform {schema}.unwatch(watched);
    execute format('create trigger {schema}_rows after insert or update or delete on %s '
        'for each row execute function {schema}.tell_change(%L, %L)', watched, channel, options);
    execute format('create trigger {schema}_truncate after truncate on %s '
        'for each statement execute function {schema}.tell_change(%L, %L)', watched, channel, options);
end $$;

create or replace function {schema}.unwatch(watched regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from pg_trigger where tgrelid = watched and tgname = '{schema}_rows') then
        execute format('drop trigger {schema}_rows on %s', watched);
        execute format('drop trigger {schema}_truncate on %s', watched);
    end if;
end $$;
