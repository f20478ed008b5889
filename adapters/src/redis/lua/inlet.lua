-- Moves entries from the inlet to the stream as they are, and removes what can be no event.
-- KEYS: stream, inlet. ARGV: what keys of ids start with, the highest epoch that the node knows, events that the stream
-- keeps, how long an id is remembered (in milliseconds), entries to move, bytes of one entry.
local KNOWN = { channel = true, type = true, data = true, before = true, tenant = true, user = true, id = true }

-- The fields by name, and the bytes of all; nothing where one is unknown, doubled or missing.
local function read(fields)
  local named, bytes = {}, 0
  if #fields > 14 then return nil end
  for at = 1, #fields, 2 do
    if not KNOWN[fields[at]] or named[fields[at]] then return nil end
    named[fields[at]] = fields[at + 1]
    bytes = bytes + #fields[at + 1]
  end
  if not (named.channel and named.type and named.data) or bytes > tonumber(ARGV[6]) then return nil end
  return named
end

-- Who may not take away must not move: it would do so for ever.
redis.call('XDEL', KEYS[2], '0-0')
local entries = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', ARGV[5])
if #entries == 0 then return 0 end
local epoch, sequence = stands(KEYS[1])
if not epoch then epoch, sequence = begin(KEYS[1], ARGV[2]) end
local malformed = 0
for _, entry in ipairs(entries) do
  local id, fields = entry[1], entry[2]
  local named = read(fields)
  if not named then
    malformed = malformed + 1
  else
    local key = named.id and ARGV[1] .. named.id
    if not key or redis.call('SET', key, '', 'NX', 'PX', ARGV[4]) then
      sequence = sequence + 1
      local answer = append(KEYS[1], epoch, sequence, ARGV[3], unpack(fields))
      if answer.err then
        if key then redis.call('DEL', key) end
        return answer
      end
    end
  end
  redis.call('XDEL', KEYS[2], id)
end
return malformed
