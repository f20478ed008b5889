-- Appends a producer's events, each once however often it is sent.
-- KEYS: stream, producer, then a key for each event that is to be remembered by its id.
-- ARGV: the number that the batch follows, the number of its first event, the highest epoch that the node knows,
-- entries that the stream keeps, how long a producer and how long an id is remembered (in milliseconds), then for each
-- event the place of its key in KEYS (0: none) and its bytes.
local stored = redis.call('GET', KEYS[2])
local taken = tonumber(stored or '0')
local epoch, sequence = stands(KEYS[1])
if taken < tonumber(ARGV[1]) then
  return { 'gap', epoch or '0', sequence or '0', stored or '' }
end
-- Who may not write here learns it before anything is added.
if not stored then redis.call('SET', KEYS[2], '0', 'PX', ARGV[5]) end
if not epoch then epoch, sequence = begin(KEYS[1], ARGV[3]) end

local any = epoch .. '-*'
local number = tonumber(ARGV[2])
local before, failure = taken, nil
for at = 7, #ARGV, 2 do
  if number > taken then
    local key = KEYS[tonumber(ARGV[at])]
    local fresh = not key or redis.call('SET', key, '', 'NX', 'PX', ARGV[6])
    if fresh then
      local id = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], any, 'e', ARGV[at + 1])
      if type(id) == 'table' then
        if key then redis.call('DEL', key) end
        failure = id.err
        break
      end
      sequence = id
    end
    taken = number
  end
  number = number + 1
end
if taken > before then
  redis.call('SET', KEYS[2], string.format('%.0f', taken), 'PX', ARGV[5])
end
sequence = string.match(sequence, '%d+$')
return { failure and 'refused' or 'ok', epoch, sequence, string.format('%.0f', taken), failure }
