-- The names without a schema, where the role that installs may make them.

create function public.coulis_publish(
    channel text, event_type text, data text, before text default null, tenant_id text default null,
    user_id text default null, id text default null, federation_service text default null,
    federation_id text default null
) returns bigint language sql as $$ select coulis.publish($1, $2, $3, $4, $5, $6, $7, $8, $9) $$;
create function public.coulis_publish(
    channel text, event_type text, data json, before json default null, tenant_id text default null,
    user_id text default null, id text default null, federation_service text default null,
    federation_id text default null
) returns bigint language sql as $$ select coulis.publish($1, $2, $3::text, $4::text, $5, $6, $7, $8, $9) $$;
create function public.coulis_publish(
    channel text, event_type text, data jsonb, before jsonb default null, tenant_id text default null,
    user_id text default null, id text default null, federation_service text default null,
    federation_id text default null
) returns bigint language sql as $$ select coulis.publish($1, $2, $3::text, $4::text, $5, $6, $7, $8, $9) $$;
create function public.coulis_publish_many(
    channels text[], event_types text[], datas text[], befores text[] default null, tenants text[] default null,
    users text[] default null, ids text[] default null, services text[] default null,
    federation_ids text[] default null
) returns void language sql as $$ select coulis.publish_many($1, $2, $3, $4, $5, $6, $7, $8, $9) $$;
create function public.coulis_watch(
    watched regclass, channel text, columns text[] default null, tenant_column name default null,
    user_column name default null, channel_column name default null, inserted text default 'inserted',
    updated text default 'updated', deleted text default 'deleted', truncated text default 'truncated'
) returns void language sql as $$ select coulis.watch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) $$;
create function public.coulis_unwatch(watched regclass) returns void language sql as $$
    select coulis.unwatch($1)
$$;
do $$
declare
    made regprocedure;
begin
    for made in
        select oid from pg_proc where proname in
            ('coulis_publish', 'coulis_publish_many', 'coulis_watch', 'coulis_unwatch')
            and pronamespace = 'public'::regnamespace
    loop
        execute format('revoke execute on function %s from public', made);
    end loop;
end $$;
